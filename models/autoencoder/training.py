"""The training: from samples to a trained network, stopping and going on where it stopped."""

import io
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from dataset import Dataset, permutation
from network import Autoencoder, architecture, reconstruction_errors
from run import CHECKPOINT, METRICS, Metrics, RunFolder, Settings, UnusableError, differences

SMALL_BATCH = 64
LARGE_BATCH = 256  # keeps a processor busier
MANY_SAMPLES = 10_000  # of which an epoch has steps enough with large batches, too
SMALL_NETWORK = 100_000  # parameters, below which sharing the work costs more than it saves
PROGRESS_LINES = 100
DIGEST_BYTES = sha256().digest_size  # at the head of a checkpoint, of what follows


@dataclass
class Progress:
    """How far the training has come."""

    epoch: int = 0
    """The last finished epoch, counted from 1."""
    batch_losses: list[Tensor] = field(default_factory=list)
    """Of the epoch under way: one loss for each batch that is done."""
    epoch_seconds: float = 0.0
    """What the epoch under way has taken so far."""
    seconds: float = 0.0
    """What all finished epochs took."""
    last: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    """The metrics of the last epoch and of the one with the lowest val_loss."""
    metrics_size: int = 0
    """Bytes of metrics.jsonl when this was written down."""

    def advance(self, row: dict[str, float]) -> None:
        """Count an epoch as finished, with its line of metrics.jsonl."""
        self.epoch += 1
        self.batch_losses = []
        self.epoch_seconds = 0.0
        self.seconds += row["seconds"]
        self.last = row
        if not self.best or row["val_loss"] < self.best["val_loss"]:
            self.best = row


