"""Judges the evidence: every promise is one check, and every breach one sentence. Pure."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from tests.chaos.evidence import Evidence, Found, Json

STEPS = {
    "submitting": ("queued", "running", "succeeded", "failed", "cancelled"),
    "queued": ("running", "failed", "cancelled"),
    "running": ("succeeded", "failed", "cancelled"),
}
SKIPPED = ("submitting", ("running", "succeeded"))  # a path goes over every status in between
TERMINAL = ("succeeded", "failed", "cancelled")
STARTED_AGAIN = ("runner", "pod")  # faults after which the same attempt may start once more
STRUCK_DOWN = ("runner", "trainer", "pod", "job")
CREATED = (201, 202)
ORDER = ("submitting", "queued", "running")
ALLOWED = {  # the statuses that each kind of request may be answered with; None: no answer
    "submit": (200, 201, 202, 503),
    "repeat": (200, 201, 202, 503),  # 201: the first form was never answered, and never done
    "other": (201, 202, 409, 503),
    "show": (200, 404, 503),
    "cancel": (200, 202, 404, 409, 503),
    "retry": (202, 404, 409, 503),
    "delete": (204, 404, 409, 503),
}

Check = Callable[[Evidence], Iterator[str]]


def check(evidence: Evidence) -> dict[str, list[str]]:
    """Run every check.

    Returns:
        By check, a sentence for each violation.
    """
    return {name: list(found(evidence)) for name, found in CHECKS.items()}


def _answers(evidence: Evidence) -> Iterator[str]:
    """Every answer is one that is documented, and one form creates at most once."""
    others = {one.run for one in evidence.requests if one.what == "other" and one.status in CREATED}
    for request in evidence.requests:
        what = request.what.split()[0]
        taken = request.status == 409 and request.run in others
        if request.status is not None and request.status not in ALLOWED[what] and not taken:
            yield f"{request.run}: {request.what} was answered {request.status}: {request.body}"
    created = Counter(
        one.run for one in evidence.requests if one.status in CREATED and _is_form(one.what)
    )
    yield from (f"{run}: created {times} times" for run, times in created.items() if times > 1)
    kept = {}
    for request in evidence.requests:
        if _is_form(request.what) and request.status in (200, 201, 202):
            same = {name: request.body[name] for name in ("created_at", "learning_rate", "epoch")}
            if kept.setdefault(request.run, same) != same:
                yield f"{request.run}: a repeat gives another experiment: {same}"


def _nothing_lost(evidence: Evidence) -> Iterator[str]:
    """What was accepted is there, what was not done left nothing, what was deleted is gone."""
    accepted = {
        one.run
        for one in evidence.requests
        if one.status in (200, 201, 202) and one.what != "delete"
    }
    deleted = {one.run for one in evidence.requests if one.what == "delete" and one.status == 204}
    for run in evidence.runs:
        name, found = run.experiment_id, evidence.found[run.experiment_id]
        gone = found.forgotten is not None
        if name in deleted and found.shown:
            yield f"{name}: deleted, and still shown"
        if name in accepted and not gone and not found.shown:
            yield f"{name}: accepted, and lost"
        if gone and run.delete == "outputs" and not found.shown and found.folder:
            yield f"{name}: deleted with its outputs, and its folder is there"
        if not gone and not found.shown and found.folder:
            yield f"{name}: half a run: a folder without an experiment"
        if found.shown and not found.folder:
            yield f"{name}: half a run: an experiment without a folder"
    shown = {name for name, found in evidence.found.items() if found.shown}
    listed = Counter(evidence.listed)
    yield from (f"{name}: listed {times} times" for name, times in listed.items() if times > 1)
    yield from (f"{name}: shown but not listed, or the reverse" for name in shown ^ set(listed))
    planned = {run.experiment_id for run in evidence.runs}
    yield from (f"{name}: a folder of nobody" for name in evidence.folders if name not in planned)


def _nothing_stuck(evidence: Evidence) -> Iterator[str]:
    """Everything ends within the given time after the last fault."""
    yield from (f"{name}: has not ended" for name in evidence.stuck)


def _one_job_an_attempt(evidence: Evidence) -> Iterator[str]:
    """One Job an attempt was created, and an attempt that trained had one."""
    if evidence.jobs is None:
        return
    named = {}
    for name, final in _final(evidence):
        for attempt in range(1, final.shown["attempt"] + 1):
            named[_job(final.shown, attempt)] = name, attempt
            started = any(one["attempt"] == attempt for one in _ledger(final, "start"))
            if started and not evidence.jobs.get(_job(final.shown, attempt)):
                yield f"{name}: attempt {attempt} has trained without a Job"
    for job, times in evidence.jobs.items():
        if times > 1:
            yield f"{job}: created {times} times"
        if job not in named:
            yield f"{job}: a Job of nobody"


def _never_two_trainers(evidence: Evidence) -> Iterator[str]:
    """Trainers of one run never overlap, and an attempt starts once unless a fault struck it."""
    struck = Counter((hit.run, hit.attempt) for hit in evidence.hits if hit.kind in STARTED_AGAIN)
    for name, final in _final(evidence):
        starts = _ledger(final, "start")
        yield from (
            f"{name}: a trainer of attempt {one['attempt']} was not alone"
            for one in starts
            if not one["alone"]
        )
        for attempt, times in Counter(one["attempt"] for one in starts).items():
            failures = 0
            if evidence.jobs is not None:  # a Job replaces a pod that has failed
                failures = sum(
                    one["code"] != 0 and one["attempt"] == attempt for one in _ledger(final, "exit")
                )
            if times > 1 + struck[name, attempt] + failures:
                yield f"{name}: attempt {attempt} was started {times} times"
            if attempt > final.shown["attempt"]:
                yield f"{name}: attempt {attempt} has trained, and is not known"


def _attempts(evidence: Evidence) -> Iterator[str]:
    """As many attempts as retries were answered, or at most as were asked for."""
    for name, final in _final(evidence):
        retries = [one for one in evidence.requests if one.run == name and one.what == "retry"]
        done = sum(one.status == 202 for one in retries)
        perhaps = sum(one.status in (None, 503) for one in retries)
        if not done <= final.shown["attempt"] - 1 <= done + perhaps:
            attempt = final.shown["attempt"]
            yield f"{name}: attempt {attempt} after {done} to {done + perhaps} retries"


def _true_status(evidence: Evidence) -> Iterator[str]:
    """The status agrees with the trainer's own exit, with summary.json and with run.json."""
    struck = {(hit.run, hit.attempt) for hit in evidence.hits if hit.kind in STRUCK_DOWN}
    for name, final in _final(evidence):
        shown, folder = final.shown, final.folder
        if folder is None:
            continue
        status, attempt = shown["status"], shown["attempt"]
        codes = [one["code"] for one in _ledger(final, "exit") if one["attempt"] == attempt]
        done = 0 in codes and folder.finished
        if status == "succeeded" and not done:
            yield f"{name}: succeeded, but its trainer ended with {codes}"
        if status in ("failed", "cancelled") and done:
            yield f"{name}: {status}, but its trainer was done"
        if status == "failed" and not shown["diagnosis"]:
            yield f"{name}: failed, and does not say why"
        if status == "failed" and 1 not in codes and (name, attempt) not in struck:
            yield f"{name}: failed ({shown['diagnosis']}), but its trainer ended with {codes}"
        asked = any(
            (one.run, one.what) == (name, f"cancel {attempt}") and one.status != 409
            for one in evidence.requests
        )
        if status == "cancelled" and not asked:
            yield f"{name}: cancelled, and nobody asked for it"
        kept = folder.run_file or {}
        for field in ("status", "attempt", "learning_rate", "epoch"):
            if kept.get(field) != shown[field]:
                yield f"{name}: run.json says {field} {kept.get(field)!r}, not {shown[field]!r}"


