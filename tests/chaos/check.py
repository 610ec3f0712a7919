"""The checks of the evidence: one for each invariant, with a sentence for each violation. Pure."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from backend.files.log_lines import UNHEARD
from tests.chaos.evidence import Evidence, Found, Json

STEPS = {
    "submitting": ("queued", "running", "succeeded", "failed", "cancelled"),
    "queued": ("running", "failed", "cancelled"),
    "running": ("succeeded", "failed", "cancelled"),
}
SKIPPED = ("submitting", ("running", "succeeded"))  # steps that the history must not skip
TERMINAL = ("succeeded", "failed", "cancelled")
RESTARTING = ("runner", "pod")  # faults after which the same attempt may start once more
FATAL = ("runner", "trainer", "pod", "job")  # faults after which an attempt may fail
CREATED = (201, 202)
FORMS = ("submit", "repeat", "other")  # actions that POST the form
ORDER = ("submitting", "queued", "running")
ALLOWED = {  # HTTP statuses that may answer each action; no answer is always allowed
    "submit": (200, 201, 202, 503),
    "repeat": (200, 201, 202, 503),  # 201: the first form had no answer and no effect
    "other": (201, 202, 409, 503),
    "show": (200, 404, 503),
    "look": (200, 404, 503),
    "cancel": (200, 202, 404, 409, 503),
    "retry": (202, 404, 409, 503),
    "delete": (204, 404, 409, 503),
    "watch": (200, 404, 409, 429, 503),
}

Check = Callable[[Evidence], Iterator[str]]


def check(evidence: Evidence) -> dict[str, list[str]]:
    """Return a sentence for each violation, by check."""
    return {name: list(found(evidence)) for name, found in CHECKS.items()}


def _answers(evidence: Evidence) -> Iterator[str]:
    """Every answer is documented, and a form creates an experiment at most once."""
    created_by_other = {
        request.experiment_id
        for request in evidence.requests
        if request.action == "other" and request.status in CREATED
    }
    unanswered = {
        request.experiment_id
        for request in evidence.requests
        if request.action == "other" and request.status is None
    }
    for request in evidence.requests:
        name, status = request.experiment_id, request.status
        is_taken = status == 409 and name in created_by_other
        # The same other form was sent before, and its answer was lost.
        is_taken |= status == 200 and request.action == "other" and name in unanswered
        if status is not None and status not in ALLOWED[request.action.split()[0]] and not is_taken:
            yield f"{name}: {request.action} was answered {status}: {request.body}"
    forms = [request for request in evidence.requests if request.action in FORMS]
    created = Counter(form.experiment_id for form in forms if form.status in CREATED)
    yield from (f"{name}: created {times} times" for name, times in created.items() if times > 1)
    first_answers: dict[str, Json] = {}
    for form in forms:
        if form.status in (200, 201, 202):
            name, body = form.experiment_id, form.body
            fields = {field: body[field] for field in ("created_at", "learning_rate", "epoch")}
            if first_answers.setdefault(name, fields) != fields:
                yield f"{name}: a repeated form answers another experiment: {fields}"


def _nothing_lost(evidence: Evidence) -> Iterator[str]:
    """Accepted experiments exist, refused ones left nothing, and deleted ones are gone."""
    accepted = {
        request.experiment_id
        for request in evidence.requests
        if request.status in (200, 201, 202) and request.action.split()[0] not in ("delete", "look")
    }
    deleted = {
        request.experiment_id
        for request in evidence.requests
        if request.action == "delete" and request.status == 204
    }
    for plan in evidence.plans:
        name, found = plan.experiment_id, evidence.found[plan.experiment_id]
        was_deleted = found.deleted is not None
        if name in deleted and found.shown:
            yield f"{name}: deleted, but still shown"
        if name in accepted and not was_deleted and not found.shown:
            yield f"{name}: accepted, but lost"
        if was_deleted and plan.delete == "outputs" and not found.shown and found.folder:
            yield f"{name}: deleted with its outputs, but its folder exists"
        if not was_deleted and not found.shown and found.folder:
            yield f"{name}: a folder without an experiment"
        if found.shown and not found.folder:
            yield f"{name}: an experiment without a folder"
    shown = {name for name, found in evidence.found.items() if found.shown}
    listed = Counter(evidence.listed)
    yield from (f"{name}: listed {times} times" for name, times in listed.items() if times > 1)
    yield from (f"{name}: shown but not listed, or the reverse" for name in shown ^ set(listed))
    planned = {plan.experiment_id for plan in evidence.plans}
    unknown = [name for name in evidence.folders if name not in planned]
    yield from (f"{name}: a folder that belongs to no experiment" for name in unknown)


def _nothing_stuck(evidence: Evidence) -> Iterator[str]:
    """Every experiment ends within the given time after the last fault."""
    yield from (f"{name}: has not ended" for name in evidence.stuck)


def _one_job_per_attempt(evidence: Evidence) -> Iterator[str]:
    """Each attempt has at most one Job, and each attempt that trained has one."""
    if evidence.jobs is None:
        return
    known_jobs = set()
    for name, final in _final(evidence):
        for attempt in range(1, final.shown["attempt"] + 1):
            job = _job(final.shown, attempt)
            known_jobs.add(job)
            has_started = any(line["attempt"] == attempt for line in _ledger(final, "start"))
            if has_started and not evidence.jobs.get(job):
                yield f"{name}: attempt {attempt} has trained without a Job"
    for job, times in evidence.jobs.items():
        if times > 1:
            yield f"{job}: created {times} times"
        if job not in known_jobs:
            yield f"{job}: a Job that belongs to no attempt"


def _never_two_trainers(evidence: Evidence) -> Iterator[str]:
    """Trainers never overlap, and an attempt starts once unless a fault struck it.

    Kubernetes before 1.29 replaces a pod that was deleted while that still ends.
    """
    struck = Counter(
        (hit.experiment_id, hit.attempt) for hit in evidence.hits if hit.kind in RESTARTING
    )
    replaced = {(hit.experiment_id, hit.attempt) for hit in evidence.hits if hit.kind == "pod"}
    for name, final in _final(evidence):
        starts = _ledger(final, "start")
        yield from (
            f"{name}: a trainer of attempt {start['attempt']} was not alone"
            for start in starts
            if not start["alone"] and (name, start["attempt"]) not in replaced
        )
        for attempt, times in Counter(start["attempt"] for start in starts).items():
            failures = 0
            if evidence.jobs is not None:  # a Job replaces a failed pod
                codes = _exit_codes(final, attempt)
                failures = len(codes) - codes.count(0)
                if name in _hostile(evidence):  # one that runs out of memory notes no exit code
                    failures += times - len(codes)
            if times > 1 + struck[name, attempt] + failures:
                yield f"{name}: attempt {attempt} was started {times} times"
            if attempt > final.shown["attempt"]:
                yield f"{name}: attempt {attempt} has trained, but is unknown"


def _attempts(evidence: Evidence) -> Iterator[str]:
    """There is a new attempt for each accepted retry, and at most one for each unanswered one."""
    for name, final in _final(evidence):
        statuses = [
            request.status
            for request in evidence.requests
            if (request.experiment_id, request.action) == (name, "retry")
        ]
        least = statuses.count(202)
        most = least + statuses.count(None) + statuses.count(503)
        attempt = final.shown["attempt"]
        if not least <= attempt - 1 <= most:
            yield f"{name}: attempt {attempt} after {least} to {most} retries"


def _true_status(evidence: Evidence) -> Iterator[str]:
    """The status agrees with the trainer's exit code, with summary.json and with run.json."""
    struck = {(hit.experiment_id, hit.attempt) for hit in evidence.hits if hit.kind in FATAL}
    for name, final in _final(evidence):
        shown, folder = final.shown, final.folder
        if folder is None:
            continue
        status, attempt = shown["status"], shown["attempt"]
        codes = _exit_codes(final, attempt)
        has_finished = 0 in codes and folder.finished
        if status == "succeeded" and not has_finished:
            yield f"{name}: succeeded, but its trainer exited with {codes}"
        if status in ("failed", "cancelled") and has_finished:
            yield f"{name}: {status}, but its trainer had finished"
        if status == "failed" and not shown["diagnosis"]:
            yield f"{name}: failed without a diagnosis"
        reason = (shown["diagnosis"] or {}).get("reason")
        ran_out = name in _hostile(evidence) and reason == "out_of_memory"
        is_explained = ran_out or (name, attempt) in struck
        if status == "failed" and 1 not in codes and not is_explained:
            yield f"{name}: failed ({shown['diagnosis']}), but its trainer exited with {codes}"
        was_requested = any(
            (request.experiment_id, request.action) == (name, f"cancel {attempt}")
            and request.status != 409
            for request in evidence.requests
        )
        if status == "cancelled" and not was_requested:
            yield f"{name}: cancelled, but no client cancelled it"
        run_file = folder.run_file or {}
        for field in ("status", "attempt", "learning_rate", "epoch"):
            if run_file.get(field) != shown[field]:
                yield f"{name}: run.json has {field} {run_file.get(field)!r}, not {shown[field]!r}"