class Training:
    """One run's network, optimizer and samples.

    It begins where the checkpoint in the folder left off, if there is one, and then goes on
    exactly as if it had never stopped: the order of the samples depends on seed and epoch alone.
    The rows of the data set are used up: large ones fit into the memory only once.
    Raises UnusableError if the checkpoint belongs to other parameters or other input.
    """

    def __init__(self, settings: Settings, dataset: Dataset, folder: RunFolder):
        self.settings = settings
        self.dataset = dataset
        self.folder = folder
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.architecture = architecture(dataset.rows.shape[1])

        torch.manual_seed(settings.seed)
        # Adam's averages fade into denormal numbers, which are many times slower to compute with.
        torch.set_flush_denormal(True)
        self.network = Autoencoder(**self.architecture)
        size = sum(weights.numel() for weights in self.network.parameters())
        torch.set_num_threads(1 if size < SMALL_NETWORK else usable_cpus())

        self.training_rows, self.validation_rows = dataset.split(settings.seed)
        parts = dataset.take(self.training_rows, self.validation_rows)
        training, validation = map(torch.from_numpy, parts)
        self.batch_size = LARGE_BATCH if len(training) >= MANY_SAMPLES else SMALL_BATCH
        self.network.fit_normalisation(training, per_column=len(dataset.sample_shape) == 1)
        self.network.to(self.device)
        self.training = self.network.normalise_(training.to(self.device))
        self.validation = self.network.normalise_(validation.to(self.device))
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=settings.learning_rate, fused=True
        )
        self.progress = Progress()
        self._next_checkpoint = time.monotonic() + settings.checkpoint_seconds
        self._resume()

    def run(self, stopped: Callable[[], bool]) -> bool:
        """Train to the last epoch; False if `stopped` said so before, with a checkpoint made."""
        with Metrics(self.folder, self.progress.metrics_size) as metrics:
            while self.progress.epoch < self.settings.epochs:
                if not self._run_epoch(metrics, stopped):
                    return False
            self._checkpoint(metrics)
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

    def _run_epoch(self, metrics: Metrics, stopped: Callable[[], bool]) -> bool:
        """Train what remains of the epoch under way; False if stopped, with a checkpoint made."""
        progress = self.progress
        epoch = progress.epoch + 1
        started = time.monotonic() - progress.epoch_seconds
        order = torch.from_numpy(permutation(len(self.training), self.settings.seed, epoch))
        batches = torch.split(order.to(self.device), self.batch_size)
        for batch in batches[len(progress.batch_losses) :]:
            # Copies row by row, several times faster than `training[batch]` does.
            rows = self.training.index_select(0, batch)
            progress.batch_losses.append(self.train_batch(rows))
            if stopped() or time.monotonic() >= self._next_checkpoint:
                progress.epoch_seconds = time.monotonic() - started
                self._checkpoint(metrics)
                if stopped():
                    return False
        samples = torch.tensor([len(batch) for batch in batches], device=self.device)
        loss = (torch.stack(progress.batch_losses) * samples).sum().item() / len(order)
        val_loss = reconstruction_errors(self.network, self.validation).mean().item()
        if not (math.isfinite(loss) and math.isfinite(val_loss)):
            raise UnusableError(
                f"loss {loss} and val_loss {val_loss} in epoch {epoch}: use a lower learning rate "
                f"than {self.settings.learning_rate}, or look for extreme values in the data"
            )
        seconds = time.monotonic() - started
        row = {"epoch": epoch, "loss": loss, "val_loss": val_loss, "seconds": round(seconds, 6)}
        metrics.append(row)
        progress.advance(row)
        self._print(row)
        return True

    def _print(self, row: dict[str, float]) -> None:
        epochs = self.settings.epochs
        every = math.ceil(epochs / PROGRESS_LINES)
        if row["epoch"] in (1, epochs) or row["epoch"] % every == 0:
            print(
                "epoch {epoch}/{epochs}  loss {loss:.6g}  val_loss {val_loss:.6g}  "
                "{seconds:.3g} s".format(epochs=epochs, **row),
                flush=True,
            )

    @property
    def _identity(self) -> dict[str, Any]:
        """What has to agree for a checkpoint to be gone on with."""
        return (
            self.settings.parameters
            | {"batch_size": self.batch_size}
            | self.architecture
            | {f"sha256 of {name}": digest for name, digest in self.dataset.sha256.items()}
        )

    def _checkpoint(self, metrics: Metrics) -> None:
        progress = self.progress
        progress.metrics_size = metrics.sync()  # before the checkpoint that counts on it
        buffer = io.BytesIO()
        torch.save(
            {
                "identity": self._identity,
                "progress": vars(progress) | {"batch_losses": torch.tensor(progress.batch_losses)},
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            },
            buffer,
        )
        content = buffer.getvalue()
        self.folder.write(CHECKPOINT, sha256(content).digest() + content)
        self._next_checkpoint = time.monotonic() + self.settings.checkpoint_seconds

    def _resume(self) -> None:
        """Take up the checkpoint, if there is one.

        One that the disk has damaged is left: the same losses are computed again.
        """
        content = self.folder.read(CHECKPOINT)
        if content is None:
            return
        digest, content = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if sha256(content).digest() != digest:
            print(f"{CHECKPOINT} is damaged, starting from the first epoch", flush=True)
            return
        saved = torch.load(io.BytesIO(content), map_location=self.device, weights_only=True)
        if different := differences(saved["identity"], self._identity):
            raise UnusableError(f"{self.folder.path} holds a checkpoint with {different}")
        progress = Progress(**saved["progress"])
        progress.batch_losses = list(progress.batch_losses)
        if self.folder.size(METRICS) < progress.metrics_size:
            print(f"{METRICS} is damaged, starting from the first epoch", flush=True)
            return
        self.progress = progress
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        print(f"going on after epoch {self.progress.epoch}", flush=True)


def usable_cpus() -> int:
    """Count the processors this process may use: a container's share, not the whole machine."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    cpus: int = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return min(cpus, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no control groups, or the quota is "max"
        return cpus
