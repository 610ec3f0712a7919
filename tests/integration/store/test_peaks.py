"""The most that attempts have used, in each database server."""

import itertools
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backend.domain.execution.usage import PEAKS, Usage
from backend.domain.experiment import Parameters, new_values
from backend.domain.selection import Selection

NOW = datetime(2024, 2, 29, 23, 59, 59, 123457, tzinfo=UTC)
PARAMETERS = Parameters("autoencoder", 0.001, 20, None)


@pytest.fixture
def running(store):
    """Return a function that adds an experiment that is running, and returns it."""

    def running():
        values = new_values(uuid.uuid4().hex, PARAMETERS)
        store.insert(values | {"status": "running", "created_at": NOW, "updated_at": NOW})
        return store.get(values["experiment_id"])

    return running


def test_peaks_only_rise(store, running):
    experiment, other = running(), running()
    for usage in (Usage(1.5, 2**40), Usage(0.25, None, 0.5), Usage(None, 7, 0.25, 2**33), Usage()):
        store.raise_peaks([(experiment, usage), (other, Usage(memory=1))])

    current = store.get(experiment.experiment_id)
    assert current == replace(
        experiment, peak_cpu=1.5, peak_memory=2**40, peak_gpu=0.5, peak_gpu_memory=2**33
    )
    assert store.get(other.experiment_id).peaks == Usage(memory=1)
    store.raise_peaks([])


@pytest.mark.parametrize("changes", [{"attempt": 2}, {"uid": "f" * 32}, {"id": 10**9}])
def test_another_attempt_or_experiment_is_left_alone(store, running, changes):
    experiment = running()
    store.raise_peaks([(replace(experiment, **changes), Usage(1.5, 1, 1.5, 1))])
    assert store.get(experiment.experiment_id) == experiment


@pytest.mark.parametrize("rise", PEAKS)
def test_each_peak_changes_the_version(store, running, rise):
    experiment = running()
    store.raise_peaks([(experiment, Usage(1.5, 2**40))])
    name = rise.removeprefix("peak_")
    peak = getattr(store.get(experiment.experiment_id), rise) or 0
    before = store.listing(limit=10).version
    for more in (0.001, 0.002) if name in ("cpu", "gpu") else (1, 2):
        store.raise_peaks([(experiment, Usage(**{name: peak + more}))])
        after = store.listing(limit=10).version
        assert after != before
        before = after


@pytest.mark.parametrize(("column", "sign"), list(itertools.product(PEAKS, ("", "-"))))
def test_every_order_is_complete(store, running, column, sign):
    """Those of the same peak are in the order of their keys; those without one are missing."""
    rows = [running() for _ in range(12)]
    name = column.removeprefix("peak_")
    peaks = [None, 3, 1, 2, 2, None, 2, 5, 3, 1, 0, 4]
    store.raise_peaks([(row, Usage(**{name: peak})) for row, peak in zip(rows, peaks, strict=True)])
    known = [(peak, row.id) for row, peak in zip(rows, peaks, strict=True) if peak is not None]
    wanted = [key for _, key in sorted(known, reverse=bool(sign))]

    selection, listed, after = Selection(sort=f"{sign}{column}"), [], None
    while page := store.page(limit=4, after=after, selection=selection):
        listed += [row.id for row in page]
        after = selection.cursor(page[-1])
    assert listed == wanted
