"""What a request for several experiments may hold and what the answer holds; see schemas.py."""

import re
from datetime import UTC, datetime
from typing import Any

from apiflask import Schema
from apiflask.fields import AwareDateTime, Dict, Field, Float, Integer, List, Nested, String
from apiflask.validators import Length, OneOf, Range
from marshmallow import RAISE, ValidationError, validates_schema

from backend.identifiers import MAX_ID_CHARACTERS
from backend.lifecycle import Status
from backend.result_schemas import MAX_POINTS
from backend.schemas import ExperimentOut
from backend.store.pages import SORTS, Cursor
from backend.timestamps import to_text

MAX_PAGE = 1000
MAX_COMPARED = 20
TIMES = (datetime(1970, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC))
_CURSOR = re.compile(r"([0-9TZ:.-]{27})~([1-9][0-9]{0,18})", re.ASCII)


class Texts(List[str]):
    """Texts, each sent as a parameter of its own, or several in one with commas between them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(String(), **options)

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> list[str | None]:
        return list(dict.fromkeys(text for part in value for text in part.split(",")))


class Statuses(Texts):
    """Statuses."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> list[str | None]:
        texts = super()._deserialize(value)
        if unknown := [text for text in texts if text not in list(Status)]:
            raise ValidationError(f"Must be one of {', '.join(Status)}, not {unknown[0]!a}.")
        return texts


class After(Field[Cursor]):
    """Where a page ended."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> Cursor:
        found = _CURSOR.fullmatch(value)
        try:
            time = datetime.fromisoformat(found[1]) if found else None
        except ValueError:
            time = None
        if found is None or time is None or not TIMES[0] <= time <= TIMES[1]:
            raise ValidationError("must come from the Link header of the page before.")
        return Cursor(time, int(found[2]))


class PageIn(Schema):
    """Which experiments to list."""

    class Meta:
        """A parameter that is not known is named in the answer, not passed over."""

        unknown = RAISE

    error_messages = {  # noqa: RUF012  (marshmallow's own way to say it)
        "unknown": "is not known: there are status, model, q, created_after, sort, limit and after."
    }

    status = Statuses(
        load_default=[],
        metadata={"description": "Only these; several with commas, or each by itself."},
    )
    model = String(metadata={"description": "Only experiments of this model."})
    q = String(
        validate=Length(min=1, max=MAX_ID_CHARACTERS),
        metadata={"description": "Only ids that hold this text."},
    )
    created_after = AwareDateTime(
        format="iso",
        default_timezone=UTC,
        validate=Range(*TIMES),
        error_messages={"invalid": "must be a time such as 2024-02-29T12:00:00Z (%2B for a +)."},
        metadata={"description": "Only those created later; UTC unless it says otherwise."},
    )
    sort = String(
        load_default=SORTS[0],
        validate=OneOf(SORTS),
        metadata={"description": "The order; with a `-` the latest first."},
    )
    limit = Integer(
        load_default=100,
        validate=Range(min=1, max=MAX_PAGE),
        metadata={"description": "How many at the most."},
    )
    after = After(
        metadata={"type": "string", "description": "From the Link header of the page before."}
    )


class CompareIn(Schema):
    """Which experiments to compare."""

    class Meta:
        """A parameter that is not known is named in the answer, not passed over."""

        unknown = RAISE

    error_messages = {  # noqa: RUF012  (as above)
        "unknown": "is not known: there are ids, id and max_points."
    }

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


def cursor_text(cursor: Cursor) -> str:
    """Write a cursor as After reads it."""
    return f"{to_text(cursor.time)}~{cursor.id}"
