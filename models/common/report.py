"""What the results of all models share: files in the experiment's output folder."""

import csv
import io
import json
import platform
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from common.output_folder import SUMMARY
from common.precision import Floats
from common.training import Training


def write_results(training: Training[Any, Any]) -> None:
    """Write the model's files, and then summary.json, which marks the experiment as finished."""
    for name, content in training.results():
        training.folder.write(name, content)
    training.folder.write(SUMMARY, summary(training))


def model_file(training: Training[Any, Any], **further: Any) -> bytes:
    """Return the content of model.pt; the docstring of each network shows how to load it.

    `further` are values that a user of the network needs, of types that PyTorch loads with
    `weights_only=True`.
    """
    buffer = io.BytesIO()
    state = {name: value.cpu() for name, value in training.network.state_dict().items()}
    torch.save(
        {
            "architecture": training.architecture,
            "sample_shape": training.dataset.sample_shape,
            "state_dict": state,
            **further,
        },
        buffer,
    )
    return buffer.getvalue()


def anomaly_scores(training: Training[Any, Any], errors: Floats) -> bytes:
    """Return a CSV table of the validation samples, the largest reconstruction error first.

    `error` is the mean squared error in normalised units: a network that reconstructs every
    sample as the mean has an error of 1. `sample` counts from 0 within the file.

    Args:
        training: The training that has finished.
        errors: The error of each validation sample, shape (samples,).
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file", "sample", "error"])
    for position in np.argsort(-errors, kind="stable"):
        file, sample = training.dataset.origin(int(training.validation_indices[position]))
        writer.writerow([file, sample, f"{errors[position]:.9g}"])
    return table.getvalue().encode("utf-8", "surrogateescape")


def summary(training: Training[Any, Any]) -> bytes:
    """Return the parameters, the input and the final metrics of the experiment as JSON."""
    settings, progress, dataset = training.settings, training.progress, training.dataset
    record = {
        "experiment_id": settings.experiment_id,
        "attempt": settings.attempt,
        "parameters": settings.parameters,
        "final": progress.last,
        "best": progress.best,
        "samples": {
            "total": len(dataset.rows),
            "training": len(training.training_rows),
            "validation": len(training.validation_rows),
            "shape": dataset.sample_shape,
        },
        "network": training.architecture,
        **training.summary_fields(),
        "seconds": round(progress.seconds, 6),
        "device": training.device.type,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "input_sha256": dataset.sha256,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
    return json.dumps(record, indent=2, allow_nan=False).encode() + b"\n"
