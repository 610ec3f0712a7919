"""Train a classifier of a table or of small images; `common/trainer.py` lists the variables."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))  # where `common` is

from classifier_parameters import ClassifierParameters
from common.trainer import run

if TYPE_CHECKING:
    from classifier_training import ClassifierTraining
    from common.dataset import Dataset
    from common.output_folder import OutputFolder
    from common.settings import Settings


def training(
    settings: "Settings[ClassifierParameters]", dataset: "Dataset", folder: "OutputFolder"
) -> "ClassifierTraining":
    """Return the training, importing PyTorch only now: mistakes are reported before that."""
    from classes import find_classes

    classes = find_classes(dataset)
    from classifier_training import ClassifierTraining

    return ClassifierTraining(settings, dataset, folder, classes)


if __name__ == "__main__":
    run(ClassifierParameters, training)
