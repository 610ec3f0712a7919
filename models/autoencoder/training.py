"""The training loop: from the samples of a data set to a trained network."""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

import checkpoint
from checkpoint import Progress
from dataset import Dataset, permutation
from exceptions import UnusableError
from network import Autoencoder, architecture, reconstruction_errors
from output_folder import MetricsFile, OutputFolder
from settings import Settings

SMALL_BATCH = 64
LARGE_BATCH = 256  # makes better use of a CPU
MANY_SAMPLES = 10_000  # with fewer, large batches would leave too few steps per epoch
SMALL_NETWORK = 100_000  # parameters; below this, more threads cost more than they save
PROGRESS_LINES = 100


class Training:
    """The network, the optimizer and the samples of one experiment.

    A training resumes from the checkpoint in the folder, if there is one, and then computes the
    same losses as one that was never interrupted: the order of the samples depends on seed and
    epoch alone. It overwrites the rows of the data set, because a large one fits into memory only
    once.

    Raises:
        UnusableError: The checkpoint belongs to other parameters or other input.
    """

    def __init__(self, settings: Settings, dataset: Dataset, folder: OutputFolder):
        self.settings = settings
        self.dataset = dataset
        self.folder = folder
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.architecture = architecture(dataset.rows.shape[1])

        torch.manual_seed(settings.seed)
        # Adam's moving averages decay to denormal numbers, which a CPU computes many times slower.
        torch.set_flush_denormal(True)
        self.network = Autoencoder(**self.architecture)
        size = sum(weights.numel() for weights in self.network.parameters())
        torch.set_num_threads(1 if size < SMALL_NETWORK else usable_cpus())

        self.training_indices, self.validation_indices = dataset.split_indices(settings.seed)
        parts = dataset.split_rows(self.training_indices, self.validation_indices)
        training_rows, validation_rows = map(torch.from_numpy, parts)
        self.batch_size = LARGE_BATCH if len(training_rows) >= MANY_SAMPLES else SMALL_BATCH
        offset = torch.from_numpy(dataset.offset)
        self.network.fit_normalisation(training_rows, offset, per_column=dataset.per_column)
        self.network.to(self.device)
        offset = offset.to(self.device)
        self.training_rows = self.network.normalise_(training_rows.to(self.device), offset)
        self.validation_rows = self.network.normalise_(validation_rows.to(self.device), offset)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=settings.learning_rate, fused=True
        )
        self.progress = self._restore_checkpoint() or Progress()
        self._next_checkpoint = time.monotonic() + settings.checkpoint_seconds

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint and the training that resumes from it must have in common."""
        return (
            self.settings.parameters
            | {"batch_size": self.batch_size}
            | self.architecture
            | {checkpoint.DIGEST_OF + name: digest for name, digest in self.dataset.sha256.items()}
        )

    def run(self, should_stop: Callable[[], bool]) -> bool:
        """Train until the last epoch has finished, or until `should_stop` returns True.

        Returns:
            Whether the last epoch has finished. There is a checkpoint in either case.

        Raises:
            UnusableError: A loss is NaN or infinite.
        """
        with MetricsFile(self.folder, self.progress.metrics_size) as metrics_file:
            while self.progress.epoch < self.settings.epochs:
                if not self._train_epoch(metrics_file, should_stop):
                    return False
            self._save_checkpoint(metrics_file)
        return True

    def train_batch(self, rows: Tensor) -> Tensor:
        """Take one step of the optimizer and return the loss before it.

        `rows` are normalised and have the shape (samples, width).
        """
        self.optimizer.zero_grad()
        loss = mse_loss(self.network(rows), rows)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _train_epoch(self, metrics_file: MetricsFile, should_stop: Callable[[], bool]) -> bool:
        """Train the rest of the current epoch; return whether it has finished."""
        progress = self.progress
        started = time.monotonic() - progress.epoch_seconds
        order = permutation(len(self.training_rows), self.settings.seed, progress.epoch + 1)
        batches = torch.split(torch.from_numpy(order).to(self.device), self.batch_size)
        for batch in batches[len(progress.batch_losses) :]:
            # Copies whole rows, which is several times faster than `training_rows[batch]`.
            rows = self.training_rows.index_select(0, batch)
            progress.batch_losses.append(self.train_batch(rows))
            if should_stop() or time.monotonic() >= self._next_checkpoint:
                progress.epoch_seconds = time.monotonic() - started
                self._save_checkpoint(metrics_file)
                if should_stop():
                    return False
        metrics = self._epoch_metrics([len(batch) for batch in batches])
        metrics["seconds"] = round(time.monotonic() - started, 6)
        metrics_file.append(metrics)
        progress.finish_epoch(metrics)
        self._print(metrics)
        return True

    def _epoch_metrics(self, batch_lengths: list[int]) -> dict[str, float]:
        """Return number, loss and validation loss of the epoch whose last batch has finished."""
        epoch = self.progress.epoch + 1
        losses = torch.stack(self.progress.batch_losses).cpu()
        loss = (losses * torch.tensor(batch_lengths)).sum().item() / sum(batch_lengths)
        val_loss = reconstruction_errors(self.network, self.validation_rows).mean().item()
        if not (math.isfinite(loss) and math.isfinite(val_loss)):
            raise UnusableError(
                f"loss {loss} and val_loss {val_loss} in epoch {epoch}: use a lower learning rate "
                f"than {self.settings.learning_rate}, or look for extreme values in the data"
            )
        return {"epoch": epoch, "loss": loss, "val_loss": val_loss}

    def _print(self, metrics: dict[str, float]) -> None:
        epochs = self.settings.epochs
        interval = math.ceil(epochs / PROGRESS_LINES)
        if metrics["epoch"] in (1, epochs) or metrics["epoch"] % interval == 0:
            print(
                "epoch {epoch}/{epochs}  loss {loss:.6g}  val_loss {val_loss:.6g}  "
                "{seconds:.3g} s".format(epochs=epochs, **metrics),
                flush=True,
            )

    def _save_checkpoint(self, metrics_file: MetricsFile) -> None:
        # The metrics first: a checkpoint must never refer to more of them than are on disk.
        self.progress.metrics_size = metrics_file.sync()
        checkpoint.save(self.folder, self.identity, self.progress, self.network, self.optimizer)
        self._next_checkpoint = time.monotonic() + self.settings.checkpoint_seconds

    def _restore_checkpoint(self) -> Progress | None:
        progress = checkpoint.restore(
            self.folder, self.identity, self.network, self.optimizer, self.device
        )
        if progress:
            print(f"resuming after epoch {progress.epoch}", flush=True)
        return progress


def usable_cpus() -> int:
    """Return how many CPUs this process may use, which in a container is not all of them."""
    affinity = getattr(os, "sched_getaffinity", None)  # missing on macOS
    cpus: int = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return min(cpus, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # there are no control groups, or the quota is "max"
        return cpus
