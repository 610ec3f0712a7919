"""What a request for results and inputs may hold and what the answer holds; see schemas.py."""

from typing import Any

from apiflask import Schema
from apiflask.fields import (
    Boolean,
    DateTime,
    Dict,
    Float,
    Integer,
    List,
    Nested,
    String,
)
from apiflask.validators import OneOf, Range
from marshmallow import RAISE, ValidationError, validates_schema

from backend.domain.status import Status
from backend.domain.timestamps import to_text
from backend.files.metrics import MAX_SAFE_INTEGER
from backend.files.untrusted import Entry
from backend.web.schemas.experiments import ExperimentOut
from backend.web.schemas.fields import Texts

MAX_DIGEST_BYTES = 2**30  # of one listing are read for it
MAX_POINTS = 100_000  # of one answer


class CurveIn(Schema):
    """Which part of a curve, and how fine."""

    class Meta:
        """A parameter that is not known is named in the answer, not passed over."""

        unknown = RAISE

    error_messages = {"unknown": "is not known: there are since_epoch and max_points."}  # noqa: RUF012

    since_epoch = Integer(
        load_default=-1,
        validate=Range(min=-1, max=MAX_SAFE_INTEGER),
        metadata={"description": "Only later epochs; all of them unless given."},
    )
    max_points = Integer(
        load_default=MAX_POINTS,
        validate=Range(min=2, max=MAX_POINTS),
        metadata={
            "description": "At most so many epochs: first and last, and those in which a metric "
            "is lowest or highest in its part of the curve. Never fewer than two for each metric "
            "and two."
        },
    )


class CurveOut(Schema):
    """A run's metrics by epoch, column by column."""

    experiment_id = String(metadata={"example": "run-1"})
    attempt = Integer(metadata={"example": 1})
    status = String(validate=OneOf(list(Status)), metadata={"example": "running"})
    points = Integer(metadata={"description": "Epochs of the whole curve.", "example": 2})
    epoch = List(Integer(), metadata={"description": "Ascending.", "example": [1, 2]})
    metrics = Dict(
        keys=String(),
        values=List(Float(allow_none=True)),
        metadata={
            "description": "By name, a value for each epoch; null where none was written, and "
            "for NaN and infinity.",
            "example": {"loss": [0.5, 0.25], "val_loss": [0.5, None]},
        },
    )


class FilesIn(Schema):
    """What to say of each file."""

    class Meta:
        """A parameter that is not known is named in the answer, not passed over."""

        unknown = RAISE

    error_messages = {"unknown": "is not known: there is sha256."}  # noqa: RUF012  (as above)

    sha256 = Boolean(
        load_default=False,
        metadata={"description": "Read the files for their digests, the first GiB of them."},
    )


class FileOut(Schema):
    """A file."""

    path = String(metadata={"example": "logs/1.log"})
    size = Integer(metadata={"description": "Bytes.", "example": 1234})
    modified = DateTime()
    sha256 = String(
        allow_none=True,
        metadata={"description": "If it was asked for; null beyond the first GiB."},
    )


class FilesOut(Schema):
    """The files in a run's folder."""

    experiment_id = String(metadata={"example": "run-1"})
    files = List(Nested(FileOut), metadata={"description": "Sorted by path."})
    complete = Boolean(
        metadata={"description": "False if there are more than the 10,000 that are looked at."}
    )


def file_out(entry: Entry) -> dict[str, Any]:
    """Give a file as JSON has it."""
    return {"path": entry.path, "size": entry.size, "modified": to_text(entry.modified)}


MAX_COMPARED = 20


class CompareIn(Schema):
    """Which experiments to compare."""

    class Meta:
        """A parameter that is not known is named in the answer, not passed over."""

        unknown = RAISE

    error_messages = {"unknown": "is not known: there are ids, id and max_points."}  # noqa: RUF012

    @validates_schema
    def check_number(self, data: dict[str, Any], **_options: Any) -> None:
        """Take 1 to 20 different ones."""
        number = len({*filter(None, data["ids"]), *data["id"]})
        if not 1 <= number <= MAX_COMPARED:
            raise ValidationError(
                f"must name 1 to {MAX_COMPARED} experiments, these are {number}.", "ids"
            )

    ids = Texts(
        load_default=[], metadata={"description": "With commas between them.", "example": ["a,b"]}
    )
    id = List(
        String(),
        load_default=[],
        metadata={"description": "One, whatever it holds; may be repeated."},
    )
    max_points = Integer(
        load_default=500,
        validate=Range(min=2, max=MAX_POINTS),
        metadata={"description": "About so many epochs; see a run's metrics."},
    )


class ExtremeOut(Schema):
    """A metric where it is lowest or highest."""

    epoch = Integer(metadata={"example": 18})
    value = Float(metadata={"example": 0.031})


class ComparedOut(ExperimentOut):
    """An experiment, and what came of it."""

    points = Integer(metadata={"description": "Epochs of the whole curve."})
    final = Dict(
        keys=String(),
        values=Nested(ExtremeOut),
        metadata={"description": "By metric, its last value."},
    )
    lowest = Dict(keys=String(), values=Nested(ExtremeOut), metadata={"description": "By metric."})
    highest = Dict(keys=String(), values=Nested(ExtremeOut), metadata={"description": "By metric."})
    metrics = Dict(
        keys=String(),
        values=List(Float(allow_none=True)),
        metadata={"description": "By metric, a value for each of the common epochs, or null."},
    )


class ComparisonOut(Schema):
    """Experiments side by side."""

    epoch = List(Integer(), metadata={"description": "Common to all curves, ascending."})
    experiments = List(Nested(ComparedOut), metadata={"description": "As they were asked for."})