def _legal_history(evidence: Evidence) -> Iterator[str]:
    """The history is a legal path in every attempt, and what was shown never went back."""
    for name, final in _final(evidence):
        history = final.shown["history"]
        if [one["attempt"] for one in history] != sorted(one["attempt"] for one in history):
            yield f"{name}: its attempts are mixed up"
        expected = None, 0
        for one in history:
            old, new, attempt = one["from_status"], one["to_status"], one["attempt"]
            if (old, attempt) != expected and (old, attempt - 1) != expected:
                yield f"{name}: a gap before {old} -> {new} in attempt {attempt}"
            begins = new == "submitting" and (old is None or old in ("failed", "cancelled"))
            goes_on = (
                attempt == expected[1]
                and new in STEPS.get(old, ())
                and not (old == SKIPPED[0] and new in SKIPPED[1])
            )
            if not (begins and attempt == expected[1] + 1) and not goes_on:
                yield f"{name}: {old} -> {new} in attempt {attempt} is no legal step"
            expected = new, attempt
        if history and expected != (final.shown["status"], final.shown["attempt"]):
            yield f"{name}: its history ends with {expected}"
    looks: dict[str, list[tuple[int, str]]] = {}
    for one in evidence.requests:
        if one.what == "show" and one.status == 200:
            looks.setdefault(one.run, []).append((one.body["attempt"], one.body["status"]))
    for name, seen in looks.items():
        for before, after in pairwise(seen):
            if before != after and _rank(before) >= _rank(after):
                yield f"{name}: was shown as {before}, then as {after}"


