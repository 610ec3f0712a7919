"""Sweeps in each database: a number is issued once, by whichever process is first."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import update

from backend.domain.catalogue import Goal
from backend.domain.experiment import Parameters, new_values
from backend.domain.metric_summary import MetricSummary
from backend.domain.status import Status
from backend.domain.sweeps.sweep import Sweep, SweepStatus, new_sweep_values
from backend.store.related.metrics import MetricSummaries
from backend.store.related.sweeps import SweepTable
from backend.store.tables import experiment
from backend.sweeps.progress import best_trial

PARAMETERS = Parameters("autoencoder", 0.01, 20, None, '{"hidden":8}')
DEFINITION = '{"entry_sha256":"%s"}' % ("0" * 64)


@pytest.fixture
def table(store):
    return SweepTable(store.database)


@pytest.fixture
def sweep(table):
    return make(table)


def make(table, **changes):
    sweep_id = f"탐색 {uuid.uuid4().hex}"
    values = new_sweep_values(sweep_id, "autoencoder", DEFINITION, trials=9, parallel=2, by="alice")
    values |= changes
    row_id = table.insert(values, entry="{}")
    assert row_id
    return table.get(values["sweep_id"])


def insert_trial(store, sweep, number=None):
    number = number or sweep.issued + 1
    values = new_values(f"{sweep.sweep_id}-{number:04d}", PARAMETERS, sweep_id=sweep.sweep_id)
    return store.insert(values, trial_of=sweep)


def test_values_are_read_as_written(table):
    at = datetime(2024, 2, 29, 23, 59, 59, 123457, tzinfo=UTC)
    sweep = make(table, created_at=at, updated_at=at, is_cancelling=True)

    assert (sweep.created_at, sweep.updated_at, sweep.finished_at) == (at, at, None)
    assert (sweep.is_cancelling, sweep.delete_outputs, sweep.created_by) == (True, False, "alice")
    assert sweep.status is SweepStatus.RUNNING
    assert sweep in table.changed_since(at)
    assert isinstance(sweep, Sweep)


def test_an_id_is_used_once(table, store, sweep):
    values = new_sweep_values(
        sweep.sweep_id, "autoencoder", DEFINITION, trials=1, parallel=1, by=None
    )
    assert table.insert(values, entry="{}") is None
    other = new_values(uuid.uuid4().hex, PARAMETERS)
    store.insert(other)
    taken = values | {"sweep_id": other["experiment_id"], "uid": uuid.uuid4().hex}

    assert table.insert(taken, entry="{}") is None


def test_numbers_are_issued_in_order(table, store, sweep):
    assert insert_trial(store, sweep, 2) is None
    assert insert_trial(store, sweep, 1)
    assert insert_trial(store, sweep, 1) is None

    assert table.get(sweep.sweep_id).issued == 1
    [trial] = table.trials(sweep, "val_loss", Goal.MINIMIZE)
    assert (trial.number, trial.parameters["hidden"], trial.value) == (1, 8, None)
    assert table.counts([sweep.sweep_id, "none"]) == {
        sweep.sweep_id: {"submitting": 1},
        "none": {},
    }


@pytest.mark.parametrize(("goal", "best"), [(Goal.MINIMIZE, 2), (Goal.MAXIMIZE, 4)])
def test_best_trials(table, store, goal, best):
    """The first with the best value; neither a failed trial, nor values of an earlier attempt."""
    sweep, other, empty = make(table), make(table), make(table)
    for number, (value, changes) in enumerate(
        [
            (0.5, {}),
            (0.1, {"status": Status.RUNNING}),
            (0.1, {}),
            (0.9, {}),
            (0.0, {"status": Status.FAILED}),
            (0.0, {"attempt": 2}),
            (1.0, {"status": Status.FAILED}),
            (1.0, {"attempt": 2}),
        ],
        start=1,
    ):
        train(table, store, sweep, number, value, changes)
    train(table, store, other, 1, 0.3, {})
    ids = [sweep.sweep_id, other.sweep_id, empty.sweep_id]

    found = table.best(ids, "val_loss", goal)

    assert {sweep_id: trial.number for sweep_id, trial in found.items()} == {
        sweep.sweep_id: best,
        other.sweep_id: 1,
    }
    assert found[sweep.sweep_id] == best_trial(table.trials(sweep, "val_loss", goal), goal)
    assert found[sweep.sweep_id].value_epoch == 2
    assert table.best(ids, "accuracy", goal) == {}


def train(table, store, sweep, number, value, changes):
    """Add a trial that has reached a value, and change its row afterwards."""
    assert insert_trial(store, table.get(sweep.sweep_id), number)
    trial = store.get(f"{sweep.sweep_id}-{number:04d}")
    summaries = {
        "val_loss": MetricSummary(1, 3, value, 2, value, 2),
        "other": MetricSummary(-9, 1, -9, 1, 99, 1),
    }
    MetricSummaries(store.database).save(trial, summaries, version="1", is_final=False)
    values = {"status": Status.SUCCEEDED} | changes
    query = update(experiment).where(experiment.c.id == trial.id).values(values)
    store.database.write(lambda connection: connection.execute(query))


@pytest.mark.parametrize(
    "change",
    [
        {"status": SweepStatus.PAUSED},
        {"status": SweepStatus.CANCELLED},
        {"trials": 1, "issued": 1},
        {"delete_requested_at": datetime(2024, 1, 1, tzinfo=UTC)},
    ],
)
def test_no_trial_after_a_change(table, store, sweep, change):
    assert table.update(sweep, change)

    assert insert_trial(store, sweep) is None
    assert table.trials(sweep, "val_loss", Goal.MINIMIZE) == []


def test_a_failed_insert_counts_nothing(table, store, sweep):
    """The id of the trial is that of another experiment."""
    store.insert(new_values(f"{sweep.sweep_id}-0001", PARAMETERS))

    assert insert_trial(store, sweep) is None
    assert table.get(sweep.sweep_id).issued == 0
    assert table.others_with_ids_of_trials(sweep.sweep_id) == [f"{sweep.sweep_id}-0001"]


def test_many_processes_issue_each_number_once(database, open_store, table, sweep):
    stores = [open_store(database) for _ in range(4)]

    def submit(store):
        own, done = SweepTable(store.database), []
        while (current := own.get(sweep.sweep_id)).issued < current.trials:
            if insert_trial(store, current):
                done.append(current.issued + 1)
        return done

    with ThreadPoolExecutor(4) as pool:
        issued = [number for numbers in pool.map(submit, stores) for number in numbers]

    assert sorted(issued) == list(range(1, 10))
    trials = table.trials(sweep, "val_loss", Goal.MINIMIZE)
    assert [trial.number for trial in trials] == list(range(1, 10))


def test_a_status_changes_by_compare_and_set(table, sweep):
    assert table.update(sweep, {"status": SweepStatus.PAUSED})
    assert not table.update(sweep, {"status": SweepStatus.FAILED})
    assert not table.update(replace(sweep, uid="other"), {"trials": 5})

    assert table.get(sweep.sweep_id).status is SweepStatus.PAUSED


def test_restore_counts_trials_that_are_there(table, store, sweep):
    insert_trial(store, sweep)
    table.delete(sweep)
    values = {name: value for name, value in vars(sweep).items() if name != "id"}

    assert table.restore(values)
    assert not table.restore(values)
    assert table.get(sweep.sweep_id).issued == 1
    assert sweep.sweep_id in [one.sweep_id for one in table.unfinished()]
