import logging

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backend.experiments.reconciling.health import PATIENCE_SECONDS, Passes


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def passes(clock):
    return Passes(clock)


def figures(passes):
    families = text_string_to_metric_families(passes.metrics().decode())
    samples = [sample for family in families for sample in family.samples]
    prefix = "hello_flask_reconcile_"
    return {sample.name.removeprefix(prefix): sample.value for sample in samples}


def test_good_pass_is_healthy(passes, clock):
    passes.succeeded(0.5)
    clock.now = 3

    assert passes.trouble is None
    counted = {k: v for k, v in figures(passes).items() if not k.endswith("_created")}
    assert counted == {
        "passes_total": 1,
        "failures_total": 0,
        "experiment_failures_total": 0,
        "last_pass_duration_seconds": 0.5,
        "last_good_pass_age_seconds": 3,
        "hello_flask_log_ends_lost_total": 0,
        "leads": 1,
    }


def test_trouble_is_logged_once(passes, clock, caplog):
    """A minute without a good pass is logged once, and so is its end."""
    for second in range(int(PATIENCE_SECONDS) + 10):
        clock.now = second
        passes.failed(0.1, "The API server is away.")
    assert passes.trouble.endswith("The API server is away.")
    assert figures(passes)["failures_total"] == PATIENCE_SECONDS + 10

    passes.succeeded(0.1)
    passes.succeeded(0.1)

    assert passes.trouble is None
    warning, error, recovery = caplog.records
    assert [record.levelno for record in caplog.records] == [
        logging.WARNING,
        logging.ERROR,
        logging.ERROR,
    ]
    assert "The API server is away." in warning.getMessage()
    assert "The API server is away." in error.getMessage()
    assert "again" in recovery.getMessage()


def test_endless_pass_is_trouble(passes, clock):
    clock.now = PATIENCE_SECONDS

    assert passes.trouble
