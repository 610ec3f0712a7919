"""The programs in docs/own-model.md, run as they are printed there."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.component.models.support import MODELS, ROOT, read_metrics
from tests.integration.waiting import eventually

PAGE = (ROOT / "docs" / "own-model.md").read_text()
WALK_THROUGHS = PAGE.partition("\n## Three walk-throughs\n")[2].partition("\n## ")[0]
LISTINGS = re.findall(r"^```(\w+)\n(.*?)^```$", WALK_THROUGHS, re.MULTILINE | re.DOTALL)
KINDS = ["python", "yaml", "python", "sh", "yaml", "dockerfile"]
WITH_COMMON, PLAIN, SHELL = (text for kind, text in LISTINGS if kind in ("python", "sh"))
MAX_LINES = 59
EPOCHS = 5
EXIT_UNUSABLE = 2


@dataclass
class Program:
    """A program of the page, in a folder of models beside `common`."""

    command: list[str]
    environment: dict[str, str]
    output: Path

    def start(self, **changes: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command,
            env=os.environ | self.environment | changes,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, **changes: str) -> tuple[int, str]:
        """Run it to its end, and return its exit code and what it wrote to standard error."""
        with self.start(**changes) as process:
            _, errors = process.communicate()
        return process.returncode, errors

    @property
    def losses(self) -> list[tuple[int, float]]:
        """Epoch and loss of each line of metrics."""
        rows = read_metrics(self.output / "metrics.jsonl")
        return [(int(row["epoch"]), row["loss"]) for row in rows]


@pytest.fixture(params=[WITH_COMMON, PLAIN, SHELL], ids=["with common", "plain", "shell"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Program:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "models" / "common").symlink_to(MODELS / "common")
    is_shell = request.param is SHELL
    file = tmp_path / "models" / "mine" / ("train.sh" if is_shell else "train.py")
    file.write_text(request.param)
    for folder in ("input", "output"):
        (tmp_path / folder).mkdir()
    rows = np.random.default_rng(0).normal(size=(300, 3))
    lines = [",".join(f"{number:.4f}" for number in (*row, row.sum())) for row in rows]
    (tmp_path / "input" / "a.csv").write_text("\n".join(["a,b,c,price", *lines]) + "\n")
    environment = {
        "INPUT_DIR": str(tmp_path / "input"),
        "OUTPUT_DIR": str(tmp_path / "output"),
        "DATASET": "a.csv",
        "LEARNING_RATE": "0.01",
        "EPOCH": str(EPOCHS),
        "EXPERIMENT_ID": "first",
        "ATTEMPT": "1",
    }
    command = ["sh", str(file)] if is_shell else [sys.executable, "-u", str(file)]
    return Program(command, environment, tmp_path / "output")


def test_listings_are_short() -> None:
    assert [kind for kind, _ in LISTINGS] == KINDS
    for text in (WITH_COMMON, PLAIN, SHELL):
        assert len(text.splitlines()) <= MAX_LINES


@pytest.mark.parametrize("text", [text for kind, text in LISTINGS if kind == "yaml"])
def test_entries_have_known_keys(text: str) -> None:
    entry = yaml.safe_load(text)
    known = {"description", "image", "command", "parameters", "objective", "resources", "sizes"}
    assert entry.keys() <= known
    assert entry["objective"].keys() == {"metric", "goal"}


def test_it_learns_and_is_harmless_to_start_again(program: Program) -> None:
    assert program.run() == (0, "")
    losses = program.losses
    assert [epoch for epoch, _ in losses] == list(range(1, EPOCHS + 1))
    assert losses[-1][1] < losses[0][1]
    assert program.run(ATTEMPT="2") == (0, "")
    assert program.losses == losses


def test_it_goes_on_after_sigterm(program: Program) -> None:
    """Stopped in between, it repeats no epoch and leaves none out."""
    epochs = 200
    metrics = program.output / "metrics.jsonl"
    with program.start(EPOCH=str(epochs)) as process:
        eventually(lambda: metrics.exists() and metrics.read_bytes())
        process.terminate()
        process.communicate()
    assert process.returncode in (128 + signal.SIGTERM, -signal.SIGTERM)
    stopped_after = len(metrics.read_text().splitlines())
    assert stopped_after < epochs
    assert program.run(EPOCH=str(epochs)) == (0, "")
    assert [epoch for epoch, _ in program.losses] == list(range(1, epochs + 1))


def test_without_data_it_is_not_started_again(program: Program) -> None:
    code, errors = program.run(DATASET="missing.csv")
    assert code == EXIT_UNUSABLE
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
