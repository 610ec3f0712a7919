"""Fields that several schemas share, and what is wrong with a value in words."""

import math
import re
from datetime import UTC, datetime
from typing import Any

from apiflask.fields import (
    Field,
    Float,
    Integer,
    List,
    String,
)
from marshmallow import ValidationError

from backend.domain.identifiers import experiment_id_problem
from backend.domain.selection import Cursor
from backend.domain.status import Status
from backend.domain.timestamps import to_text

MAX_LEARNING_RATE = 10


MAX_EPOCH = 100_000


_WHOLE_NUMBER = re.compile(r"\s*\+?[0-9]{1,20}\s*", re.ASCII)


class LearningRate(Float):
    """A finite number above 0 and at most 10."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not 0 < number <= MAX_LEARNING_RATE:  # NaN compares false
            raise ValidationError(
                f"must be a number above 0 and at most {MAX_LEARNING_RATE}, such as 0.001; "
                f"you sent {shown_value(value)}."
            )
        return number


class Epoch(Integer):
    """A whole number from 1 to 100,000."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> int:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
            value, whole = int(value), True
        if not (whole and 1 <= value <= MAX_EPOCH):
            raise ValidationError(
                f"must be a whole number from 1 to {MAX_EPOCH}, such as 20; "
                f"you sent {shown_value(value)}."
            )
        return int(value)


class ExperimentId(String):
    """A text that a folder can be named."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError(f"must be a text, such as run-1; you sent {shown_value(value)}.")
        problem = experiment_id_problem(value)
        if problem:
            raise ValidationError(f"{problem}; you sent {shown_value(value)}.")
        return value


def shown_value(value: Any) -> str:
    """Show a value in a message: as it was sent, but on one line and not endless."""
    text = ascii(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


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


def cursor_text(cursor: Cursor) -> str:
    """Write a cursor as After reads it."""
    return f"{to_text(cursor.time)}~{cursor.id}"
