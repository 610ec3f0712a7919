"""Measures an epoch of the autoencoder's trainer against other ways to train the same network.

    python bench/trainer.py [--json] [--rounds N]

The contenders take turns, each in a process of its own, because threads and the treatment of
denormal numbers are settings of a process. All of them compute the validation loss of each epoch.

trainer            ours, with metrics, checkpoints and signals
dataloader         a plain loop over DataLoader(TensorDataset), everything at its default
dataloader, fused  the same with the fused Adam
tensors            the shortest loop over tensors, without metrics, checkpoints and signals, at the
                   trainer's settings
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, redirect_stdout
from multiprocessing import get_context
from os import devnull
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

HOUSE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HOUSE / "models" / "autoencoder"))

from dataset import Dataset, read_dataset  # noqa: E402
from network import Autoencoder  # noqa: E402
from run import RunFolder, Settings  # noqa: E402
from training import Training  # noqa: E402

LEARNING_RATE = 0.001
EPOCHS = {"digits": 100, "60000 x 784": 3}


def digits() -> Dataset:
    """Return the data set of the repository."""
    return read_dataset(HOUSE / "input", "digits.npz")


def synthetic() -> Dataset:
    """Return 60,000 images of 28 x 28 with 16 hidden causes, half of their pixels dark."""
    random = np.random.default_rng(0)
    causes, pixels = random.normal(size=(60_000, 16)), random.normal(size=(16, 784))
    rows = np.clip(causes.astype(np.float32) @ pixels.astype(np.float32) * 32, 0, 255).round()
    return Dataset(rows, (28, 28), {"synthetic": len(rows)}, {"synthetic": ""})


DATASETS: dict[str, Callable[[], Dataset]] = {"digits": digits, "60000 x 784": synthetic}


def trainer(training: Training) -> None:
    """Train as train.py does."""
    with Path(devnull).open("w") as nowhere, redirect_stdout(nowhere):
        training.run(lambda: False)


def tensors(training: Training) -> None:
    """Train with nothing but the training."""
    rows, network = training.training, training.network
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
    for _ in range(training.settings.epochs):
        for batch in torch.split(torch.randperm(len(rows)), training.batch_size):
            inputs = rows[batch]
            loss = mse_loss(network(inputs), inputs)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        with torch.no_grad():
            mse_loss(network(training.validation), training.validation).item()


def dataloader(training: Training) -> None:
    """Train with a DataLoader."""
    _dataloader(training, torch.optim.Adam(training.network.parameters(), lr=LEARNING_RATE))


def dataloader_fused(training: Training) -> None:
    """Train with a DataLoader and the fused Adam."""
    parameters = training.network.parameters()
    _dataloader(training, torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True))


def _dataloader(training: Training, optimizer: torch.optim.Adam) -> None:
    def loader(rows: Tensor, *, shuffle: bool) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(rows), batch_size=training.batch_size, shuffle=shuffle)

    def loss_of(network: Autoencoder, rows: Tensor) -> Tensor:
        return mse_loss(network(rows), rows)

    network = training.network
    training_loader = loader(training.training, shuffle=True)
    validation_loader = loader(training.validation, shuffle=False)
    for _ in range(training.settings.epochs):
        total = 0.0
        for (rows,) in training_loader:
            optimizer.zero_grad()
            loss = loss_of(network, rows)
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.item() * len(rows)
        with torch.no_grad():
            total = sum(loss_of(network, rows).item() * len(rows) for (rows,) in validation_loader)


CONTENDERS: dict[str, Callable[[Training], None]] = {
    "trainer": trainer,
    "dataloader": dataloader,
    "dataloader, fused": dataloader_fused,
    "tensors": tensors,
}
AT_DEFAULTS = {"dataloader", "dataloader, fused"}


class Contender:
    """One way to train and one data set, kept ready in a process of its own."""

    dataset: Dataset
    default_threads: int

    @classmethod
    def prepare(cls, dataset: str) -> None:
        """Load the data (the first call in a process)."""
        cls.dataset = DATASETS[dataset]()
        cls.default_threads = torch.get_num_threads()

    @classmethod
    def epoch_seconds(cls, name: str, dataset: str) -> float:
        """Train a fresh network and return what an epoch took."""
        epochs = EPOCHS[dataset]
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(Path(), Path(folder), LEARNING_RATE, epochs)
            training = Training(settings, cls.dataset, RunFolder(settings.output_dir))
            if name in AT_DEFAULTS:
                torch.set_flush_denormal(False)
                torch.set_num_threads(cls.default_threads)
            started = time.perf_counter()
            CONTENDERS[name](training)
            return (time.perf_counter() - started) / epochs


def measure(dataset: str, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of an epoch for each contender and round, after a round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(ProcessPoolExecutor(1, get_context("spawn")))
            for name in CONTENDERS
        }
        for process in processes.values():
            process.submit(Contender.prepare, dataset).result()
        for number in range(rounds + 1):
            for name, process in processes.items():
                taken = process.submit(Contender.epoch_seconds, name, dataset).result()
                if number:
                    seconds[name].append(taken)
    return seconds


def main() -> None:
    """Print the medians, and how many times faster the trainer is than each other contender."""
    parser = argparse.ArgumentParser(description="Compare the speed of an epoch.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    report = {}
    for dataset in DATASETS:
        seconds = measure(dataset, arguments.rounds)
        report[dataset] = {
            name: {
                "epoch_ms": round(1000 * median(taken), 2),
                "trainer_is_faster_by": round(
                    median(
                        other / ours for other, ours in zip(taken, seconds["trainer"], strict=True)
                    ),
                    3,
                ),
            }
            for name, taken in seconds.items()
        }
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    print(f"{'data':<12} {'contender':<18} {'epoch, ms':>10} {'trainer is faster by':>21}")
    for dataset, contenders in report.items():
        for name, figures in contenders.items():
            print(
                f"{dataset:<12} {name:<18} {figures['epoch_ms']:>10.1f} "
                f"{figures['trainer_is_faster_by']:>20.2f}x"
            )


if __name__ == "__main__":
    main()
