"""Starts a trainer, either in this process or as a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import numpy as np
import torch

from common.dataset import read_dataset
from common.output_folder import OutputFolder
from common.settings import Parameters, read_settings
from common.trainer import SignalHandler, main
from common.training import Training

ROOT = Path(__file__).resolve().parents[3]
MODELS = ROOT / "models"
NAMES = ("autoencoder", "classifier", "conv-autoencoder")
DIGITS = ROOT / "input" / "digits.npz"
CHANGED = 66  # the exit code if a file has changed or is gone


@cache
def entry_point(model: str) -> ModuleType:
    """Return the module `train.py` of a model; all models have one of this name."""
    path = MODELS / model / "train.py"
    spec = spec_from_file_location(f"{model}.train", path)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parameters_of(model: str) -> type[Parameters]:
    """Return the class of a model's parameters."""
    module = entry_point(model)
    (found,) = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Parameters)
    ]
    return found


@contextmanager
def restored_torch_settings() -> Iterator[None]:
    """Undo what a training sets for its whole process, in which other tests run, too."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)


class Trainer:
    """A model's trainer with an input folder and an output folder of its own."""

    def __init__(self, root: Path, model: str = "autoencoder"):
        self.model = model
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
        """Run the trainer in this process and return its exit code."""
        return self.main(SignalHandler(), **changes)

    def main(self, signals: SignalHandler, **changes: str) -> int:
        """Run the trainer in this process with these signals, and return its exit code."""
        module = entry_point(self.model)
        parameters = parameters_of(self.model)
        with restored_torch_settings():
            return main(parameters, module.training, self.environment | changes, signals)

    def start(
        self, *options: str, stdout: int | IO[str] = subprocess.PIPE, **changes: str
    ) -> "subprocess.Popen[str]":
        """Start the trainer as a process; `options` are those of the Python interpreter."""
        return subprocess.Popen(
            [sys.executable, *options, str(MODELS / self.model / "train.py")],
            env=os.environ | self.environment | changes,
            cwd="/",
            text=True,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )

    def training(self, **changes: str) -> Training[Any, Any]:
        """Return the training that the trainer would run, to be run step by step."""
        settings = read_settings(self.environment | changes, parameters_of(self.model))
        settings.output_dir.mkdir(exist_ok=True)
        target = settings.own.label_column
        dataset = read_dataset(settings.input_dir, settings.dataset, target=target)
        training = entry_point(self.model).training
        made: Training[Any, Any] = training(settings, dataset, OutputFolder(settings.output_dir))
        return made

    def save(self, name: str, array: Any) -> None:
        """Write an array to the input folder as .npy."""
        np.save(self.input / name, np.asarray(array))

    def metrics(self) -> list[dict[str, float]]:
        """Read metrics.jsonl, all lines of which must be complete."""
        return read_metrics(self.output / "metrics.jsonl")

    def curve(self) -> list[tuple[float, float, float]]:
        """Return epochs and losses, which do not vary between trainings, unlike the seconds."""
        return curve(self.metrics())

    def summary(self) -> dict[str, Any]:
        """Read summary.json."""
        summary: dict[str, Any] = json.loads((self.output / "summary.json").read_text())
        return summary

    def files(self) -> dict[str, bytes]:
        """Return the content of each file in the output folder except for the lock."""
        paths = [path for path in self.output.iterdir() if path.name != ".lock"]
        return {path.name: path.read_bytes() for path in paths}


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read a file of metrics, all lines of which must be complete."""
    content = path.read_text()
    assert content.endswith("\n")
    return [json.loads(line) for line in content.splitlines()]


def curve(metrics: list[dict[str, float]]) -> list[tuple[float, float, float]]:
    """Return epoch, loss and validation loss of each line of metrics."""
    return [(row["epoch"], row["loss"], row["val_loss"]) for row in metrics]


def wait_for_line(process: "subprocess.Popen[str]", prefix: str) -> str:
    """Read the output of a process up to the first line with this prefix and return that line."""
    assert process.stdout
    for line in process.stdout:
        if line.startswith(prefix):
            return line
    raise AssertionError(f"no line begins with {prefix!r}: {process.communicate()}")
