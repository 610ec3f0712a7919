"""Starts the trainer, in this process or in one of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np

HOUSE = Path(__file__).resolve().parents[3]
MODEL = HOUSE / "models" / "autoencoder"
DIGITS = HOUSE / "input" / "digits.npz"
sys.path.insert(0, str(MODEL))

from train import Stop, main  # noqa: E402


class Trainer:
    """The trainer with an input folder and a run's folder of its own."""

    def __init__(self, root: Path):
        self.input = root / "input"
        self.output = root / "output"
        self.input.mkdir()
        self.environment = {
            "EXPERIMENT_ID": "first",
            "ATTEMPT": "1",
            "INPUT_DIR": str(self.input),
            "OUTPUT_DIR": str(self.output),
            "LEARNING_RATE": "0.001",
            "EPOCH": "3",
        }

    def run(self, **changes: str) -> int:
        """Run it in this process."""
        return main(self.environment | changes, Stop())

    def start(
        self, *options: str, stdout: int | IO[str] = subprocess.PIPE, **changes: str
    ) -> "subprocess.Popen[str]":
        """Start it as a process of its own, with its output readable line by line."""
        return subprocess.Popen(
            [sys.executable, *options, str(MODEL / "train.py")],
            env=os.environ | self.environment | changes,
            cwd="/",
            text=True,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )

    def save(self, name: str, array: Any) -> None:
        """Put an array into the input folder as .npy."""
        np.save(self.input / name, np.asarray(array))

    def metrics(self) -> list[dict[str, float]]:
        """Read metrics.jsonl, of which every line has to be whole."""
        content = (self.output / "metrics.jsonl").read_text()
        assert content.endswith("\n")
        return [json.loads(line) for line in content.splitlines()]

    def curve(self) -> list[tuple[float, float, float]]:
        """Return what has to be the same each time, to the last bit."""
        return [(row["epoch"], row["loss"], row["val_loss"]) for row in self.metrics()]

    def summary(self) -> dict[str, Any]:
        """Read summary.json."""
        summary: dict[str, Any] = json.loads((self.output / "summary.json").read_text())
        return summary

    def files(self) -> dict[str, bytes]:
        """Read every file of the run's folder, apart from the lock."""
        paths = [path for path in self.output.iterdir() if path.name != ".lock"]
        return {path.name: path.read_bytes() for path in paths}


def wait_for_line(process: "subprocess.Popen[str]", begin: str) -> str:
    """Read the process's output up to the line that begins so."""
    assert process.stdout
    for line in process.stdout:
        if line.startswith(begin):
            return line
    raise AssertionError(f"no line begins with {begin!r}: {process.communicate()}")
