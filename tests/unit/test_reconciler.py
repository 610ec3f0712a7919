from datetime import timedelta

import pytest

from backend import reconciler as module
from backend.launchers.base import Diagnosis, LauncherUnavailable, Observation, Phase
from backend.lifecycle import Status
from backend.reconciler import Reconciler
from backend.records import Parameters

PARAMETERS = Parameters("autoencoder", 0.001, 20, None)


@pytest.fixture
def reconciler(experiments, launcher, monkeypatch):
    monkeypatch.setattr(module, "SUBMIT_GRACE", timedelta(0))
    return Reconciler(experiments, launcher)


def test_it_works(reconciler, experiments, launcher):
    _, experiment = experiments.submit("first", PARAMETERS)
    launcher.jobs[experiment.job] = Observation(experiment.uid, Phase.RUNNING)
    reconciler.reconcile()

    assert experiments.get("first").status is Status.RUNNING


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


def test_a_web_worker_gets_time_to_submit_by_itself(experiments, launcher):
    launcher.down = True
    experiments.submit("first", PARAMETERS)
    launcher.down = False
    Reconciler(experiments, launcher).reconcile()

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
    assert reconciler.ready


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
    launcher.submit(launcher.render(experiment.run))
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
