"""Orders of events that once went wrong, or nearly: an operation is stopped where it hurts most."""

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
def stepping(services, launcher):
    """Give the same experiments to an operation that is to be stopped."""
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


def stopped_before(call, work):
    """Begin an operation, and stop it before a call."""
    operation = Operation(work)
    while operation.at is not None and not operation.at.endswith(call):
        operation.step()
    assert operation.at is not None, operation.error or operation.result
    return operation


def begun(stepping):
    """Begin a submission, and stop it just before its Job is created."""
    return stopped_before(".submit", lambda: stepping.submit("first", PARAMETERS))


def test_a_slow_submission_starts_no_job_beside_that_of_the_next_attempt(
    stepping, experiments, launcher, reconcile
):
    slow = begun(stepping)
    experiments.cancel("first")
    reconcile()
    retried = experiments.retry("first")

    slow.finish()

    assert list(launcher.jobs) == [retried.job]


def test_a_submission_that_dies_starts_no_job_beside_that_of_the_next_attempt(
    stepping, experiments, launcher, reconcile
):
    slow = begun(stepping)
    experiments.cancel("first")
    reconcile()
    retried = experiments.retry("first")

    slow.step(Verdict.CRASH_AFTER)
    reconcile()

    assert list(launcher.jobs) == [retried.job]


def test_a_slow_submission_of_a_run_that_was_deleted_meanwhile_leaves_no_job(
    stepping, experiments, launcher, reconcile
):
    slow = begun(stepping)
    experiments.cancel("first")
    reconcile()
    experiments.delete("first", outputs=True)

    slow.finish()

    assert not launcher.jobs


def test_a_delete_forgets_no_run_that_was_retried_meanwhile(stepping, experiments, launcher):
    launcher.refusing = True
    with pytest.raises(Exception, match="refused"):
        experiments.submit("first", PARAMETERS)
    launcher.refusing = False
    delete = stopped_before(".delete_job", lambda: stepping.delete("first", outputs=False))
    retried = experiments.retry("first")

    delete.finish()

    assert isinstance(delete.error, StillLive)
    assert experiments.get("first") == retried
    assert list(launcher.jobs) == [retried.job]
