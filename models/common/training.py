"""The training loop: from the samples of a data set to a trained network."""

import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from common import checkpoint
from common.adam import Adam
from common.checkpoint import Progress
from common.dataset import Dataset, permutation
from common.distributed.gang import join
from common.exceptions import UnusableError
from common.network import NormalisingNetwork
from common.output_folder import CHECKPOINT, MetricsFile, OutputFolder
from common.settings import P, Settings

SMALL_BATCH = 64
LARGE_BATCH = 256  # makes better use of a CPU
MANY_SAMPLES = 10_000  # with fewer, large batches would leave too few steps per epoch
LITTLE_WORK = 100_000  # multiplications per sample; below, more threads cost more than they save
PROGRESS_LINES = 100

N = TypeVar("N", bound=NormalisingNetwork)


class Training(ABC, Generic[P, N]):
    """The network, the optimizer and the samples of one experiment.

    A training resumes from the checkpoint in the folder, if there is one, and then computes the
    same losses as one that was never interrupted: the order of the samples, and all that is drawn
    at random, depend on seed, epoch and batch alone. It overwrites the rows of the data set,
    because a large one fits into memory only once.

    A model derives a class from it, which computes losses and metrics and makes the results.

    Attributes:
        training_rows: The normalised training samples, shape (samples, width).
        validation_rows: The normalised validation samples, shape (samples, width).
        training_indices: The number of each training sample in the data set.
        validation_indices: The number of each validation sample in the data set.

    Raises:
        UnusableError: The checkpoint belongs to other parameters or other input.
    """

    objective = "val_loss"
    """The metric by which the best epoch is chosen, as in model.yaml."""
    maximize = False
    """Whether a higher value of the objective is better."""
    random_batches = False
    """Whether `batch_loss` draws random numbers."""
    mixed_precision = False
    """Whether the network computes in bfloat16 where PyTorch considers that safe."""
    distributed = False
    """Whether several workers can train it (`batch_loss`)."""

    def __init__(
        self,
        settings: Settings[P],
        dataset: Dataset,
        folder: OutputFolder,
        network: Callable[..., N],
        architecture: Mapping[str, Any],
    ):
        """Prepare samples and network, and resume from the checkpoint if there is one.

        Args:
            settings: The settings of the attempt.
            dataset: The samples, whose rows are unusable afterwards.
            folder: The output folder.
            network: The class of the network.
            architecture: Its arguments, which are stored with the network.
        """
        if settings.nodes > 1 and not self.distributed:
            raise UnusableError("this model trains on one node: remove `nodes` from its entry")
        self.gang = join(settings)
        self.settings = settings
        self.dataset = dataset
        self.folder = folder
        self.architecture = dict(architecture)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

        torch.manual_seed(settings.own.seed)
        # Adam's moving averages decay to denormal numbers, which a CPU computes many times slower.
        torch.set_flush_denormal(True)
        self.network: N = network(**architecture)
        cpus = max(1, usable_cpus() // self.gang.here)
        torch.set_num_threads(1 if self.work() < LITTLE_WORK else cpus)

        self.training_indices, self.validation_indices = dataset.split_indices(
            settings.own.seed, settings.own.validation_share
        )
        parts = dataset.split_rows(self.training_indices, self.validation_indices)
        training_rows, validation_rows = map(torch.from_numpy, parts)
        self.batch_size = settings.own.batch_size or (
            LARGE_BATCH if len(training_rows) >= MANY_SAMPLES else SMALL_BATCH
        )
        offset = torch.from_numpy(dataset.offset)
        self.network.fit_normalisation(training_rows, offset, per_column=dataset.per_column)
        self.network.to(self.device)
        offset = offset.to(self.device)
        self.training_rows = self.network.normalise_(training_rows.to(self.device), offset)
        self.validation_rows = self.network.normalise_(validation_rows.to(self.device), offset)
        self.optimizer = Adam(self.network.parameters(), settings.learning_rate)
        self.progress = self._restore_checkpoint() or Progress()
        self.parallel = self.gang.parallel(self.network)
        self._next_checkpoint = time.monotonic() + settings.checkpoint_seconds

    @abstractmethod
    def batch_loss(self, batch: Tensor) -> Tensor:
        """Return the mean loss of the training samples with the numbers `batch`, a scalar.

        A `distributed` training returns the part of it that its share of the batch makes up, so
        that the sum over all workers is the mean, computed with `self.parallel`.
        """

    @abstractmethod
    def validation_metrics(self) -> dict[str, float]:
        """Return `val_loss` and any other metrics on the validation samples."""

    @abstractmethod
    def results(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the content of each file that the model leaves at the end."""

    def summary_fields(self) -> dict[str, Any]:
        """Return what the model adds to summary.json."""
        return {}

    def work(self) -> int:
        """Return about how many multiplications the network needs for a sample."""
        return sum(weights.numel() for weights in self.network.parameters())

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
        with self.folder.metrics_file(self.progress.metrics_size) as metrics_file:
            while self.progress.epoch < self.settings.epochs:
                if not self._train_epoch(metrics_file, should_stop):
                    return False
            self.network.eval()
            self._save_checkpoint(metrics_file)
        return True

    def train_batch(self, batch: Tensor) -> Tensor:
        """Take one step of the optimizer and return the loss before it.

        `batch` holds the numbers of the training samples.
        """
        self.optimizer.zero_grad()
        with self._precision():
            loss = self.batch_loss(batch)
        # The gradients of a gang are the mean over its workers, and its loss is the sum.
        (loss if self.gang.size == 1 else loss * self.gang.size).backward()
        self.optimizer.step()
        return loss.detach()

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision)

    def _train_epoch(self, metrics_file: MetricsFile, should_stop: Callable[[], bool]) -> bool:
        """Train the rest of the current epoch; return whether it has finished."""
        progress, seed = self.progress, self.settings.own.seed
        started = time.monotonic() - progress.epoch_seconds
        order = permutation(len(self.training_rows), seed, progress.epoch + 1)
        batches = torch.split(torch.from_numpy(order).to(self.device), self.batch_size)
        self.network.train()
        for batch in batches[len(progress.batch_losses) :]:
            if self.random_batches:
                self._seed(progress.epoch, len(progress.batch_losses))
            loss, stops = self.train_batch(batch), should_stop()
            if self.gang.size > 1:
                loss, stops = self.gang.sum(loss, stops)
            progress.batch_losses.append(loss)
            if stops or time.monotonic() >= self._next_checkpoint:
                progress.epoch_seconds = time.monotonic() - started
                self._save_checkpoint(metrics_file)
                if stops or (self.gang.size == 1 and should_stop()):
                    return False
        metrics = self._epoch_metrics([len(batch) for batch in batches])
        metrics["seconds"] = round(time.monotonic() - started, 6)
        metrics_file.append(metrics)
        progress.finish_epoch(metrics, is_best=self._is_best(metrics))
        self._print(metrics)
        return True

    def _seed(self, epoch: int, batch: int) -> None:
        """Seed the random numbers of a batch, so that a resumed training draws the same ones."""
        state = np.random.SeedSequence((self.settings.own.seed, epoch, batch)).generate_state(1)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(int(state[0]))
        else:  # torch.manual_seed would also record a stack trace for CUDA's later start, 1 ms
            torch.default_generator.manual_seed(int(state[0]))

    def _epoch_metrics(self, batch_lengths: list[int]) -> dict[str, float]:
        """Return number, loss and validation metrics of the epoch whose last batch has finished."""
        epoch = self.progress.epoch + 1
        losses = torch.stack(self.progress.batch_losses).cpu()
        loss = (losses * torch.tensor(batch_lengths)).sum().item() / sum(batch_lengths)
        self.network.eval()
        with torch.no_grad(), self._precision():
            metrics = {"epoch": epoch, "loss": loss} | self.validation_metrics()
        if not all(map(math.isfinite, metrics.values())):
            raise UnusableError(
                f"loss {loss} and val_loss {metrics['val_loss']} in epoch {epoch}: use a lower "
                f"learning rate than {self.settings.learning_rate}, or look for extreme values in "
                "the data"
            )
        return metrics

    def _is_best(self, metrics: Mapping[str, float]) -> bool:
        """Return whether no finished epoch was at least as good."""
        best = self.progress.best
        if not best:
            return True
        value, best_value = metrics[self.objective], best[self.objective]
        return value > best_value if self.maximize else value < best_value

    def _print(self, metrics: Mapping[str, float]) -> None:
        epoch, epochs = metrics["epoch"], self.settings.epochs
        if epoch in (1, epochs) or epoch % math.ceil(epochs / PROGRESS_LINES) == 0:
            values = [
                f"{name} {value:.6g}"
                for name, value in metrics.items()
                if name not in ("epoch", "seconds")
            ]
            print(
                f"epoch {epoch}/{epochs}",
                *values,
                f"{metrics['seconds']:.3g} s",
                sep="  ",
                flush=True,
            )

    def _save_checkpoint(self, metrics_file: MetricsFile) -> None:
        # The metrics first: a checkpoint must never refer to more of them than are on disk.
        self.progress.metrics_size = metrics_file.sync()
        if self.gang.is_leader:
            checkpoint.save(self.folder, self.identity, self.progress, self.network, self.optimizer)
        self._next_checkpoint = time.monotonic() + self.settings.checkpoint_seconds

    def _restore_checkpoint(self) -> Progress | None:
        """Resume from the checkpoint; all workers of a gang from the one that the leader has."""
        if self.gang.size == 1:
            return self._restore()
        progress = self._restore() if self.gang.is_leader else None
        content = self.folder.read(CHECKPOINT) if progress else None
        content = self.gang.from_leader(content, self.identity)
        if self.gang.is_leader:
            return progress
        self.folder.receive(content)
        return self._restore()

    def _restore(self) -> Progress | None:
        progress = checkpoint.restore(
            self.folder,
            self.identity,
            self.settings.defaults,
            self.network,
            self.optimizer,
            self.device,
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
