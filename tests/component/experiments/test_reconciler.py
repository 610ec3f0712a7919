import errno
import json
import os
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backend.domain.attempt import Diagnosis
from backend.domain.experiment import Parameters
from backend.domain.status import Status
from backend.experiments import reconciler as module
from backend.experiments.rebuild import differences
from backend.experiments.reconciler import Reconciler
from backend.launchers.base import LauncherUnavailable, Observation, Phase
from tests.fakes.stepping import Crashed

PARAMETERS = Parameters("autoencoder", 0.001, 20, None)
TTL_SECONDS = 60


@pytest.fixture
def reconciler(services, launcher, monkeypatch):
    monkeypatch.setattr(module, "SUBMIT_GRACE", timedelta(0))
    monkeypatch.setattr(module, "LONGEST_REST", 0)
    return Reconciler(services, TTL_SECONDS)


def test_running_job_seen(reconciler, experiments, launcher):
    _, experiment = experiments.submit("first", PARAMETERS)
    launcher.jobs[experiment.job] = Observation(experiment.uid, Phase.RUNNING)
    reconciler.reconcile()

    assert experiments.get("first").status is Status.RUNNING


def test_interrupted_trainer_is_explained(reconciler, experiments, launcher):
    """Its pod is gone: the status stays, and says that nothing trains until the next one runs."""
    waits = Diagnosis("unschedulable_cpu", "No node can take it.", "Wait.")
    seen = [
        (Phase.QUEUED, None, "queued", None),
        (Phase.RUNNING, None, "running", None),
        (Phase.QUEUED, None, "running", "restarting"),
        (Phase.QUEUED, waits, "running", "unschedulable_cpu"),
        (Phase.RUNNING, None, "running", None),
    ]
    _, experiment = experiments.submit("first", PARAMETERS)
    for phase, diagnosis, status, reason in seen:
        launcher.jobs[experiment.job] = Observation(experiment.uid, phase, diagnosis=diagnosis)
        reconciler.reconcile()

        shown = experiments.get("first")
        assert (shown.status, shown.reason) == (status, reason)
    steps = [step.to_status for step in experiments.history(shown)]
    assert steps == ["submitting", "queued", "running"]


def test_suspended_experiment_waits_again(reconciler, experiments, launcher, settings):
    """Its queue has taken its place back: that is a step of its history, and no failure."""
    started = datetime(2026, 11, 30, 12, tzinfo=UTC)
    preempted = Diagnosis("preempted", "Another is more urgent.", "Nothing.")
    waiting = Diagnosis("suspended", "It has no quota.", "Wait.")
    seen = [
        (Phase.QUEUED, waiting, True, None),
        (Phase.RUNNING, None, False, started),
        (Phase.QUEUED, preempted, True, None),
        (Phase.QUEUED, waiting, True, None),
        (Phase.QUEUED, None, False, None),
        (Phase.RUNNING, None, False, started + timedelta(hours=3)),
    ]
    _, experiment = experiments.submit("first", PARAMETERS)
    shown = []
    for phase, diagnosis, suspended, started_at in seen:
        launcher.jobs[experiment.job] = Observation(
            experiment.uid, phase, started_at, diagnosis=diagnosis, suspended=suspended
        )
        reconciler.reconcile()
        current = experiments.get("first")
        shown.append((current.status, current.reason))

    assert shown == [
        ("queued", "suspended"),
        ("running", None),
        ("queued", "preempted"),
        ("queued", "suspended"),
        ("queued", None),
        ("running", None),
    ]
    history = experiments.history(current)
    assert [(step.to_status, step.reason) for step in history] == [
        ("submitting", None),
        ("queued", None),
        ("running", None),
        ("queued", "preempted"),
        ("running", None),
    ]
    assert [step.at for step in history] == sorted(step.at for step in history)
    assert (current.attempt, current.started_at) == (1, started)
    written = json.loads((settings.output_dir / "first" / "run.json").read_text())
    assert [step["to_status"] for step in written["history"]][-2:] == ["queued", "running"]


def test_next_reconciler_updates_run_json(
    services, reconciler, experiments, launcher, settings, monkeypatch
):
    """A reconciler was killed between the row and run.json; its successor writes the file."""
    _, experiment = experiments.submit("first", PARAMETERS)
    with monkeypatch.context() as killed:
        killed.setattr(services.archive, "update_run_file", lambda _experiment: None)
        services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED))
    run_file = settings.output_dir / "first" / "run.json"
    assert json.loads(run_file.read_text())["status"] != "succeeded"

    monkeypatch.setattr(launcher, "changes", lambda _timeout: reconciler.stop())
    reconciler.run()

    assert json.loads(run_file.read_text())["status"] == "succeeded"


