"""A classifier of rows of numbers: its network, its training and its results."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from classes import Classes
from classifier_parameters import ClassifierParameters
from common.dataset import Dataset
from common.images import png
from common.network import ROWS_AT_A_TIME, NormalisingNetwork
from common.output_folder import OutputFolder
from common.report import model_file
from common.settings import Settings
from common.training import Training
from confusion import accuracy, confusion_image, macro_f1


class Classifier(NormalisingNetwork):
    """Predicts the class of rows of `width` numbers.

    To load the network that an experiment trained:

        saved = torch.load("model.pt", weights_only=True)
        network = Classifier(**saved["architecture"]).eval()
        network.load_state_dict(saved["state_dict"])
        names = [saved["classes"][number] for number in network.predict(rows).tolist()]

    `rows` has the columns `saved["columns"]`, in this order.
    """

    def __init__(self, width: int, hidden: int, layers: int, classes: int, dropout: float):
        super().__init__(width)
        self.layers = nn.Sequential()
        for _ in range(layers):
            self.layers += nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout))
            width = hidden
        self.layers.append(nn.Linear(width, classes))

    def forward(self, normalised: Tensor) -> Tensor:
        """Return the logit of each class, shape (samples, classes), of normalised rows."""
        logits: Tensor = self.layers(normalised)
        return logits

    def predict(self, rows: Tensor) -> Tensor:
        """Return the number of the most likely class of each raw row, shape (samples,)."""
        predicted: Tensor = self(self.normalise(rows)).argmax(dim=1)
        return predicted


class ClassifierTraining(Training[ClassifierParameters, Classifier]):
    """Trains a `Classifier` on the rows and labels of a data set."""

    objective, maximize = "val_macro_f1", True

    def __init__(
        self,
        settings: Settings[ClassifierParameters],
        dataset: Dataset,
        folder: OutputFolder,
        classes: Classes,
    ):
        own = settings.own
        sizes = {"hidden": own.hidden, "layers": own.layers, "dropout": own.dropout}
        shape = {"width": dataset.rows.shape[1], "classes": len(classes.names)}
        super().__init__(settings, dataset, folder, Classifier, shape | sizes)
        self.classes = classes.names
        targets = torch.from_numpy(classes.numbers)
        self.training_targets = targets[self.training_indices].to(self.device)
        self.validation_targets = targets[self.validation_indices].to(self.device)
        self.random_batches = own.dropout > 0
        self.mixed_precision = own.mixed_precision

    def batch_loss(self, batch: Tensor) -> Tensor:
        """Return the mean cross entropy of the predictions."""
        logits = self.network(self.training_rows.index_select(0, batch))
        return cross_entropy(logits, self.training_targets.index_select(0, batch))

    def validation_metrics(self) -> dict[str, float]:
        """Return cross entropy, accuracy and macro F1 on the validation samples."""
        logits = self._validation_logits()
        confusion = self._confusion(logits.argmax(dim=1))
        return {
            "val_loss": cross_entropy(logits, self.validation_targets).item(),
            "val_accuracy": accuracy(confusion),
            "val_macro_f1": macro_f1(confusion),
        }

    def results(self) -> Iterator[tuple[str, bytes]]:
        """Yield model.pt, predictions.csv, confusion_matrix.csv and confusion_matrix.png."""
        with torch.no_grad():
            logits = self._validation_logits()
        confusion = self._confusion(logits.argmax(dim=1))
        further = {"classes": self.classes, "columns": self.dataset.columns}
        yield "model.pt", model_file(self, target=self.dataset.target, **further)
        yield "predictions.csv", self._predictions(logits.softmax(dim=1).cpu().numpy())
        rows = [[name, *counts] for name, counts in zip(self.classes, confusion, strict=True)]
        yield "confusion_matrix.csv", _table(["actual", *self.classes], rows)
        yield "confusion_matrix.png", png(confusion_image(confusion))

    def summary_fields(self) -> dict[str, Any]:
        """Return the target and the classes, in the order of the confusion matrix."""
        return {"target": self.dataset.target, "classes": self.classes}

    def _validation_logits(self) -> Tensor:
        parts = self.validation_rows.split(ROWS_AT_A_TIME)
        return torch.cat([self.network(rows).float() for rows in parts])

    def _confusion(self, predicted: Tensor) -> Any:
        """Return how many samples of a class (row) were predicted as which class (column)."""
        count = len(self.classes)
        pairs = self.validation_targets * count + predicted
        return torch.bincount(pairs, minlength=count * count).view(count, count).cpu().numpy()

    def _predictions(self, probabilities: Any) -> bytes:
        """Return a CSV table of the validation samples; `sample` counts from 0 within the file."""
        rows = []
        for position, index in enumerate(self.validation_indices):
            file, sample = self.dataset.origin(int(index))
            predicted = int(np.argmax(probabilities[position]))
            actual = self.classes[int(self.validation_targets[position])]
            probability = f"{probabilities[position][predicted]:.6g}"
            rows.append([file, sample, actual, self.classes[predicted], probability])
        return _table(["file", "sample", "actual", "predicted", "probability"], rows)


def _table(header: list[str], rows: list[list[Any]]) -> bytes:
    """Return a table as CSV."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerows([header, *rows])
    return table.getvalue().encode("utf-8", "surrogateescape")
