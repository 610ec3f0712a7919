"""Measures the models besides the autoencoder: an epoch against a DataLoader loop, and a start.

    python -m bench.training.models

The contenders take turns, each in a process of its own, because the number of threads and the
treatment of denormal numbers are settings of a process. `dataloader` is the plain loop that
bench/training/trainer.py describes, with the network, the batches, the loss and the metrics of the
trainer.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from bench.figures import Row

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"
NAMES = ("autoencoder", "classifier", "conv-autoencoder")
sys.path[:0] = [str(MODELS), *(str(MODELS / name) for name in NAMES)]

from classes import find_classes  # noqa: E402
from classifier_parameters import ClassifierParameters  # noqa: E402
from classifier_training import ClassifierTraining  # noqa: E402
from common.dataset import read_dataset  # noqa: E402
from common.output_folder import OutputFolder  # noqa: E402
from common.settings import Settings  # noqa: E402
from common.training import Training  # noqa: E402
from conv_parameters import ConvParameters  # noqa: E402
from conv_training import ConvTraining  # noqa: E402

LEARNING_RATE = 0.001
EPOCHS, QUICK_EPOCHS = 20, 2
START_EPOCHS = 20
CPU_GOAL = 2.0  # seconds
Batch = tuple[Tensor, ...]


def classifier(folder: Path, epochs: int) -> ClassifierTraining:
    """Return the training of the classifier on the digits."""
    dataset = read_dataset(ROOT / "input", "digits.npz", target="")
    settings = Settings(Path(), folder, LEARNING_RATE, epochs, ClassifierParameters())
    return ClassifierTraining(settings, dataset, OutputFolder(folder), find_classes(dataset))


def conv_autoencoder(folder: Path, epochs: int) -> ConvTraining:
    """Return the training of the convolutional autoencoder on the digits."""
    dataset = read_dataset(ROOT / "input", "digits.npz")
    settings = Settings(Path(), folder, LEARNING_RATE, epochs, ConvParameters())
    return ConvTraining(settings, dataset, OutputFolder(folder))


TRAININGS: dict[str, Callable[[Path, int], Training[Any, Any]]] = {
    "classifier": classifier,
    "conv-autoencoder": conv_autoencoder,
}


def dataloader(training: Training[Any, Any]) -> None:
    """Train with a DataLoader over the numbers of the samples, with everything at its default."""
    training.network.to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.Adam(training.network.parameters(), lr=LEARNING_RATE)
    samples = TensorDataset(training.training_rows, torch.arange(len(training.training_rows)))
    loader = DataLoader(samples, batch_size=training.batch_size, shuffle=True)
    for _ in range(training.settings.epochs):
        total = 0.0
        training.network.train()
        for _rows, batch in loader:
            optimizer.zero_grad()
            loss = training.batch_loss(batch)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        training.network.eval()
        with torch.no_grad():
            training.validation_metrics()


def epoch_seconds(model: str, contender: str, epochs: int) -> float:
    """Train a new network and return the seconds per epoch."""
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        training = TRAININGS[model](Path(folder), epochs)
        chosen = torch.get_num_threads()
        if contender == "dataloader":
            torch.set_flush_denormal(False)
            torch.set_num_threads(threads)
        started = time.perf_counter()
        if contender == "dataloader":
            dataloader(training)
        else:
            with Path(os.devnull).open("w") as devnull, redirect_stdout(devnull):
                training.run(lambda: False)
        seconds = time.perf_counter() - started
        torch.set_num_threads(max(threads, chosen))
    return seconds / epochs


def epochs(quick: bool) -> Iterator[Row]:
    """Measure an epoch of each model."""
    rounds, count = (1, QUICK_EPOCHS) if quick else (5, EPOCHS)
    context = get_context("forkserver")
    for model in TRAININGS:
        seconds: dict[str, list[float]] = {"trainer": [], "dataloader": []}
        with ExitStack() as stack:
            pools = {name: stack.enter_context(ProcessPoolExecutor(1, context)) for name in seconds}
            for number in range(rounds + 1):  # the first round warms up
                for name, pool in pools.items():
                    taken = pool.submit(epoch_seconds, model, name, count).result()
                    if number:
                        seconds[name].append(taken)
        pairs = zip(seconds["dataloader"], seconds["trainer"], strict=True)
        ratio = median(theirs / ours for theirs, ours in pairs)
        yield Row(
            f"an epoch of `{model}`, digits",
            f"{1000 * median(seconds['trainer']):.1f} ms",
            f"{1000 * median(seconds['dataloader']):.1f} ms by `dataloader`",
            round(ratio, 2),
            ">= 1.5",
            ratio >= 1.5,
        )


def processor_seconds(model: str, count: int) -> float:
    """Return the processor time of train.py on the digits, for so many epochs.

    Raises:
        RuntimeError: The trainer failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = {"INPUT_DIR": str(ROOT / "input"), "DATASET": "digits.npz", "OUTPUT_DIR": folder}
        settings |= {"LEARNING_RATE": str(LEARNING_RATE), "EPOCH": str(count)}
        command = [sys.executable, str(MODELS / model / "train.py")]
        process = subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the trainer exited with code {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def starts(quick: bool) -> Iterator[Row]:
    """Measure the processor time of a short experiment that is not training.

    That of 20 more epochs is what 20 epochs of training take.
    """
    for model in NAMES:
        outside = []
        for _ in range(1 if quick else 5):
            short = processor_seconds(model, START_EPOCHS)
            outside.append(2 * short - processor_seconds(model, 2 * START_EPOCHS))
        seconds = median(outside)
        yield Row(
            f"processor time of `{model}` outside its training, digits, {START_EPOCHS} epochs",
            f"{seconds:.2f} s",
            goal=f"<= {CPU_GOAL} s",
            met=seconds <= CPU_GOAL,
        )


def rows(quick: bool) -> Iterator[Row]:
    """Measure and yield one line of the table after the other."""
    yield from epochs(quick)
    yield from starts(quick)


if __name__ == "__main__":
    for row in rows(quick=False):
        print(row, flush=True)