def test_pending_submission_sent_once(reconciler, experiments, launcher):
    launcher.down = True
    experiments.submit("first", PARAMETERS)
    with pytest.raises(LauncherUnavailable):
        reconciler.reconcile()
    launcher.down = False
    reconciler.reconcile()
    reconciler.reconcile()

    assert experiments.get("first").status is Status.QUEUED
    assert launcher.submissions == 1


def test_young_submission_left_to_web(services, experiments, launcher):
    launcher.down = True
    experiments.submit("first", PARAMETERS)
    launcher.down = False
    Reconciler(services, TTL_SECONDS).reconcile()

    assert launcher.submissions == 0


def test_vanished_job_means_failed(reconciler, experiments, launcher):
    experiments.submit("first", PARAMETERS)
    launcher.jobs.clear()
    reconciler.reconcile()

    assert experiments.get("first").status is Status.FAILED
    assert experiments.get("first").reason == "job_deleted"


def test_refusal_does_not_stop_the_pass(reconciler, experiments, launcher):
    launcher.down = True
    experiments.submit("first", PARAMETERS)
    launcher.down = False
    _, second = experiments.submit("second", PARAMETERS)
    launcher.jobs[second.job] = Observation(second.uid, Phase.RUNNING)
    launcher.refusing = True
    reconciler.reconcile()

    assert experiments.get("first").status is Status.FAILED
    assert experiments.get("second").status is Status.RUNNING


def test_loop_runs_until_stopped(reconciler, launcher, monkeypatch):
    observed = []

    def changes(timeout):
        observed.append(timeout)
        if len(observed) == 3:
            reconciler.stop()

    monkeypatch.setattr(launcher, "changes", changes)
    reconciler.run()

    assert len(observed) == 3
    assert reconciler.passes.trouble is None


def test_cancelled_once_job_is_gone(reconciler, experiments, launcher):
    _, experiment = experiments.submit("first", PARAMETERS)
    launcher.jobs[experiment.job] = Observation(experiment.uid, Phase.RUNNING)
    reconciler.reconcile()
    experiments.cancel("first")
    reconciler.reconcile()

    assert experiments.get("first").status is Status.CANCELLED
    assert not launcher.jobs


def test_pod_that_the_first_look_missed(reconciler, experiments, launcher, monkeypatch):
    """Its pod was created after the pods were read, and its Job deleted before the Jobs were."""
    _, experiment = experiments.submit("first", PARAMETERS)
    experiments.cancel("first")
    launcher.jobs[experiment.job] = Observation(experiment.uid, Phase.UNKNOWN)
    observe = launcher.observe
    monkeypatch.setattr(launcher, "observe", lambda handles=None: observe(handles or []))
    reconciler.reconcile()
    assert experiments.get("first").status is Status.QUEUED

    del launcher.jobs[experiment.job]
    reconciler.reconcile()
    assert experiments.get("first").status is Status.CANCELLED


def test_cancelled_while_observed(reconciler, experiments, launcher, monkeypatch):
    """The reconciler reads the experiment, a client cancels it, and its Job is gone."""
    experiments.submit("first", PARAMETERS)

    def observe(handles=None):
        experiments.cancel("first")
        return {}

    monkeypatch.setattr(launcher, "observe", observe)
    reconciler.reconcile()

    assert experiments.get("first").status is Status.CANCELLED
    assert experiments.get("first").reason is None


def test_undelivered_cancel_sent_again(reconciler, experiments, launcher):
    experiments.submit("first", PARAMETERS)
    launcher.down = True
    experiments.cancel("first")
    launcher.down = False
    reconciler.reconcile()
    reconciler.reconcile()

    assert not launcher.jobs
    assert experiments.get("first").status is Status.CANCELLED


def test_cancelled_before_submission(reconciler, experiments, launcher):
    launcher.down = True
    experiments.submit("first", PARAMETERS)
    experiments.cancel("first")
    launcher.down = False
    reconciler.reconcile()

    assert experiments.get("first").status is Status.CANCELLED
    assert launcher.submissions == 0


