"""An autoencoder of rows of numbers: its network, its training and its results."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from autoencoder_parameters import AutoencoderParameters
from common.dataset import Dataset
from common.images import comparison, png
from common.network import ROWS_AT_A_TIME, NormalisingNetwork
from common.output_folder import OutputFolder
from common.report import anomaly_scores, model_file
from common.settings import Settings
from common.training import Training

SHOWN_SAMPLES = 10


class Autoencoder(NormalisingNetwork):
    """Compresses rows of `width` numbers to `code` numbers and reconstructs them.

    Encoder and decoder are mirror images of each other. To load the network that an experiment
    trained:

        saved = torch.load("model.pt", weights_only=True)
        network = Autoencoder(**saved["architecture"])
        network.load_state_dict(saved["state_dict"])
    """

    def __init__(self, width: int, hidden: int, code: int):
        super().__init__(width)
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

    def reconstruct(self, rows: Tensor) -> Tensor:
        """Reconstruct raw rows, shape (samples, width), in their original units and dtype."""
        return self.restore_units(self(self.normalise(rows)), rows.dtype)


def architecture(width: int, hidden: int = 0, code: int = 0) -> dict[str, int]:
    """Return the arguments of an `Autoencoder` for rows of `width` numbers.

    A `hidden` or `code` of 0 stands for a size that fits the width.
    """
    return {
        "width": width,
        "hidden": hidden or max(16, min(128, 2 * width)),
        "code": code or max(1, min(32, width // 4)),
    }


@torch.no_grad()
def reconstruction_errors(network: Autoencoder, normalised: Tensor) -> Tensor:
    """Return the mean squared error of each sample's reconstruction, in normalised units.

    `normalised` has the shape (samples, width), the result (samples,).
    """
    parts = torch.split(normalised, ROWS_AT_A_TIME)
    return torch.cat([(network(rows) - rows).square().mean(dim=1) for rows in parts])


class AutoencoderTraining(Training[AutoencoderParameters, Autoencoder]):
    """Trains an `Autoencoder` on the rows of a data set."""

    def __init__(
        self, settings: Settings[AutoencoderParameters], dataset: Dataset, folder: OutputFolder
    ):
        sizes = architecture(dataset.rows.shape[1], settings.own.hidden, settings.own.code)
        super().__init__(settings, dataset, folder, Autoencoder, sizes)

    def batch_loss(self, batch: Tensor) -> Tensor:
        """Return the mean squared error of the reconstructions, in normalised units."""
        # Copies whole rows, which is several times faster than `training_rows[batch]`.
        rows = self.training_rows.index_select(0, batch)
        return mse_loss(self.network(rows), rows)

    def validation_metrics(self) -> dict[str, float]:
        """Return the mean squared error on the validation samples."""
        errors = reconstruction_errors(self.network, self.validation_rows)
        return {"val_loss": errors.mean().item()}

    def results(self) -> Iterator[tuple[str, bytes]]:
        """Yield model.pt, anomaly_scores.csv and reconstructions.png."""
        shown = self.validation_rows[:SHOWN_SAMPLES]
        with torch.no_grad():
            reconstructed = self.network(shown)
        errors = reconstruction_errors(self.network, self.validation_rows).cpu().numpy()
        yield "model.pt", model_file(self)
        yield "anomaly_scores.csv", anomaly_scores(self, errors)
        yield (
            "reconstructions.png",
            png(
                comparison(
                    shown.cpu().numpy(), reconstructed.cpu().numpy(), self.dataset.sample_shape
                )
            ),
        )
