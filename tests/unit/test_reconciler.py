from datetime import timedelta

import pytest

from backend import reconciler as module
from backend.experiments import Parameters, Status
from backend.launchers.base import LauncherUnavailable, Observation, Phase
from backend.reconciler import Reconciler

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