def test_cancelled_before_it_had_a_folder(
    services, reconciler, experiments, launcher, settings, monkeypatch
):
    """The process that committed the intent was killed before it wrote a file."""

    def kill(*_arguments):
        raise Crashed

    with monkeypatch.context() as killed:
        killed.setattr(services.archive, "create_run_file", kill)
        with pytest.raises(Crashed):
            experiments.submit("first", PARAMETERS)
    assert not (settings.output_dir / "first").exists()
    experiments.cancel("first")
    reconciler.reconcile()

    written = json.loads((settings.output_dir / "first" / "run.json").read_text())
    steps = [step["to_status"] for step in written["history"]]
    assert (written["status"], steps) == ("cancelled", ["submitting", "cancelled"])
    assert list(differences(services.archive, launcher)) == []


def test_cancelled_while_nothing_can_be_written(
    services, reconciler, experiments, launcher, monkeypatch
):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    launcher.down = True
    experiments.submit("first", PARAMETERS)
    experiments.cancel("first")
    launcher.down = False
    monkeypatch.setattr(services.archive, "create_run_file", full)
    reconciler.reconcile()

    assert experiments.get("first").status is Status.CANCELLED


def test_job_created_during_cancel_removed(reconciler, experiments, launcher):
    """A web worker created the Job while the cancel was carried out, and died right after."""
    launcher.down = True
    _, experiment = experiments.submit("first", PARAMETERS)
    experiments.cancel("first")
    launcher.down = False
    reconciler.reconcile()
    # The web worker creates the Job late.
    launcher.submit(launcher.render(experiment.current_attempt))
    reconciler.reconcile()

    assert not launcher.jobs
    assert experiments.get("first").status is Status.CANCELLED


def test_summary_proves_success(reconciler, experiments, launcher, settings):
    """The Job ended and its time to live passed while no reconciler was running."""
    experiments.submit("first", PARAMETERS)
    (settings.output_dir / "first" / "summary.json").write_text("{}")
    launcher.jobs.clear()  # by its time to live
    reconciler.reconcile()

    assert experiments.get("first").status is Status.SUCCEEDED


def test_failing_cancel_does_not_stop_pass(reconciler, experiments, launcher, monkeypatch):
    def refuse(_handle):
        raise LauncherUnavailable(Diagnosis("kubernetes_forbidden", "It is forbidden.", "Mend it."))

    monkeypatch.setattr(launcher, "cancel", refuse)
    experiments.submit("first", PARAMETERS)
    experiments.cancel("first")
    _, second = experiments.submit("second", PARAMETERS)
    launcher.jobs[second.job] = Observation(second.uid, Phase.RUNNING)
    reconciler.reconcile()

    assert experiments.get("second").status is Status.RUNNING
    assert experiments.get("first").status is Status.QUEUED


def test_only_changed_jobs_reconciled(reconciler, experiments, launcher):
    _, first = experiments.submit("first", PARAMETERS)
    _, second = experiments.submit("second", PARAMETERS)
    for experiment in (first, second):
        launcher.jobs[experiment.job] = Observation(experiment.uid, Phase.RUNNING)
    reconciler.reconcile([second.job])

    assert experiments.get("first").status is Status.QUEUED
    assert experiments.get("second").status is Status.RUNNING


def test_named_job_that_vanished(reconciler, experiments, launcher):
    _, first = experiments.submit("first", PARAMETERS)
    launcher.jobs.clear()
    reconciler.reconcile([first.job])

    assert experiments.get("first").reason == "job_deleted"


class ScriptedChanges:
    """Feeds changes to `Reconciler.run` one by one, and records what it observes."""

    def __init__(self, reconciler, launcher, monkeypatch, changes):
        self.observed, self._changes, self._reconciler = [], list(changes), reconciler
        observe = launcher.observe
        monkeypatch.setattr(launcher, "changes", self._change)
        monkeypatch.setattr(
            launcher,
            "observe",
            lambda handles=None: self.observed.append(handles) or observe(handles),
        )
        reconciler.run()

    def _change(self, _timeout):
        if not self._changes:
            self._reconciler.stop()
            return frozenset()
        return self._changes.pop(0)


def test_observes_what_changed(reconciler, launcher, monkeypatch):
    """A few changed Jobs are observed by name; unknown or many changes cause a whole pass."""
    many = frozenset(str(number) for number in range(module.MAX_PARTIAL + 1))
    changes = [frozenset("a"), frozenset(), frozenset("bc"), None, many]
    script = ScriptedChanges(reconciler, launcher, monkeypatch, changes)

    assert script.observed[:5] == [None, {"a"}, {"b", "c"}, None, None]


