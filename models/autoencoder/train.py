"""Train an autoencoder on the rows of the data files; `common/trainer.py` lists the variables."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))  # where `common` is

from autoencoder_parameters import AutoencoderParameters
from common.trainer import run

if TYPE_CHECKING:
    from autoencoder_training import AutoencoderTraining
    from common.dataset import Dataset
    from common.output_folder import OutputFolder
    from common.settings import Settings


def training(
    settings: "Settings[AutoencoderParameters]", dataset: "Dataset", folder: "OutputFolder"
) -> "AutoencoderTraining":
    """Return the training, importing PyTorch only now: mistakes are reported before that."""
    from autoencoder_training import AutoencoderTraining

    return AutoencoderTraining(settings, dataset, folder)


if __name__ == "__main__":
    run(AutoencoderParameters, training)
