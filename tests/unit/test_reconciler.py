import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backend.domain.attempt import Diagnosis
from backend.domain.experiment import Parameters
from backend.domain.status import Status
from backend.experiments import reconciler as module
from backend.experiments.reconciler import Reconciler
from backend.launchers.base import LauncherUnavailable, Observation, Phase

PARAMETERS = Parameters("autoencoder", 0.001, 20, None)
TTL_SECONDS = 60


@pytest.fixture
def reconciler(services, launcher, monkeypatch):
    monkeypatch.setattr(module, "SUBMIT_GRACE", timedelta(0))
    monkeypatch.setattr(module, "LONGEST_REST", 0)
    return Reconciler(services, TTL_SECONDS)


def test_it_works(reconciler, experiments, launcher):
    _, experiment = experiments.submit("first", PARAMETERS)
    launcher.jobs[experiment.job] = Observation(experiment.uid, Phase.RUNNING)
    reconciler.reconcile()

    assert experiments.get("first").status is Status.RUNNING


def test_what_a_killed_reconciler_could_not_archive_the_next_one_does(
    services, reconciler, experiments, launcher, settings, monkeypatch
):
    _, experiment = experiments.submit("first", PARAMETERS)
    with monkeypatch.context() as killed:
        killed.setattr(services.archive, "update_run_file", lambda _experiment: None)
        services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED))
    run_file = settings.output_dir / "first" / "run.json"
    assert json.loads(run_file.read_text())["status"] != "succeeded"

    monkeypatch.setattr(launcher, "changes", lambda _timeout: reconciler.stop())
    reconciler.run()

    assert json.loads(run_file.read_text())["status"] == "succeeded"


def test_what_could_not_be_submitted_is_submitted_once(reconciler, experiments, launcher):
    launcher.down = True
    experiments.submit("first", PARAMETERS)
    with pytest.raises(LauncherUnavailable):
        reconciler.reconcile()
    launcher.down = False
    reconciler.reconcile()
    reconciler.reconcile()

    assert experiments.get("first").status is Status.QUEUED
    assert launcher.submissions == 1


def test_a_web_worker_gets_time_to_submit_by_itself(services, experiments, launcher):
    launcher.down = True
    experiments.submit("first", PARAMETERS)
    launcher.down = False
    Reconciler(services, TTL_SECONDS).reconcile()

    assert launcher.submissions == 0


def test_a_job_that_is_gone_has_failed(reconciler, experiments, launcher):
    experiments.submit("first", PARAMETERS)
    launcher.jobs.clear()
    reconciler.reconcile()

    assert experiments.get("first").status is Status.FAILED
    assert experiments.get("first").reason == "job_deleted"


def test_a_run_that_is_refused_does_not_stop_the_others(reconciler, experiments, launcher):
    launcher.down = True
    experiments.submit("first", PARAMETERS)
    launcher.down = False
    _, second = experiments.submit("second", PARAMETERS)
    launcher.jobs[second.job] = Observation(second.uid, Phase.RUNNING)
    launcher.refusing = True
    reconciler.reconcile()

    assert experiments.get("first").status is Status.FAILED
    assert experiments.get("second").status is Status.RUNNING


def test_the_loop_goes_on_until_it_is_stopped(reconciler, launcher, monkeypatch):
    looks = []

    def look(timeout):
        looks.append(timeout)
        if len(looks) == 3:
            reconciler.stop()

    monkeypatch.setattr(launcher, "changes", look)
    reconciler.run()

    assert len(looks) == 3
    assert reconciler.passes.trouble is None


def test_a_cancelled_run_ends_when_its_job_is_gone(reconciler, experiments, launcher):
    _, experiment = experiments.submit("first", PARAMETERS)
    launcher.jobs[experiment.job] = Observation(experiment.uid, Phase.RUNNING)
    reconciler.reconcile()
    experiments.cancel("first")
    reconciler.reconcile()

    assert experiments.get("first").status is Status.CANCELLED
    assert not launcher.jobs


def test_a_cancel_that_did_not_reach_the_launcher_is_sent_again(reconciler, experiments, launcher):
    experiments.submit("first", PARAMETERS)
    launcher.down = True
    experiments.cancel("first")
    launcher.down = False
    reconciler.reconcile()
    reconciler.reconcile()

    assert not launcher.jobs
    assert experiments.get("first").status is Status.CANCELLED


def test_a_cancelled_run_that_was_never_started_is_not_started(reconciler, experiments, launcher):
    launcher.down = True
    experiments.submit("first", PARAMETERS)
    experiments.cancel("first")
    launcher.down = False
    reconciler.reconcile()

    assert experiments.get("first").status is Status.CANCELLED
    assert launcher.submissions == 0