@pytest.mark.parametrize(("changed", "looked_at"), [(25, 25), (26, None)])
def test_share_of_changes_observed_singly(
    reconciler, experiments, launcher, monkeypatch, changed, looked_at
):
    """Up to a quarter of the live experiments is observed by name, more as one list."""
    for number in range(100):
        experiments.submit(str(number), PARAMETERS)
    some = frozenset(str(number) for number in range(changed))
    script = ScriptedChanges(reconciler, launcher, monkeypatch, [some])

    assert script.observed[1] == (some if looked_at else None)


def test_stop_ends_the_rest(reconciler, launcher, monkeypatch):
    rests = []
    monkeypatch.setattr(module, "LONGEST_REST", 3600)
    monkeypatch.setattr(module, "SHORTEST_REST", 3600)
    wait = threading.Event.wait

    def rest(event, seconds=None):
        if seconds is not None:
            rests.append(seconds)
            reconciler.stop()
        return wait(event, seconds)

    monkeypatch.setattr(threading.Event, "wait", rest)
    reconciler.run()

    assert rests == [3600]


@pytest.mark.parametrize(("grace", "count"), [(timedelta(0), 2), (timedelta(hours=1), 1)])
def test_stale_submission_needs_no_change(
    reconciler, experiments, launcher, monkeypatch, grace, count
):
    """A submission older than SUBMIT_GRACE is reconciled although nothing has changed."""
    launcher.down = True
    _, first = experiments.submit("first", PARAMETERS)
    launcher.down = False
    monkeypatch.setattr(module, "SUBMIT_GRACE", grace)
    monkeypatch.setattr(experiments, "launch", lambda _experiment: None)
    script = ScriptedChanges(reconciler, launcher, monkeypatch, [frozenset()])

    assert script.observed == [None, {first.job}][:count]


def test_pending_cancel_needs_no_change(reconciler, experiments, launcher, monkeypatch):
    def refuse(_handle):
        raise LauncherUnavailable(Diagnosis("kubernetes_forbidden", "It is forbidden.", "Mend it."))

    monkeypatch.setattr(launcher, "cancel", refuse)
    _, first = experiments.submit("first", PARAMETERS)
    experiments.cancel("first")
    script = ScriptedChanges(reconciler, launcher, monkeypatch, [frozenset()])

    assert script.observed == [None, {first.job}]


def test_unsettled_queried_once(reconciler, experiments, launcher, monkeypatch):
    """The query for unsettled experiments is not repeated at every change."""
    queries = []
    monkeypatch.setattr(experiments, "unfinished_jobs", lambda grace: queries.append(grace) or [])
    ScriptedChanges(
        reconciler, launcher, monkeypatch, [frozenset("a"), frozenset("b"), frozenset("c")]
    )

    assert len(queries) == 1


def test_job_of_young_submission_ignored(reconciler, experiments, launcher, monkeypatch):
    """A `queued` Job is left to the web worker that created it; a running one is recorded."""
    launcher.down = True
    _, first = experiments.submit("first", PARAMETERS)
    launcher.down = False
    launcher.submit(launcher.render(first.current_attempt))
    monkeypatch.setattr(module, "SUBMIT_GRACE", timedelta(hours=1))

    reconciler.reconcile([first.job])
    assert experiments.get("first").status is Status.SUBMITTING

    launcher.jobs[first.job] = Observation(first.uid, Phase.RUNNING)
    reconciler.reconcile([first.job])
    assert experiments.get("first").status is Status.RUNNING


def test_whole_pass_at_intervals(reconciler, launcher, monkeypatch):
    monkeypatch.setattr(module, "WHOLE_SECONDS", 0)
    observed = []

    def observe(handles=None):
        observed.append(handles)
        if len(observed) == 2:
            reconciler.stop()
        return {}

    monkeypatch.setattr(launcher, "observe", observe)
    monkeypatch.setattr(launcher, "changes", lambda _timeout: frozenset("a"))
    reconciler.run()

    assert observed == [None, None]


