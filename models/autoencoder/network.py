"""The network: two mirrored pairs of layers around a narrow code."""

import torch
from torch import Tensor, nn

ROWS_AT_A_TIME = 1024  # bounds the memory of an evaluation, and lets a processor's cache hold it


class Autoencoder(nn.Module):
    """Squeezes rows of `width` numbers through `code` numbers and back.

    It carries the mean and the standard deviation of its training samples, so that a loaded
    network can be given raw samples (`reconstruct`). The training itself works on rows that were
    normalised once (`forward`). To use what a run left:

        saved = torch.load("model.pt", weights_only=True)
        network = Autoencoder(**saved["architecture"])
        network.load_state_dict(saved["state_dict"])
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int, hidden: int, code: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
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
        """Bring raw rows to mean 0 and standard deviation 1."""
        return self.normalise_(rows.clone())

    def normalise_(self, rows: Tensor) -> Tensor:
        """Normalise rows in place, and return them."""
        return rows.sub_(self.mean).div_(self.deviation)

    def reconstruct(self, rows: Tensor) -> Tensor:
        """Reconstruct raw rows, shape (samples, width), in their own units."""
        reconstructed: Tensor = self(self.normalise(rows))
        return reconstructed * self.deviation + self.mean

    def fit_normalisation(self, rows: Tensor, *, per_column: bool) -> None:
        """Take mean and standard deviation from the raw training rows.

        Columns of a table have units of their own. The pixels of an image share one, and a pixel
        that is nearly always dark must not be blown up.
        """
        deviation, mean = torch.std_mean(rows, dim=0 if per_column else None, correction=0)
        # A column that never changes only has rounding errors for a deviation.
        constant = deviation <= 1e-6 * mean.abs()
        self.mean.copy_(mean)
        self.deviation.copy_(deviation.masked_fill(constant, 1.0))


def architecture(width: int) -> dict[str, int]:
    """Return the sizes of a network for rows of `width` numbers: Autoencoder's arguments."""
    return {
        "width": width,
        "hidden": max(16, min(128, 2 * width)),
        "code": max(1, min(32, width // 4)),
    }


@torch.no_grad()
def reconstruction_errors(network: Autoencoder, normalised: Tensor) -> Tensor:
    """Return the mean squared error of each sample's reconstruction, in normalised units."""
    parts = torch.split(normalised, ROWS_AT_A_TIME)
    return torch.cat([(network(rows) - rows).square().mean(dim=1) for rows in parts])
