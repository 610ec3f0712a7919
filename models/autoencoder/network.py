"""The network: an encoder and a decoder, mirror images of each other, around a narrow code."""

import torch
from torch import Tensor, nn

ROWS_AT_A_TIME = 1024  # bounds the memory of an evaluation and keeps it within the CPU's cache


class Autoencoder(nn.Module):
    """Compresses rows of `width` numbers to `code` numbers and reconstructs them.

    It carries the mean and the standard deviation of its training samples, so that a loaded
    network accepts raw samples (`reconstruct`). Training uses rows that were normalised once
    (`forward`). To load the network that an experiment trained:

        saved = torch.load("model.pt", weights_only=True)
        network = Autoencoder(**saved["architecture"])
        network.load_state_dict(saved["state_dict"])
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int, hidden: int, code: int):
        super().__init__()
        # float64: float32 holds a mean of 2.4e9 only to the nearest 256.
        self.register_buffer("mean", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("deviation", torch.ones(width, dtype=torch.float64))
        self.layers = nn.Sequential(
            nn.Linear(width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, code),
            nn.Linear(code, hidden),
            nn.ReLU(),
            nn.Linear(hidden, width),
        )

    def forward(self, normalised: Tensor) -> Tensor:
        """Reconstruct normalised rows, shape (samples, width)."""
        reconstructed: Tensor = self.layers(normalised)
        return reconstructed

    def normalise(self, rows: Tensor) -> Tensor:
        """Return raw rows shifted to mean 0 and scaled to standard deviation 1, in float32."""
        return ((rows.double() - self.mean) / self.deviation).float()

    def normalise_(self, rows: Tensor, offset: Tensor) -> Tensor:
        """Normalise float32 rows, from which `offset` was subtracted before, in place."""
        return rows.sub_((self.mean - offset).float()).div_(self.deviation.float())

    def reconstruct(self, rows: Tensor) -> Tensor:
        """Reconstruct raw rows, shape (samples, width), in their original units and dtype."""
        reconstructed: Tensor = self(self.normalise(rows))
        return (reconstructed.double() * self.deviation + self.mean).to(rows.dtype)

    def fit_normalisation(
        self, rows: Tensor, offset: Tensor | None = None, *, per_column: bool
    ) -> None:
        """Set mean and standard deviation to those of the training rows before any shift.

        Each column of a table has its own unit and is normalised separately (`per_column`). All
        pixels of an image share one unit and are normalised together, because pixels that are
        almost always dark would otherwise be amplified to noise.

        Args:
            rows: The training rows, float32.
            offset: What was subtracted from each column before the rows became float32.
            per_column: Whether each column is normalised by itself.
        """
        deviation, mean = torch.std_mean(rows, dim=0 if per_column else None, correction=0)
        # The standard deviation of a constant column is not 0 but a rounding error.
        constant = deviation <= 1e-6 * mean.abs()
        self.mean.copy_(mean)
        self.deviation.copy_(deviation.masked_fill(constant, 1.0))
        if offset is not None:
            self.mean.add_(offset)


def architecture(width: int) -> dict[str, int]:
    """Return the arguments of an `Autoencoder` for rows of `width` numbers."""
    return {
        "width": width,
        "hidden": max(16, min(128, 2 * width)),
        "code": max(1, min(32, width // 4)),
    }


@torch.no_grad()
def reconstruction_errors(network: Autoencoder, normalised: Tensor) -> Tensor:
    """Return the mean squared error of each sample's reconstruction, in normalised units.

    `normalised` has the shape (samples, width), the result (samples,).
    """
    parts = torch.split(normalised, ROWS_AT_A_TIME)
    return torch.cat([(network(rows) - rows).square().mean(dim=1) for rows in parts])
