"""A convolutional autoencoder of images: its network, its training and its results."""

from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, pad

from common.dataset import Dataset
from common.images import png, side_by_side
from common.network import ROWS_AT_A_TIME, NormalisingNetwork
from common.output_folder import OutputFolder
from common.precision import Floats
from common.report import anomaly_scores, model_file
from common.settings import Settings
from common.training import Training
from conv_parameters import ConvParameters
from image_layout import image_layout

SHOWN_SAMPLES = 10
SHRINKAGE = 4  # of height and width, by two layers with a stride of 2


class ConvAutoencoder(NormalisingNetwork):
    """Compresses images to `code` numbers for each square of 4 x 4 pixels and reconstructs them.

    An image is a row of numbers, in the order in which the files hold it. To load the network that
    an experiment trained:

        saved = torch.load("model.pt", weights_only=True)
        network = ConvAutoencoder(**saved["architecture"])
        network.load_state_dict(saved["state_dict"])
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        channels_first: bool,
        filters: int,
        code: int,
    ):
        super().__init__(1)  # all pixels share one mean and one deviation
        self.size = channels, height, width
        self.channels_first = channels_first
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, filters, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(filters, code, 3, stride=2, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(code, filters, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(filters, channels, 4, stride=2, padding=1),
        )
        # A CPU takes 8 % less time for an epoch if the channels of a pixel are next to each other.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct normalised images, shape (samples, channels, height, width)."""
        _, height, width = self.size
        below, right = -height % SHRINKAGE, -width % SHRINKAGE
        if below or right:
            images = pad(images, (0, right, 0, below), mode="replicate")
        reconstructed: Tensor = self.decoder(self.encoder(images))
        return reconstructed[:, :, :height, :width]

    def images(self, rows: Tensor) -> Tensor:
        """Return rows as images, shape (samples, channels, height, width), without a copy."""
        channels, height, width = self.size
        if self.channels_first:
            return rows.view(-1, channels, height, width)
        return rows.view(-1, height, width, channels).permute(0, 3, 1, 2)

    def rows(self, images: Tensor) -> Tensor:
        """Return images as rows, in the order in which the files hold them."""
        ordered = images if self.channels_first else images.permute(0, 2, 3, 1)
        return ordered.reshape(len(images), -1)

    def reconstruct(self, rows: Tensor) -> Tensor:
        """Reconstruct raw rows, shape (samples, numbers), in their original units and dtype."""
        reconstructed = self.rows(self(self.images(self.normalise(rows))))
        return self.restore_units(reconstructed, rows.dtype)


class ConvTraining(Training[ConvParameters, ConvAutoencoder]):
    """Trains a `ConvAutoencoder` to remove noise from the images of a data set."""

    distributed = True

    def __init__(self, settings: Settings[ConvParameters], dataset: Dataset, folder: OutputFolder):
        layout = image_layout(dataset.sample_shape, settings.own.layout)
        if dataset.per_column:  # rows that are squares: each column may have an offset of its own
            rows = dataset.rows
            if dataset.offset.any():
                rows = (rows + dataset.offset).astype(np.float32)
            shape = (layout.height, layout.width)
            dataset = replace(dataset, rows=rows, sample_shape=shape, offset=np.zeros(()))
        sizes = {"filters": settings.own.filters, "code": settings.own.code}
        super().__init__(settings, dataset, folder, ConvAutoencoder, asdict(layout) | sizes)
        self.random_batches = settings.own.noise > 0
        self.mixed_precision = settings.own.mixed_precision

    def work(self) -> int:
        """Return about how many multiplications the network needs for an image."""
        _, height, width = self.network.size
        return super().work() * max(1, height * width // SHRINKAGE**2)

    def batch_loss(self, batch: Tensor) -> Tensor:
        """Return the mean squared error of the reconstructions from noisy images."""
        images = self.network.images(self.training_rows.index_select(0, batch))
        noisy = images
        if self.settings.own.noise:
            noisy = images + self.settings.own.noise * torch.randn_like(images)
        if self.gang.size == 1:
            return mse_loss(self.network(noisy), images)
        # Every worker draws the noise of the whole batch, as one process alone would.
        share = self.gang.share(len(images))
        errors = mse_loss(self.parallel(noisy[share]), images[share], reduction="sum")
        return errors / images.numel()

    def validation_metrics(self) -> dict[str, float]:
        """Return the mean squared error on the validation images, to which no noise is added."""
        return {"val_loss": self._errors().mean().item()}

    def _errors(self) -> Tensor:
        """Return the mean squared error of each validation image."""
        errors = [
            (self.network(images) - images).float().square().mean(dim=(1, 2, 3))
            for images in map(self.network.images, self.validation_rows.split(ROWS_AT_A_TIME))
        ]
        return torch.cat(errors)

    def results(self) -> Iterator[tuple[str, bytes]]:
        """Yield model.pt, anomaly_scores.csv and reconstructions.png."""
        shown = self.network.images(self.validation_rows[:SHOWN_SAMPLES])
        with torch.no_grad():
            reconstructed = self.network(shown)
            errors = self._errors().cpu().numpy()
        yield "model.pt", model_file(self)
        yield "anomaly_scores.csv", anomaly_scores(self, errors)
        yield (
            "reconstructions.png",
            png(side_by_side(_colours(shown), _colours(reconstructed))),
        )


def _colours(images: Tensor) -> Floats:
    """Return images as they are drawn: (samples, height, width), or with a last axis for RGB."""
    pixels: Floats = images.permute(0, 2, 3, 1).float().cpu().numpy()
    return pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., 0]