def test_a_job_that_was_made_while_its_run_was_cancelled_is_ended(
    reconciler, experiments, launcher
):
    launcher.down = True
    _, experiment = experiments.submit("first", PARAMETERS)
    experiments.cancel("first")
    launcher.down = False
    reconciler.reconcile()
    # By a web worker that was about to, and died right after.
    launcher.submit(launcher.render(experiment.current_attempt))
    reconciler.reconcile()

    assert not launcher.jobs
    assert experiments.get("first").status is Status.CANCELLED


def test_a_run_that_ended_unseen_has_succeeded_if_its_summary_is_there(
    reconciler, experiments, launcher, settings
):
    experiments.submit("first", PARAMETERS)
    (settings.output_dir / "first" / "summary.json").write_text("{}")
    launcher.jobs.clear()  # by its time to live
    reconciler.reconcile()

    assert experiments.get("first").status is Status.SUCCEEDED


def test_a_cancel_that_fails_does_not_hold_the_others_up(
    reconciler, experiments, launcher, monkeypatch
):
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


def test_only_the_runs_that_changed_are_looked_at(reconciler, experiments, launcher):
    _, first = experiments.submit("first", PARAMETERS)
    _, second = experiments.submit("second", PARAMETERS)
    for experiment in (first, second):
        launcher.jobs[experiment.job] = Observation(experiment.uid, Phase.RUNNING)
    reconciler.reconcile([second.job])

    assert experiments.get("first").status is Status.QUEUED
    assert experiments.get("second").status is Status.RUNNING


def test_a_run_that_is_gone_is_seen_without_looking_at_all(reconciler, experiments, launcher):
    _, first = experiments.submit("first", PARAMETERS)
    launcher.jobs.clear()
    reconciler.reconcile([first.job])

    assert experiments.get("first").reason == "job_deleted"


class Script:
    """Lets `Reconciler.run` go through changes one by one, and notes what it looked at."""

    def __init__(self, reconciler, launcher, monkeypatch, changes):
        self.looks, self._changes, self._reconciler = [], list(changes), reconciler
        observe = launcher.observe
        monkeypatch.setattr(launcher, "changes", self._change)
        monkeypatch.setattr(
            launcher, "observe", lambda handles=None: self.looks.append(handles) or observe(handles)
        )
        reconciler.run()

    def _change(self, _timeout):
        if not self._changes:
            self._reconciler.stop()
            return frozenset()
        return self._changes.pop(0)


def test_a_change_is_followed_by_a_look_at_what_changed(reconciler, launcher, monkeypatch):
    many = frozenset(str(number) for number in range(module.MAX_PARTIAL + 1))
    changes = [frozenset("a"), frozenset(), frozenset("bc"), None, many]
    script = Script(reconciler, launcher, monkeypatch, changes)

    assert script.looks[:5] == [None, {"a"}, {"b", "c"}, None, None]


@pytest.mark.parametrize(("changed", "looked_at"), [(25, 25), (26, None)])
def test_many_of_more_runs_are_looked_at_one_by_one(
    reconciler, experiments, launcher, monkeypatch, changed, looked_at
):
    for number in range(100):
        experiments.submit(str(number), PARAMETERS)
    some = frozenset(str(number) for number in range(changed))
    script = Script(reconciler, launcher, monkeypatch, [some])

    assert script.looks[1] == (some if looked_at else None)


def test_after_a_pass_the_reconciler_rests_and_a_stop_ends_the_rest(
    reconciler, launcher, monkeypatch
):
    rests = []
    monkeypatch.setattr(module, "LONGEST_REST", 3600)
    monkeypatch.setattr(module, "SHORTEST_REST", 3600)
    sleep = reconciler.rest

    def rest(seconds):
        rests.append(seconds)
        reconciler.stop()
        sleep(seconds)

    monkeypatch.setattr(reconciler, "rest", rest)
    reconciler.run()

    assert rests == [3600]


@pytest.mark.parametrize(("grace", "looks"), [(timedelta(0), 2), (timedelta(hours=1), 1)])
def test_what_a_web_worker_left_undone_is_looked_at_without_a_change_once_it_had_its_time(
    reconciler, experiments, launcher, monkeypatch, grace, looks
):
    launcher.down = True
    _, first = experiments.submit("first", PARAMETERS)
    launcher.down = False
    monkeypatch.setattr(module, "SUBMIT_GRACE", grace)
    monkeypatch.setattr(experiments, "launch", lambda _experiment: None)
    script = Script(reconciler, launcher, monkeypatch, [frozenset()])

    assert script.looks == [None, {first.job}][:looks]


def test_a_wish_that_could_not_be_fulfilled_is_looked_at_without_a_change(
    reconciler, experiments, launcher, monkeypatch
):
    def refuse(_handle):
        raise LauncherUnavailable(Diagnosis("kubernetes_forbidden", "It is forbidden.", "Mend it."))

    monkeypatch.setattr(launcher, "cancel", refuse)
    _, first = experiments.submit("first", PARAMETERS)
    experiments.cancel("first")
    script = Script(reconciler, launcher, monkeypatch, [frozenset()])

    assert script.looks == [None, {first.job}]


