"""Requests and responses about curves, comparisons and files."""

from typing import Any

from apiflask import Schema
from apiflask.fields import Boolean, DateTime, Dict, Float, Integer, List, Nested, String
from apiflask.validators import OneOf, Range
from marshmallow import ValidationError, validates_schema

from backend.domain.execution.usage import Usage
from backend.domain.status import Status
from backend.domain.timestamps import to_text
from backend.files.curve_table import MAX_LEFT_OUT
from backend.files.metrics import MAX_METRICS, MAX_SAFE_INTEGER
from backend.files.outputs import MAX_FILES
from backend.files.untrusted import Entry
from backend.web.schemas.experiments import ExperimentOut, warnings_field
from backend.web.schemas.fields import Number, Text, Texts, WholeNumber
from backend.web.schemas.strict import StrictSchema

MAX_COMPARED = 100  # experiments in one comparison
MAX_DIGEST_BYTES = 2**30  # read for the digests of one list of files
MAX_POINTS = 100_000  # epochs in one response


class CurveIn(StrictSchema):
    """Which part of a curve, and in which resolution."""

    since_epoch = Number(
        load_default=-1,
        validate=Range(min=-1, max=MAX_SAFE_INTEGER),
        metadata={"description": "Only epochs after this one; all of them by default."},
    )
    max_points = WholeNumber(
        load_default=MAX_POINTS,
        validate=Range(min=2, max=MAX_POINTS),
        metadata={
            "description": "The largest number of epochs to return: the first and the last one, "
            "and for each part of the curve those where a metric is lowest or highest. At least "
            "two epochs for each metric, and two more, are returned."
        },
    )


class CurveOut(Schema):
    """The metrics of an experiment by epoch, column by column."""

    experiment_id = String(metadata={"example": "run-1"})
    attempt = Integer(metadata={"example": 1})
    status = String(validate=OneOf(list(Status)), metadata={"example": "running"})
    points = Integer(
        metadata={"description": "The number of epochs of the whole curve.", "example": 2}
    )
    epoch = List(
        Float(),
        metadata={
            "description": "Ascending; with fractions if the trainer wrote them.",
            "example": [1, 2],
        },
    )
    metrics = Dict(
        keys=String(),
        values=List(Float(allow_none=True)),
        metadata={
            "description": "By metric, a value for each epoch; null if none was written, and for "
            "NaN and infinity. The metrics are the first "
            f"{MAX_METRICS} names of numbers in the order of the file.",
            "example": {"loss": [0.5, 0.25], "val_loss": [0.5, None]},
        },
    )
    elapsed = List(
        Float(),
        metadata={
            "description": "Present if the trainer writes the metric `seconds`: for each epoch, "
            "the seconds of training until its end. Epochs that were not returned count too.",
            "example": [1.5, 3.0],
        },
    )
    written_at = DateTime(
        metadata={"description": "Present if there is a file: when it was last written to."}
    )
    left_out = List(
        String(),
        metadata={
            "description": "Present if the trainer wrote more numbers than the "
            f"{MAX_METRICS} metrics: the names of the others, at most {MAX_LEFT_OUT}.",
            "example": ["grad_norm"],
        },
    )
    complete = Boolean(
        metadata={
            "description": "Present and false if the file is too long for one request: the same "
            "request then returns more of it.",
            "example": False,
        }
    )


class ResourcesIn(StrictSchema):
    """Of which attempt."""

    attempt = WholeNumber(
        validate=Range(min=1),
        metadata={"description": "The number of the attempt; the current one by default."},
    )