def _legal_history(evidence: Evidence) -> Iterator[str]:
    """The history is a legal path in every attempt, and a shown status never goes back."""
    for name, final in _final(evidence):
        history = final.shown["history"]
        attempts = [transition["attempt"] for transition in history]
        if attempts != sorted(attempts):
            yield f"{name}: the attempts in its history are out of order"
        expected = None, 0
        for transition in history:
            old, new, attempt = (transition[key] for key in ("from_status", "to_status", "attempt"))
            if (old, attempt) != expected and (old, attempt - 1) != expected:
                yield f"{name}: a gap before {old} -> {new} in attempt {attempt}"
            begins = new == "submitting" and (old is None or old in ("failed", "cancelled"))
            is_step = (
                attempt == expected[1]
                and new in STEPS.get(old, ())
                and not (old == SKIPPED[0] and new in SKIPPED[1])
            )
            if not (begins and attempt == expected[1] + 1) and not is_step:
                yield f"{name}: {old} -> {new} in attempt {attempt} is not allowed"
            expected = new, attempt
        if history and expected != (final.shown["status"], final.shown["attempt"]):
            yield f"{name}: its history ends with {expected}"
    shown: dict[str, list[tuple[int, str]]] = {}
    for request in evidence.requests:
        if request.action == "show" and request.status == 200:
            attempt, status = request.body["attempt"], request.body["status"]
            shown.setdefault(request.experiment_id, []).append((attempt, status))
    for name, states in shown.items():
        for before, after in pairwise(states):
            if before != after and _rank(before) >= _rank(after):
                yield f"{name}: was shown as {before}, then as {after}"


