"""What the networks of all models share: the normalisation of their samples."""

import torch
from torch import Tensor, nn

ROWS_AT_A_TIME = 1024  # bounds the memory of an evaluation and keeps it within the CPU's cache


class NormalisingNetwork(nn.Module):
    """A network that carries the mean and the standard deviation of its training samples.

    A loaded network therefore accepts raw samples. Training uses rows that were normalised once
    (`forward`).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int):
        super().__init__()
        # float64: float32 holds a mean of 2.4e9 only to the nearest 256.
        self.register_buffer("mean", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("deviation", torch.ones(width, dtype=torch.float64))

    def normalise(self, rows: Tensor) -> Tensor:
        """Return raw rows shifted to mean 0 and scaled to standard deviation 1, in float32."""
        return ((rows.double() - self.mean) / self.deviation).float()

    def normalise_(self, rows: Tensor, offset: Tensor) -> Tensor:
        """Normalise float32 rows, from which `offset` was subtracted before, in place."""
        return rows.sub_((self.mean - offset).float()).div_(self.deviation.float())

    def restore_units(self, normalised: Tensor, dtype: torch.dtype) -> Tensor:
        """Return normalised rows in their original units."""
        return (normalised.double() * self.deviation + self.mean).to(dtype)

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
