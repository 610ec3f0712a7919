"""Measures an epoch of the autoencoder's trainer against other ways to train the same network.

    python -m bench.training.trainer

The contenders take turns, each in a process of its own, because the number of threads and the
treatment of denormal numbers are settings of a process. All of them compute the validation loss of
each epoch.

trainer            the trainer itself, with metrics, checkpoints and signals
dataloader         a plain loop over DataLoader(TensorDataset), everything at its default
dataloader, fused  the same with the fused Adam
tensors            the shortest loop over tensors, without metrics, checkpoints and signals, with
                   the trainer's settings
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, redirect_stdout, suppress
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from bench.figures import Growth, Row
from bench.training import models

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"
sys.path[:0] = [str(MODELS), str(MODELS / "autoencoder")]

from autoencoder_parameters import AutoencoderParameters  # noqa: E402
from autoencoder_training import Autoencoder, AutoencoderTraining  # noqa: E402
from common.dataset import Dataset, read_dataset  # noqa: E402
from common.output_folder import OutputFolder  # noqa: E402
from common.settings import Settings  # noqa: E402

LEARNING_RATE = 0.001
MANY_ROWS = 60_000
GROWTH_ROWS = (1_000, 10_000, MANY_ROWS)
# Samples that each contender trains on in a round: enough to be timed reliably.
SAMPLES, QUICK_SAMPLES = 120_000, 10_000
MEGABYTE = 1_000_000


def digits() -> Dataset:
    """Return the data set that comes with the repository."""
    return read_dataset(ROOT / "input", "digits.npz")


def synthetic(samples: int) -> Dataset:
    """Return images of 28 x 28 pixels with 16 latent factors, half of their pixels dark."""
    random = np.random.default_rng(0)
    factors, pixels = random.normal(size=(samples, 16)), random.normal(size=(16, 784))
    rows = np.clip(factors.astype(np.float32) @ pixels.astype(np.float32) * 32, 0, 255).round()
    return Dataset(rows, (28, 28), {"synthetic": len(rows)}, {"synthetic": ""})


def trainer(training: AutoencoderTraining) -> None:
    """Train as train.py does."""
    with Path(os.devnull).open("w") as devnull, redirect_stdout(devnull):
        training.run(lambda: False)


def tensors(training: AutoencoderTraining) -> None:
    """Train in the shortest loop over tensors."""
    rows, network = training.training_rows, training.network
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
    for _ in range(training.settings.epochs):
        for batch in torch.split(torch.randperm(len(rows)), training.batch_size):
            inputs = rows[batch]
            loss = mse_loss(network(inputs), inputs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            mse_loss(network(training.validation_rows), training.validation_rows).item()


def dataloader(training: AutoencoderTraining) -> None:
    """Train with a DataLoader."""
    _dataloader(training, torch.optim.Adam(training.network.parameters(), lr=LEARNING_RATE))


def dataloader_fused(training: AutoencoderTraining) -> None:
    """Train with a DataLoader and the fused Adam."""
    parameters = training.network.parameters()
    _dataloader(training, torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True))


def _dataloader(training: AutoencoderTraining, optimizer: torch.optim.Adam) -> None:
    def loader(rows: Tensor, *, shuffle: bool) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(rows), batch_size=training.batch_size, shuffle=shuffle)

    def loss_of(network: Autoencoder, rows: Tensor) -> Tensor:
        return mse_loss(network(rows), rows)

    network = training.network
    training_loader = loader(training.training_rows, shuffle=True)
    validation_loader = loader(training.validation_rows, shuffle=False)
    for _ in range(training.settings.epochs):
        total = 0.0
        for (rows,) in training_loader:
            optimizer.zero_grad()
            loss = loss_of(network, rows)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        with torch.no_grad():
            total = sum(loss_of(network, rows).item() * len(rows) for (rows,) in validation_loader)


CONTENDERS: dict[str, Callable[[AutoencoderTraining], None]] = {
    "trainer": trainer,
    "dataloader": dataloader,
    "dataloader, fused": dataloader_fused,
    "tensors": tensors,
}
PYTORCH_DEFAULTS = {"dataloader", "dataloader, fused"}
"""The contenders that keep PyTorch's default threads and treatment of denormal numbers."""


