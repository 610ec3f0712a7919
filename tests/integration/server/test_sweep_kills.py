"""Everything is killed at random moments, and still a sweep has each of its trials once."""

import os
import random
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from backend.sweeps.samplers import Method
from tests.integration.backend_process import ROOT, Installation
from tests.integration.killed_sweeps import FORM, GRID, RANGE, TRIALS, undisturbed
from tests.integration.launcher_harness import processes_of
from tests.integration.waiting import eventually

CURVES = Path(__file__).parents[2] / "fakes" / "curve_trainer.py"


@pytest.fixture
def start(environ, tmp_path):
    environ = environ | {"LOCAL_SLOTS": "3"}
    installation = Installation(tmp_path / "installation", environ, trainer=CURVES)
    entry = ROOT / "models" / "autoencoder" / "model.yaml"
    (installation.trainer.parent / "model.yaml").symlink_to(entry)
    yield installation.start
    installation.close()


@pytest.fixture
def output(environ):
    return Path(environ["OUTPUT_DIR"])


@pytest.mark.parametrize(("form", "method"), [(RANGE, Method.RANDOM), (GRID, Method.GRID)])
def test_each_number_once(start, output, form, method):
    chance = random.Random(method.value)
    web = start("web").ready()
    reconcilers = [start("reconcile"), start("reconcile")]  # several may run
    assert web.ask("/sweeps", FORM + form).status == 201
    killed = dict.fromkeys(("web", "reconciler", "trainer"), 0)

    def submitted():
        return len(list(output.glob("s-*/run.json")))

    for goal in range(1, TRIALS, 2):  # a kill after every other trial
        eventually(lambda goal=goal: submitted() >= goal)
        victim = chance.choice(list(killed))
        killed[victim] += 1
        if victim == "web":
            web.kill_all()
            web = start("web").ready()
        elif victim == "reconciler":
            number = chance.randrange(2)
            reconcilers[number].kill_all()
            reconcilers[number] = start("reconcile")
        elif pids := processes_of(output):
            with suppress(ProcessLookupError):
                os.kill(chance.choice(pids), signal.SIGKILL)
    assert sum(killed.values()) == TRIALS // 2

    eventually(lambda: web.ask("/sweeps/s").json["status"] == "succeeded", 120)
    trials = web.ask("/sweeps/s/trials").json
    assert [trial["number"] for trial in trials] == list(range(1, TRIALS + 1))
    expected = undisturbed(method)
    names = list(expected[0])
    assert [{name: trial["parameters"][name] for name in names} for trial in trials] == expected
    for trial in trials:
        path = output / trial["experiment_id"] / "starts"
        starts = path.read_text().split() if path.exists() else []  # killed before it wrote
        assert starts == ["1"] or (not starts and trial["status"] == "failed"), trial
    succeeded = sum(trial["status"] == "succeeded" for trial in trials)
    assert succeeded >= TRIALS - killed["trainer"]


@pytest.mark.parametrize(("form", "method"), [(RANGE, Method.RANDOM), (GRID, Method.GRID)])
def test_a_database_deleted_in_the_middle_changes_nothing(start, output, environ, form, method):
    web = start("web").ready()
    reconciler = start("reconcile")
    assert web.ask("/sweeps", FORM + form).status == 201
    eventually(lambda: len(list(output.glob("s-*/starts"))) >= TRIALS // 2)
    web.kill_all()
    reconciler.kill_all()
    for path in Path(environ["DATA_DIR"]).glob("experiments.sqlite3*"):
        path.unlink()
    assert start("rebuild").exit_code() == 0

    web = start("web").ready()
    start("reconcile")
    eventually(lambda: web.ask("/sweeps/s").json["status"] == "succeeded", 120)
    trials = web.ask("/sweeps/s/trials").json
    assert [trial["number"] for trial in trials] == list(range(1, TRIALS + 1))
    expected = undisturbed(method)
    names = list(expected[0])
    assert [{name: trial["parameters"][name] for name in names} for trial in trials] == expected
    for trial in trials:
        assert (output / trial["experiment_id"] / "starts").read_text() == "1\n"