def _whole_metrics(evidence: Evidence) -> Iterator[str]:
    """metrics.jsonl has no gap and no duplicate, and every epoch of a succeeded experiment."""
    for name, final in _final(evidence):
        if final.folder is None or name in _hostile(evidence):
            continue
        metrics = final.folder.metrics
        if metrics != list(range(1, len(metrics) + 1)):
            yield f"{name}: metrics of epochs {metrics}"
        if final.shown["status"] == "succeeded" and len(metrics) != final.shown["epoch"]:
            yield f"{name}: succeeded with {len(metrics)} of {final.shown['epoch']} epochs"


def _kept_logs(evidence: Evidence) -> Iterator[str]:
    """The kept log of an attempt has its trainer's last line, unless a fault deleted its pod.

    Cancelling on Kubernetes deletes the pod, too. A log whose end nobody could read must say so.
    """
    lost = {(hit.experiment_id, hit.attempt) for hit in evidence.hits if hit.kind in ("pod", "job")}
    for name, final in _final(evidence):
        if name in _hostile(evidence):
            continue
        for line in _ledger(final, "exit"):
            attempt, last_line = line["attempt"], line["says"]
            kept = final.logs.get(attempt, "")
            is_said = evidence.jobs is not None and kept.rstrip("\n").endswith(UNHEARD.decode())
            if (name, attempt) not in lost and last_line not in kept and not is_said:
                yield f"{name}: the log of attempt {attempt} lacks {last_line!r}"


def _nothing_differs(evidence: Evidence) -> Iterator[str]:
    """The database, the folders and the Jobs agree."""
    yield from evidence.differences


CHECKS: dict[str, Check] = {
    "answers are documented": _answers,
    "nothing is lost": _nothing_lost,
    "nothing is stuck": _nothing_stuck,
    "one Job per attempt": _one_job_per_attempt,
    "one trainer at a time": _never_two_trainers,
    "attempts match retries": _attempts,
    "status matches the trainer": _true_status,
    "history is legal": _legal_history,
    "metrics are complete": _whole_metrics,
    "logs are kept": _kept_logs,
    "rebuild --check finds nothing": _nothing_differs,
}


def _final(evidence: Evidence) -> Iterator[tuple[str, Found]]:
    """Yield the final state of each ended experiment; of a deleted one, the last before that."""
    for name, found in evidence.found.items():
        final = found if found.shown else found.deleted
        if final is not None and final.shown and name not in evidence.stuck:
            yield name, final


def _hostile(evidence: Evidence) -> set[str]:
    """Return the experiments whose trainers have overwritten their own metrics and logs."""
    return {plan.experiment_id for plan in evidence.plans if plan.is_hostile}


def _ledger(found: Found, event: str) -> list[Json]:
    return [line for line in found.folder.ledger if line["event"] == event] if found.folder else []


def _exit_codes(found: Found, attempt: int) -> list[int]:
    return [line["code"] for line in _ledger(found, "exit") if line["attempt"] == attempt]


def _rank(state: tuple[int, str]) -> tuple[int, int]:
    attempt, status = state
    return attempt, ORDER.index(status) if status in ORDER else len(ORDER)


def _job(shown: Json, attempt: int) -> str:
    """Return the name of an attempt's Job, which ends with the attempt's number."""
    return f"{shown['job'].rpartition('-')[0]}-{attempt}"
