"""Checkpoints: saving a training under way and restoring it.

`checkpoint.bin` holds the SHA-256 digest (32 bytes) of the rest of the file, and then, written by
`torch.save`, a dictionary:

    identity    whatever must not change between two attempts (`Training.identity`)
    progress    the fields of `Progress`
    network     the network's state_dict
    optimizer   the optimizer's state_dict
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from common.adam import Adam
from common.exceptions import UnusableError
from common.output_folder import CHECKPOINT, METRICS, OutputFolder
from common.settings import differences

DIGEST_BYTES = sha256().digest_size
DIGEST_OF = "sha256 of "
"""Begins the key of an input file's digest in the identity."""


@dataclass
class Progress:
    """How far a training has come."""

    epoch: int = 0
    """The last finished epoch, counted from 1."""
    batch_losses: list[Tensor] = field(default_factory=list)
    """The loss of each finished batch of the current epoch."""
    epoch_seconds: float = 0.0
    """The time spent so far on the current epoch."""
    seconds: float = 0.0
    """The time spent on all finished epochs."""
    last: dict[str, float] = field(default_factory=dict)
    """The metrics of the last finished epoch."""
    best: dict[str, float] = field(default_factory=dict)
    """The metrics of the epoch with the best value of the objective."""
    metrics_size: int = 0
    """The size of metrics.jsonl in bytes when the checkpoint was saved."""

    def finish_epoch(self, metrics: dict[str, float], *, is_best: bool) -> None:
        """Count the current epoch as finished with these metrics."""
        self.epoch += 1
        self.batch_losses = []
        self.epoch_seconds = 0.0
        self.seconds += metrics["seconds"]
        self.last = metrics
        if is_best:
            self.best = metrics


def save(
    folder: OutputFolder,
    identity: Mapping[str, Any],
    progress: Progress,
    network: nn.Module,
    optimizer: Adam,
) -> None:
    """Write the checkpoint, replacing the previous one."""
    buffer = io.BytesIO()
    torch.save(
        {
            "identity": identity,
            "progress": vars(progress) | {"batch_losses": torch.tensor(progress.batch_losses)},
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
        },
        buffer,
    )
    content = buffer.getvalue()
    folder.write(CHECKPOINT, sha256(content).digest() + content)


def restore(
    folder: OutputFolder,
    identity: Mapping[str, Any],
    defaults: Mapping[str, Any],
    network: nn.Module,
    optimizer: Adam,
    device: torch.device,
) -> Progress | None:
    """Load the checkpoint into the network and the optimizer, and return its progress.

    Args:
        folder: The experiment's folder.
        identity: What the checkpoint must have been made for.
        defaults: The values of parameters that an older version did not have.
        network: The network to load into.
        optimizer: The optimizer to load into.
        device: The device of both.

    Returns:
        None, with nothing loaded, if there is no checkpoint, if the disk has damaged it or the
        metrics that belong to it, or if version 0.2 or older wrote it for data that it could not
        normalise. A training from the first epoch repeats the same losses.

    Raises:
        UnusableError: The checkpoint has another identity.
    """
    content = folder.read(CHECKPOINT)
    if content is None:
        return None
    digest, content = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if sha256(content).digest() != digest:
        print(f"{CHECKPOINT} is damaged, starting from the first epoch", flush=True)
        return None
    saved = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    if different := differences(saved["identity"], identity, defaults):
        raise UnusableError(f"{folder.path} holds a checkpoint with {different}")
    progress = Progress(**saved["progress"])
    progress.batch_losses = list(progress.batch_losses)
    if folder.size(METRICS) < progress.metrics_size:
        print(f"{METRICS} is damaged, starting from the first epoch", flush=True)
        return None
    if not _same_normalisation(saved["network"], network):
        print(f"{CHECKPOINT} has a less exact mean, starting from the first epoch", flush=True)
        return None
    network.load_state_dict(saved["network"])
    optimizer.load_state_dict(saved["optimizer"])
    return progress


def input_files(folder: OutputFolder) -> dict[str, str]:
    """Return name and SHA-256 digest of the files that a checkpoint was trained on, in their order.

    The result is empty if there is no checkpoint, or if it is damaged.
    """
    content = folder.read(CHECKPOINT) or b""
    if sha256(content[DIGEST_BYTES:]).digest() != content[:DIGEST_BYTES]:
        return {}
    saved = torch.load(io.BytesIO(content[DIGEST_BYTES:]), map_location="cpu", weights_only=True)
    return {
        name.removeprefix(DIGEST_OF): digest
        for name, digest in saved["identity"].items()
        if name.startswith(DIGEST_OF)
    }


def _same_normalisation(saved: Mapping[str, Tensor], network: nn.Module) -> bool:
    """Return whether a saved network was trained on rows that were normalised as they are now.

    Version 0.2 and older took mean and deviation after the data had become float32.
    """
    current = network.state_dict()
    deviation = current["deviation"]
    same_mean = (saved["mean"] - current["mean"]).abs() <= 1e-3 * deviation
    same_deviation = (saved["deviation"] - deviation).abs() <= 1e-3 * deviation
    return bool((same_mean & same_deviation).all())