class ResourcesOut(Schema):
    """What an attempt used of the machine that it trained on, sample by sample."""

    experiment_id = String(metadata={"example": "run-1"})
    attempt = Integer(metadata={"example": 1})
    elapsed = List(
        Float(),
        metadata={
            "description": "The seconds from the start of the attempt to each sample, ascending. "
            "Samples of a long training stand for more time each, with the highest values.",
            "example": [5.0, 10.0],
        },
    )
    resources = Dict(
        keys=String(validate=OneOf(Usage._fields)),
        values=List(Float(allow_none=True)),
        metadata={
            "description": "For each sample: `cpu`, the processors that were kept busy; `memory`, "
            "bytes; `gpu`, the GPUs that were kept busy; `gpu_memory`, bytes. What was never "
            "measured is left out; null if it was not measured at that time.",
            "example": {"cpu": [0.97, 1.98], "memory": [310_000_000, 412_876_800]},
        },
    )


class FilesIn(StrictSchema):
    """What to return of each file."""

    sha256 = Boolean(
        load_default=False,
        metadata={"description": "Compute the digests of the files, up to 1 GiB in total."},
    )


class FileOut(Schema):
    """A file."""

    path = String(metadata={"example": "logs/1.log"})
    size = Integer(metadata={"description": "Bytes.", "example": 1234})
    modified = DateTime()
    sha256 = String(
        allow_none=True,
        metadata={"description": "Present if requested; null beyond the first GiB."},
    )


class FilesOut(Schema):
    """The files in the output folder of an experiment."""

    experiment_id = String(metadata={"example": "run-1"})
    files = List(Nested(FileOut), metadata={"description": "Sorted by path."})
    complete = Boolean(
        metadata={
            "description": f"False if the folder holds more than {MAX_FILES:,} files, the most "
            "that are listed."
        }
    )


def file_out(entry: Entry) -> dict[str, Any]:
    """Return a file with the members of FileOut, but no digest."""
    return {"path": entry.path, "size": entry.size, "modified": to_text(entry.modified)}


class CompareIn(StrictSchema):
    """Which experiments to compare."""

    ids = Texts(
        load_default=[], metadata={"description": "Separated by commas.", "example": ["a,b"]}
    )
    id = List(
        Text(),
        load_default=[],
        metadata={"description": "One id, which may contain commas; may be repeated."},
    )
    max_points = WholeNumber(
        load_default=500,
        validate=Range(min=2, max=MAX_POINTS),
        metadata={
            "description": "The approximate number of epochs to return; see the metrics of an "
            "experiment."
        },
    )

    @validates_schema
    def check_number(self, data: dict[str, Any], **_options: Any) -> None:
        """Raise a ValidationError unless 1 to MAX_COMPARED different experiments are named."""
        number = len({*filter(None, data["ids"]), *data["id"]})
        if not 1 <= number <= MAX_COMPARED:
            raise ValidationError(
                f"must name 1 to {MAX_COMPARED} experiments; you sent {number}.", "ids"
            )


class ExtremeOut(Schema):
    """A value of a metric, and its epoch."""

    epoch = Float(metadata={"example": 18})
    value = Float(metadata={"example": 0.031})


class ComparedOut(ExperimentOut):
    """An experiment with its results."""

    points = Integer(metadata={"description": "The number of epochs of the whole curve."})
    final = Dict(
        keys=String(),
        values=Nested(ExtremeOut),
        metadata={"description": "By metric, its last value."},
    )
    lowest = Dict(
        keys=String(),
        values=Nested(ExtremeOut),
        metadata={"description": "By metric, its lowest value."},
    )
    highest = Dict(
        keys=String(),
        values=Nested(ExtremeOut),
        metadata={"description": "By metric, its highest value."},
    )
    warnings = warnings_field()
    metrics = Dict(
        keys=String(),
        values=List(Float(allow_none=True)),
        metadata={"description": "By metric, a value for each of the common epochs, or null."},
    )
    left_out = List(
        String(),
        metadata={"description": "As in the metrics of an experiment.", "example": ["grad_norm"]},
    )
    complete = Boolean(
        metadata={"description": "As in the metrics of an experiment.", "example": False}
    )


class ComparisonOut(Schema):
    """Experiments side by side."""

    epoch = List(Float(), metadata={"description": "Common to all curves, ascending."})
    experiments = List(
        Nested(ComparedOut), metadata={"description": "In the order of the request."}
    )
