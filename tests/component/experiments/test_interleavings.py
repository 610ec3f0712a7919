"""Races that once failed, or nearly did: an operation is paused at the critical call."""

from datetime import timedelta

import pytest

from backend.domain.exceptions import StillLive, StoreUnavailable
from backend.domain.experiment import Parameters
from backend.experiments import reconciler as module
from backend.experiments.reconciler import Reconciler
from backend.experiments.services import assemble
from tests.fakes.stepping import Operation, Stepping, Verdict

PARAMETERS = Parameters("autoencoder", 0.001, 20, None)


@pytest.fixture
def stepped_experiments(services, launcher):
    """The same experiments, for an operation that is to be paused."""
    return assemble(
        Stepping(services.store, lambda _name: StoreUnavailable("gone", away=True)),
        Stepping(launcher, lambda _name: None, ("render",)),
        services.inputs,
        services.outputs,
        log_max_bytes=10_000_000,
    ).experiments


@pytest.fixture
def reconcile(services, launcher, monkeypatch):
    monkeypatch.setattr(module, "SUBMIT_GRACE", timedelta(0))
    return Reconciler(services, ttl_seconds=60).reconcile


def paused_before(call, work):
    """Begin an operation, and pause it before a call."""
    operation = Operation(work)
    while operation.at is not None and not operation.at.endswith(call):
        operation.step()
    assert operation.at is not None, operation.error or operation.result
    return operation


def submission_before_job(stepped_experiments):
    """Begin a submission, and pause it just before its Job is created."""
    return paused_before(".submit", lambda: stepped_experiments.submit("first", PARAMETERS))


def test_slow_submit_overtaken_by_retry(stepped_experiments, experiments, launcher, reconcile):
    """A submission resumes after cancel and retry; only the Job of the second attempt exists."""
    slow = submission_before_job(stepped_experiments)
    experiments.cancel("first")
    reconcile()
    retried = experiments.retry("first")

    slow.finish()

    assert list(launcher.jobs) == [retried.job]


def test_crashed_submit_overtaken_by_retry(stepped_experiments, experiments, launcher, reconcile):
    """The process dies right after creating the first Job; the reconciler removes that Job."""
    slow = submission_before_job(stepped_experiments)
    experiments.cancel("first")
    reconcile()
    retried = experiments.retry("first")

    slow.step(Verdict.CRASH_AFTER)
    reconcile()

    assert list(launcher.jobs) == [retried.job]


def test_slow_submit_overtaken_by_delete(stepped_experiments, experiments, launcher, reconcile):
    slow = submission_before_job(stepped_experiments)
    experiments.cancel("first")
    reconcile()
    experiments.delete("first", outputs=True)

    slow.finish()

    assert not launcher.jobs


def test_delete_overtaken_by_retry(stepped_experiments, experiments, launcher):
    """A retry between the two steps of a delete wins; the delete reports StillLive."""
    launcher.refusing = True
    with pytest.raises(Exception, match="refused"):
        experiments.submit("first", PARAMETERS)
    launcher.refusing = False
    delete = paused_before(
        ".delete_job", lambda: stepped_experiments.delete("first", outputs=False)
    )
    retried = experiments.retry("first")

    delete.finish()

    assert isinstance(delete.error, StillLive)
    assert experiments.get("first") == retried
    assert list(launcher.jobs) == [retried.job]