def test_of_what_is_left_undone_the_database_is_not_asked_at_each_change(
    reconciler, experiments, launcher, monkeypatch
):
    asked = []
    monkeypatch.setattr(experiments, "unfinished_jobs", lambda before: asked.append(before) or [])
    Script(reconciler, launcher, monkeypatch, [frozenset("a"), frozenset("b"), frozenset("c")])

    assert len(asked) == 1


def test_a_run_that_a_web_worker_is_starting_is_left_to_it(
    reconciler, experiments, launcher, monkeypatch
):
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


def test_now_and_then_all_are_looked_at_without_a_change(reconciler, launcher, monkeypatch):
    monkeypatch.setattr(module, "WHOLE_SECONDS", 0)
    looks = []

    def observe(handles=None):
        looks.append(handles)
        if len(looks) == 2:
            reconciler.stop()
        return {}

    monkeypatch.setattr(launcher, "observe", observe)
    monkeypatch.setattr(launcher, "changes", lambda _timeout: frozenset("a"))
    reconciler.run()

    assert looks == [None, None]


def test_after_a_failure_all_are_looked_at(reconciler, launcher, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0)
    outage = LauncherUnavailable(Diagnosis("unreachable", "It does not answer.", "Wait."))
    looks = []

    def observe(handles=None):
        looks.append(handles)
        if len(looks) == 2:
            raise outage
        if len(looks) == 3:
            reconciler.stop()
        return {}

    monkeypatch.setattr(launcher, "observe", observe)
    monkeypatch.setattr(launcher, "changes", lambda _timeout: frozenset("a"))
    reconciler.run()

    assert looks == [None, {"a"}, None]


@pytest.fixture
def ended(reconciler, experiments, launcher):
    """Give a run that was seen to succeed longer ago than its time to live."""
    _, experiment = experiments.submit("first", PARAMETERS)
    at = datetime.now(UTC) - timedelta(seconds=TTL_SECONDS + 1)
    launcher.jobs[experiment.job] = Observation(
        experiment.uid, Phase.SUCCEEDED, at, at, attempt=experiment.current_attempt
    )
    return experiment


def test_what_is_left_of_a_run_is_removed_once_its_end_and_log_are_kept(
    services, reconciler, experiments, launcher, ended
):
    reconciler.reconcile()

    assert not launcher.jobs
    ended = experiments.get("first")
    assert ended.status is Status.SUCCEEDED
    assert b"epoch 2/20" in b"".join(services.logs.read(ended, 1))


def test_nothing_is_removed_before_its_time(reconciler, launcher, ended):
    seen = launcher.jobs[ended.job]
    launcher.jobs[ended.job] = replace(seen, finished_at=datetime.now(UTC))
    reconciler.reconcile()

    assert list(launcher.jobs) == [ended.job]


def test_a_run_whose_log_cannot_be_kept_stays(reconciler, launcher, ended, settings, monkeypatch):
    in_the_way = settings.output_dir / "first" / "logs" / "1.log"
    in_the_way.mkdir(parents=True)
    reconciler.reconcile()
    assert list(launcher.jobs) == [ended.job]

    in_the_way.rmdir()
    reconciler.reconcile()
    assert not launcher.jobs


def test_a_run_that_nobody_knows_stays(reconciler, experiments, launcher, ended, store):
    store.delete(ended.id, attempt=1, status="queued")
    reconciler.reconcile()

    assert list(launcher.jobs) == [ended.job]


def test_what_is_left_of_an_earlier_attempt_is_removed_while_the_next_one_runs(
    reconciler, experiments, launcher, ended
):
    why = Diagnosis("trainer_failed", "It failed.", "Mend it.")
    failed = replace(launcher.jobs[ended.job], phase=Phase.FAILED, diagnosis=why)
    launcher.jobs[ended.job] = replace(failed, finished_at=datetime.now(UTC))
    reconciler.reconcile()
    following = experiments.retry("first")
    launcher.jobs[ended.job] = failed
    reconciler.reconcile()

    assert list(launcher.jobs) == [following.job]
    assert experiments.get("first").status is Status.QUEUED


def test_a_log_that_could_not_be_kept_at_the_end_is_kept_later(
    services, reconciler, experiments, launcher, monkeypatch
):
    _, experiment = experiments.submit("first", PARAMETERS)
    source = launcher.log_source
    printed = source.printed[experiment.job] = {"1-pod": [b"a"]}
    services.logs.save(experiment)  # as a cancel does
    printed["1-pod"].append(b"b")
    with monkeypatch.context() as patch:
        patch.setattr(source, "read", _away)
        services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED))
    reconciler.reconcile()

    ended = experiments.get("first")
    assert ended.status is Status.SUCCEEDED
    assert list(services.logs.read(ended, 1)) == [b"a", b"b"]


def _away(_part):
    raise LauncherUnavailable(Diagnosis("unreachable", "It does not answer.", "Wait."))
