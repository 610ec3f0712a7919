"""Train a convolutional autoencoder on images; `common/trainer.py` lists the variables."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))  # where `common` is

from common.trainer import run
from conv_parameters import ConvParameters
from image_layout import image_layout

if TYPE_CHECKING:
    from common.dataset import Dataset
    from common.output_folder import OutputFolder
    from common.settings import Settings
    from conv_training import ConvTraining


def training(
    settings: "Settings[ConvParameters]", dataset: "Dataset", folder: "OutputFolder"
) -> "ConvTraining":
    """Return the training, importing PyTorch only now: mistakes are reported before that."""
    image_layout(dataset.sample_shape, settings.own.layout)
    from conv_training import ConvTraining

    return ConvTraining(settings, dataset, folder)


if __name__ == "__main__":
    run(ConvParameters, training)
