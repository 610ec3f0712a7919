"""Servers, reconcilers and pods are killed at random moments of a sweep on Kubernetes and MySQL.

The backend's roles are processes of this machine, as in `make chaos ON=lab`. SWEEP_TRIALS=200 tries
it with that many trials, which takes half an hour.
"""

import http.client
import json
import random
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from backend.sweeps.samplers import Method
from tests.chaos.evidence import read_lines
from tests.chaos.lab_platform import LabPlatform
from tests.e2e.support import ROOT
from tests.integration.killed_sweeps import FORM, GRID, RANGE, TRIALS, undisturbed
from tests.integration.waiting import eventually

TRIAL_SECONDS = 60.0  # at most, from one trial to the next


@pytest.fixture
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabPlatform]:
    folder = tmp_path_factory.mktemp("sweep")
    for each in (folder, *folder.parents[:2]):
        each.chmod(0o755)  # pods train as another user
    platform = LabPlatform(folder)
    platform.environ["MODELS_DIR"] = str(ROOT / "models")  # for its parameters
    try:
        platform.start()
        yield platform
    finally:
        platform.close()


def ask(platform: LabPlatform, path: str, form: list[tuple[str, str]] | None = None) -> Any:
    """Send a request to the first server; return the JSON of the answer, None if there is none."""
    data = urlencode(form).encode() if form else None
    try:
        with urllib.request.urlopen(f"http://{platform.addresses[0]}{path}", data) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code != 503:
            raise
        return None
    except (OSError, http.client.HTTPException):  # it was killed
        return None


@pytest.mark.needs("mysql_control")
@pytest.mark.parametrize(("form", "method"), [(RANGE, Method.RANDOM), (GRID, Method.GRID)])
def test_each_number_once(
    platform: LabPlatform, form: list[tuple[str, str]], method: Method
) -> None:
    chance = random.Random(method.value)
    assert ask(platform, "/sweeps", [*FORM, *form, ("metric", "loss")])

    def submitted() -> int:
        return len(list(platform.outputs.glob("s-*/run.json")))

    deeds = (platform.kill_web, platform.kill_reconciler, platform.delete_pod)
    for goal in range(1, TRIALS, 2):  # a kill after every other trial
        eventually(lambda goal=goal: submitted() >= goal, TRIAL_SECONDS)
        chance.choice(deeds)(chance, lambda: None)
    eventually(lambda: (ask(platform, "/sweeps/s") or {}).get("status") == "succeeded", 300)

    trials = eventually(lambda: ask(platform, "/sweeps/s/trials?limit=1000"))
    assert [trial["number"] for trial in trials] == list(range(1, TRIALS + 1))
    expected = undisturbed(method)
    names = list(expected[0])
    assert [{name: trial["parameters"][name] for name in names} for trial in trials] == expected
    jobs = platform.jobs()
    assert sorted(jobs.values()) == [1] * TRIALS, jobs
    struck = {hit.experiment_id for hit in platform.hits}
    for trial in trials:
        name = trial["experiment_id"]
        ledger = read_lines(Path(platform.outputs, name, "ledger.jsonl"))
        starts = [line for line in ledger if line["event"] == "start"]
        assert all(line["alone"] for line in starts), trial
        assert len(starts) == 1 or name in struck, trial
        assert trial["status"] == "succeeded" or name in struck, trial