def _whole_metrics(evidence: Evidence) -> Iterator[str]:
    """metrics.jsonl has no gap and no epoch twice; of a run that has succeeded, it has all."""
    for name, final in _final(evidence):
        if final.folder is None:
            continue
        metrics = final.folder.metrics
        if metrics != list(range(1, len(metrics) + 1)):
            yield f"{name}: metrics of epochs {metrics}"
        if final.shown["status"] == "succeeded" and len(metrics) != final.shown["epoch"]:
            yield f"{name}: succeeded with {len(metrics)} of {final.shown['epoch']} epochs"


def _kept_logs(evidence: Evidence) -> Iterator[str]:
    """The log of an attempt has its trainer's last line, unless a fault took the pod with it.

    On Kubernetes a cancel takes the pod, too: its last words are lost if who listens to them is
    killed, or if the API server has come back and does not know yet that the pod has begun.
    """
    lost = {(hit.run, hit.attempt) for hit in evidence.hits if hit.kind in ("pod", "job")}
    for name, final in _final(evidence):
        if evidence.jobs is not None:
            lost |= {(name, attempt) for attempt in _cancelled(final.shown)}
        for one in _ledger(final, "exit"):
            attempt = one["attempt"]
            if (name, attempt) not in lost and one["says"] not in final.logs.get(attempt, ""):
                yield f"{name}: the log of attempt {attempt} lacks {one['says']!r}"


def _cancelled(shown: Json) -> set[int]:
    """Name the attempts that were to be cancelled, even if they came to their own end first."""
    ended = {one["attempt"] for one in shown["history"] if one["to_status"] == "cancelled"}
    return ended | ({shown["attempt"]} if shown.get("cancel_requested_at") else set())


def _nothing_differs(evidence: Evidence) -> Iterator[str]:
    """The database, the folders and the Jobs say the same."""
    yield from evidence.differences


CHECKS: dict[str, Check] = {
    "answers are documented, repeats agree": _answers,
    "nothing lost, nothing half": _nothing_lost,
    "nothing stuck": _nothing_stuck,
    "one Job an attempt": _one_job_an_attempt,
    "never two trainers of one run": _never_two_trainers,
    "attempts agree with retries": _attempts,
    "status agrees with the trainer": _true_status,
    "history is a legal path": _legal_history,
    "metrics whole": _whole_metrics,
    "logs kept": _kept_logs,
    "rebuild --check finds nothing": _nothing_differs,
}


def _final(evidence: Evidence) -> Iterator[tuple[str, Found]]:
    """Give each run as it was when it ended: of a deleted one, from before that."""
    for name, found in evidence.found.items():
        final = found if found.shown else found.forgotten
        if final is not None and final.shown and name not in evidence.stuck:
            yield name, final


def _ledger(found: Found, event: str) -> list[Json]:
    return [one for one in found.folder.ledger if one["event"] == event] if found.folder else []


def _is_form(what: str) -> bool:
    return what in ("submit", "repeat", "other")


def _rank(look: tuple[int, str]) -> tuple[int, int]:
    attempt, status = look
    return attempt, ORDER.index(status) if status in ORDER else len(ORDER)


def _job(shown: Json, attempt: int) -> str:
    """Name the Job of an attempt: the number stands at the end of its name."""
    return f"{shown['job'].rpartition('-')[0]}-{attempt}"