class Contender:
    """State of a contender's process: the data set, which is loaded once."""

    dataset: Dataset
    default_threads: int

    @classmethod
    def prepare(cls, samples: int | None) -> None:
        """Load the synthetic data set of so many samples, or the digits if None."""
        cls.dataset = synthetic(samples) if samples else digits()
        cls.default_threads = torch.get_num_threads()

    @classmethod
    def epoch_seconds(cls, name: str, samples: int) -> float:
        """Train a new network on about so many samples and return the seconds per epoch."""
        epochs = max(1, min(100, samples // len(cls.dataset.rows)))
        with tempfile.TemporaryDirectory() as folder:
            parameters = AutoencoderParameters()
            settings = Settings(Path(), Path(folder), LEARNING_RATE, epochs, parameters)
            dataset = replace(cls.dataset, rows=cls.dataset.rows.copy())
            training = AutoencoderTraining(settings, dataset, OutputFolder(settings.output_dir))
            if name in PYTORCH_DEFAULTS:
                torch.set_flush_denormal(False)
                torch.set_num_threads(cls.default_threads)
            started = time.perf_counter()
            CONTENDERS[name](training)
            return (time.perf_counter() - started) / epochs


def measure(
    samples: int | None,
    rounds: int,
    names: tuple[str, ...] = tuple(CONTENDERS),
    samples_per_round: int = SAMPLES,
) -> dict[str, list[float]]:
    """Return the seconds per epoch of each contender and round, after one round to warm up.

    The data set is `samples` rows of 784 numbers, or the digits if None. In a round, each contender
    trains on about `samples_per_round` samples.
    """
    seconds: dict[str, list[float]] = {name: [] for name in names}
    context = get_context("forkserver")  # imports PyTorch once instead of in each process
    context.set_forkserver_preload([__name__, "torch._dynamo"])  # for the others' Adam
    with ExitStack() as stack:
        processes = {name: stack.enter_context(ProcessPoolExecutor(1, context)) for name in names}
        for process in processes.values():
            process.submit(Contender.prepare, samples).result()
        for number in range(rounds + 1):
            for name, process in processes.items():
                epoch = process.submit(Contender.epoch_seconds, name, samples_per_round).result()
                if number:
                    seconds[name].append(epoch)
    return seconds


def peak_megabytes(samples: int) -> float:
    """Return the peak memory of train.py, in MB, on so many samples of 784 float32 numbers.

    Raises:
        RuntimeError: The trainer failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "input.npy"), synthetic(samples).rows)
        settings = {"INPUT_DIR": folder, "LEARNING_RATE": str(LEARNING_RATE), "EPOCH": "1"}
        command = [sys.executable, str(MODELS / "autoencoder" / "train.py")]
        environment = os.environ | settings | {"OUTPUT_DIR": f"{folder}/output"}
        peak = 0
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
            status = Path(f"/proc/{process.pid}/status")
            while process.poll() is None:
                with suppress(StopIteration):  # a process that has just exited has no VmHWM
                    lines = iter(status.read_text().splitlines())
                    peak = int(next(line for line in lines if "VmHWM" in line).split()[1])
                time.sleep(0.01)
        if process.returncode:
            raise RuntimeError(f"the trainer exited with code {process.returncode}")
    return peak * 1024 / MEGABYTE


def rows(quick: bool) -> Iterator[Row]:
    """Measure and yield one line of the table after the other."""
    many = MANY_ROWS // 12 if quick else MANY_ROWS
    for samples, data in ((None, "digits"), (many, f"{many:,} x 784")):
        rounds, samples_per_round = (1, QUICK_SAMPLES) if quick else (5, SAMPLES)
        seconds = measure(samples, rounds, samples_per_round=samples_per_round)
        trainer_seconds = seconds["trainer"]
        for name, goal in (("dataloader", 1.5), ("dataloader, fused", None), ("tensors", 0.95)):
            ratio = median(
                contender / ours
                for contender, ours in zip(seconds[name], trainer_seconds, strict=True)
            )
            yield Row(
                f"an epoch of the trainer, {data}",
                f"{1000 * median(trainer_seconds):.1f} ms",
                f"{1000 * median(seconds[name]):.1f} ms by `{name}`",
                round(ratio, 2),
                f">= {goal}" if goal else "",
                ratio >= goal if goal else None,
            )
    peak = peak_megabytes(many)
    limit = 1024**3 / MEGABYTE
    yield Row(
        f"peak memory of the trainer, {many:,} x 784",
        f"{peak:.0f} MB",
        f"{limit:.0f} MB, JOB_MEMORY",
        round(peak / limit, 2),
    )
    yield from models.rows(quick)


def growths() -> Iterator[Growth]:
    """Measure how the time of an epoch grows with the number of samples."""
    names = ("trainer", "dataloader", "tensors")
    points: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for samples in GROWTH_ROWS:
        for name, seconds in measure(samples, 1, names).items():
            points[name].append((samples, median(seconds)))
    yield Growth(
        "trainer",
        "An epoch of the trainer",
        "samples of 784 numbers",
        "seconds per epoch",
        points,
    )


if __name__ == "__main__":
    for row in rows(quick=False):
        print(row, flush=True)
