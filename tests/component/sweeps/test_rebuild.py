"""A lost database: sweeps and their trials come back from the output folder, and go on."""

import json
import sqlite3
from contextlib import closing

import pytest

from backend.experiments import rebuild as experiments_rebuild
from backend.sweeps import rebuild
from backend.sweeps.samplers import Method


@pytest.fixture
def lose_database(settings):
    def lose():
        with closing(sqlite3.connect(settings.sqlite_path, isolation_level=None)) as database:
            database.execute("PRAGMA foreign_keys = ON")
            for table in ("experiment", "sweep", "model_entries"):
                database.execute(f"DELETE FROM {table}")

    return lose


@pytest.fixture
def restore(sweeps, services):
    def restore():
        experiments_rebuild.rebuild(services.archive, services.launcher)
        return rebuild.rebuild(sweeps)

    return restore


def rate(parameters):
    return parameters["learning_rate"]


@pytest.mark.parametrize("method", [Method.RANDOM, Method.TPE])
def test_a_rebuilt_sweep_goes_on_with_the_same_suggestions(
    house, make_plan, lose_database, restore, method
):
    plan = make_plan(method=method, trials=14, parallel=1)
    house.start(plan)
    house.run(rate)
    undisturbed = [trial.parameters for trial in house.trials()]
    house.start(plan, "t")
    for number in range(1, 13):
        house.driver.step()
        [live] = [trial for trial in house.trials("t") if trial.is_live]
        house.end(live.experiment_id, rate(live.parameters) + 1, rate(live.parameters))
        assert live.number == number
    before = house.sweep("t")
    lose_database()
    summary = restore()
    assert (summary.restored, summary.skipped) == (2, 0)
    restored = house.sweep("t")
    assert (restored.issued, restored.uid, restored.definition) == (
        *(12, before.uid, before.definition),
    )
    house.run(rate, "t")

    assert [trial.parameters for trial in house.trials("t")] == undisturbed


def test_a_rebuild_changes_no_existing_sweep(house, make_plan, restore, sweeps):
    house.start(make_plan())
    house.driver.step()
    before = house.sweep()

    assert restore().known == 1
    assert house.sweep() == before
    assert list(rebuild.differences(sweeps)) == []


def test_a_missing_sweep_is_a_difference(house, make_plan, lose_database, sweeps):
    house.start(make_plan())
    lose_database()

    assert list(rebuild.differences(sweeps)) == [
        "'s': the sweep is missing in the database; it is running"
    ]


def test_a_deleted_sweep_stays_deleted(house, make_plan, sweeps, restore):
    house.start(make_plan())
    house.run(rate)
    sweeps.delete("s", outputs=False)
    house.driver.step()

    assert restore().deleted == 1
    assert sweeps.page(limit=9) == []


def test_the_folder_of_a_sweep_is_no_damaged_experiment(house, make_plan, services):
    house.start(make_plan())

    assert list(services.archive.names()) == []
    summary = experiments_rebuild.rebuild(services.archive, services.launcher)
    assert summary.skipped == 0


@pytest.mark.parametrize(
    "change",
    [
        {"uid": "x"},
        {"sweep_id": "other"},
        {"trials": 10**9},
        {"trials": "4"},
        {"status": "unheard of"},
        {"created_at": None},
        {"reason": "x" * 100},
        {"definition": None},
        {"definition": {"space": {}}},
        {"message": 5},
    ],
)
def test_a_damaged_sweep_file_is_skipped(
    house, make_plan, services, lose_database, restore, change
):
    house.start(make_plan())
    path = services.outputs.folder("s") / "sweep.json"
    content = json.loads(path.read_text())
    lose_database()
    path.write_text(json.dumps(content | change))

    summary = restore()
    assert (summary.restored, summary.skipped) == (0, 1)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_sweep_file_that_is_no_object(house, make_plan, services, lose_database, restore, text):
    house.start(make_plan())
    (services.outputs.folder("s") / "sweep.json").write_text(text)
    lose_database()

    assert restore().skipped == 1


def test_a_trainer_cannot_become_a_sweep(
    house, make_plan, services, sweeps, lose_database, restore
):
    """It can write to the folder of its experiment, and remove its run.json."""
    house.start(make_plan())
    house.driver.step()
    content = json.loads((services.outputs.folder("s") / "sweep.json").read_text())
    trainers = services.outputs.folder("s-0001")
    (trainers / "run.json").unlink()
    (trainers / "sweep.json").write_text(json.dumps(content | {"sweep_id": "s-0001"}))
    lose_database()
    restore()

    assert [sweep.sweep_id for sweep in sweeps.page(limit=9)] == ["s"]


def test_a_trainer_cannot_claim_another_number(house, make_plan, services, lose_database, restore):
    house.start(make_plan())
    house.driver.step()
    path = services.outputs.folder("s-0001") / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sweep_id": "t"}))
    lose_database()
    restore()

    # It is restored from its Job instead.
    assert [trial.number for trial in house.trials()] == [1, 2]