def test_whole_pass_after_failure(reconciler, launcher, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0)
    outage = LauncherUnavailable(Diagnosis("unreachable", "It does not answer.", "Wait."))
    observed = []

    def observe(handles=None):
        observed.append(handles)
        if len(observed) == 2:
            raise outage
        if len(observed) == 3:
            reconciler.stop()
        return {}

    monkeypatch.setattr(launcher, "observe", observe)
    monkeypatch.setattr(launcher, "changes", lambda _timeout: frozenset("a"))
    reconciler.run()

    assert observed == [None, {"a"}, None]


@pytest.fixture
def expired(reconciler, experiments, launcher):
    """An experiment that succeeded longer ago than the time to live."""
    _, experiment = experiments.submit("first", PARAMETERS)
    at = datetime.now(UTC) - timedelta(seconds=TTL_SECONDS + 1)
    launcher.jobs[experiment.job] = Observation(
        experiment.uid, Phase.SUCCEEDED, at, at, attempt=experiment.current_attempt
    )
    return experiment


def test_expired_job_removed_after_log(services, reconciler, experiments, launcher, expired):
    """The Job is deleted only once the end is recorded and the log is stored."""
    reconciler.reconcile()

    assert not launcher.jobs
    expired = experiments.get("first")
    assert expired.status is Status.SUCCEEDED
    assert b"epoch 2/20" in b"".join(services.logs.read(expired, 1))


def test_job_kept_within_time_to_live(reconciler, launcher, expired):
    observed = launcher.jobs[expired.job]
    launcher.jobs[expired.job] = replace(observed, finished_at=datetime.now(UTC))
    reconciler.reconcile()

    assert list(launcher.jobs) == [expired.job]


def test_job_kept_until_log_is_stored(reconciler, launcher, expired, settings, monkeypatch):
    in_the_way = settings.output_dir / "first" / "logs" / "1.log"
    in_the_way.mkdir(parents=True)
    reconciler.reconcile()
    assert list(launcher.jobs) == [expired.job]

    in_the_way.rmdir()
    reconciler.reconcile()
    assert not launcher.jobs


def test_unknown_job_not_removed(reconciler, experiments, launcher, expired, store):
    store.delete(expired)
    reconciler.reconcile()

    assert list(launcher.jobs) == [expired.job]


def test_earlier_attempt_expires_alone(reconciler, experiments, launcher, expired):
    why = Diagnosis("trainer_failed", "It failed.", "Mend it.")
    failed = replace(launcher.jobs[expired.job], phase=Phase.FAILED, diagnosis=why)
    launcher.jobs[expired.job] = replace(failed, finished_at=datetime.now(UTC))
    reconciler.reconcile()
    following = experiments.retry("first")
    launcher.jobs[expired.job] = failed
    reconciler.reconcile()

    assert list(launcher.jobs) == [following.job]
    assert experiments.get("first").status is Status.QUEUED


def test_log_saved_later_after_outage(services, reconciler, experiments, launcher, monkeypatch):
    _, experiment = experiments.submit("first", PARAMETERS)
    source = launcher.log_source
    printed = source.printed[experiment.job] = {"1-pod": [b"a"]}
    services.logs.save(experiment)  # as a cancel does
    printed["1-pod"].append(b"b")
    with monkeypatch.context() as patch:
        patch.setattr(source, "read", _away)
        services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED))
    reconciler.reconcile()

    expired = experiments.get("first")
    assert expired.status is Status.SUCCEEDED
    assert list(services.logs.read(expired, 1)) == [b"a", b"b"]


def _away(_part):
    raise LauncherUnavailable(Diagnosis("unreachable", "It does not answer.", "Wait."))


def test_unforeseen_error_leaves_others(
    reconciler, services, experiments, launcher, monkeypatch, caplog
):
    """An error in one experiment is logged once and counted; the others are reconciled."""
    record, tried, is_bad = services.recorder.record, [], True

    def fail(experiment, observation):
        tried.append(experiment.experiment_id)
        if is_bad and experiment.experiment_id == "bad":
            raise ZeroDivisionError
        record(experiment, observation)

    for name in ("bad", "good"):
        _, experiment = experiments.submit(name, PARAMETERS)
        launcher.jobs[experiment.job] = Observation(experiment.uid, Phase.RUNNING)
    monkeypatch.setattr(services.recorder, "record", fail)
    monkeypatch.setattr("backend.experiments.reconciling.isolation.FIRST_PAUSE", 0)
    reconciler.reconcile()
    reconciler.reconcile()

    assert experiments.get("good").status is Status.RUNNING
    assert tried.count("bad") == 2
    [failure] = [record for record in caplog.records if record.exc_info]
    assert "'bad'" in failure.getMessage()
    assert b"experiment_failures_total 2.0" in reconciler.passes.metrics()

    is_bad = False
    reconciler.reconcile()
    assert experiments.get("bad").status is Status.RUNNING
    assert "again" in caplog.records[-1].getMessage()


def test_unforeseen_error_of_a_pass(reconciler, launcher, monkeypatch, caplog):
    """The reconciler survives it, and /readyz and the log say what is wrong."""
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0)
    outcomes = iter([ZeroDivisionError("by zero"), ZeroDivisionError("by zero")])

    def observe(_handles=None):
        for error in outcomes:
            raise error
        reconciler.stop()
        return {}

    monkeypatch.setattr(launcher, "observe", observe)
    reconciler.run()

    [failure] = [record for record in caplog.records if record.exc_info]
    assert "ZeroDivisionError: by zero" in failure.getMessage()


def test_unreadable_owner_is_not_replaced(reconciler, experiments, launcher):
    """A Job whose owner cannot be read keeps its experiment: nothing else is started."""
    _, experiment = experiments.submit("first", PARAMETERS)
    launcher.jobs[experiment.job] = Observation("", Phase.UNKNOWN)
    reconciler.reconcile()

    assert experiments.get("first").status is Status.QUEUED
    assert launcher.submissions == 1


@pytest.mark.parametrize("days", [-1, 1])
def test_submitted_with_a_wrong_clock(
    services, reconciler, experiments, launcher, monkeypatch, days
):
    """The clock was a day ahead or behind at the submission, and is right again."""

    class WrongClock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=days)

    with monkeypatch.context() as wrong:
        for name in ("domain.experiment", "experiments.recorder", "store.changes"):
            wrong.setattr(f"backend.{name}.datetime", WrongClock, raising=False)
        launcher.down = True
        experiments.submit("first", PARAMETERS)
        launcher.down = False
    monkeypatch.setattr(module, "SUBMIT_GRACE", timedelta(seconds=2))
    written = experiments.get("first").updated_at
    assert abs(written - datetime.now(UTC)) > timedelta(hours=23)
    reconciler.reconcile()

    assert experiments.get("first").status is Status.QUEUED
    assert launcher.submissions == 1


@pytest.mark.parametrize("days", [-1, 1])
def test_wrong_clock_does_not_delay_submission(store, experiments, launcher, settings, days):
    """The reconciler finds it within seconds, not only in the next full pass."""
    launcher.down = True
    _, experiment = experiments.submit("first", PARAMETERS)
    assert experiments.unfinished_jobs(timedelta(minutes=1)) == []
    with closing(sqlite3.connect(settings.sqlite_path, isolation_level=None)) as database:
        written = (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%d %H:%M:%S.%f")
        database.execute("UPDATE experiment SET updated_at = ?", (written,))

    assert experiments.unfinished_jobs(timedelta(minutes=1)) == [experiment.job]


@pytest.mark.parametrize("started", [None, -3600, 0, 3600])
@pytest.mark.parametrize("finished", [None, -1800, 3600])
def test_history_is_in_order(services, experiments, started, finished):
    """The clock of the cluster differs, or a time is not known."""
    _, experiment = experiments.submit("first", PARAMETERS)
    now = datetime.now(UTC)
    times = [
        None if each is None else now + timedelta(seconds=each) for each in (started, finished)
    ]
    services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED, *times))

    history = experiments.history(experiments.get("first"))
    assert [step.to_status for step in history] == ["submitting", "queued", "running", "succeeded"]
    assert [step.at for step in history] == sorted(step.at for step in history)
    assert services.archive.read("first").history == tuple(history)


def test_history_in_order_after_clock_was_set_back(services, experiments, monkeypatch):
    _, experiment = experiments.submit("first", PARAMETERS)
    services.recorder.record(experiment, Observation(experiment.uid, Phase.FAILED))

    class SetBack(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(days=1)

    for name in ("experiments.recorder", "store.changes", "experiments.service"):
        monkeypatch.setattr(f"backend.{name}.datetime", SetBack)
    retried = experiments.retry("first")
    services.recorder.record(retried, Observation(retried.uid, Phase.RUNNING))

    history = experiments.history(experiments.get("first"))
    assert [step.at for step in history] == sorted(step.at for step in history)
    assert [step.to_status for step in history[-3:]] == ["submitting", "queued", "running"]
    assert services.archive.read("first").history == tuple(history)
