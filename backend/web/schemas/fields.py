"""Fields that several schemas share. Their messages say what is wrong and what to send."""

import re
from datetime import datetime
from typing import Any

from apiflask.fields import Field, Float, Integer, List, String
from marshmallow import ValidationError

from backend.domain.annotations.rules import note_problem, plain_lines, tag_problem
from backend.domain.conditions import (
    ConditionError,
    full_name,
    metric_of,
    parameter_of,
    parse_all,
    unknown_name,
)
from backend.domain.data_sets.pins import MAX_CHOICE, choice_text, chosen_names
from backend.domain.identifiers import canonical, new_id_problem
from backend.domain.parameter import NUMBER, read_number, shown_value
from backend.domain.selection import NUMBER_SORTS, SORTS, Cursor
from backend.domain.status import Status
from backend.domain.timestamps import TIMES, to_text
from backend.web.current import services

MAX_ROW_ID = 2**63 - 1  # what the databases' integers hold
MAX_SORT = 300  # characters
FOREIGN_CURSOR = "must come from the Link header of the previous page."

_WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,20}\s*", re.ASCII)
_CURSOR = re.compile(r"([0-9TZ:.-]{27}|[0-9.e+-]{1,26})~([1-9][0-9]{0,18})", re.ASCII)


class Number(Float):
    """A finite number as JSON writes it, in the parameters of a query."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> float:
        number = read_number(value)
        if number is None:
            raise ValidationError(f"must be a number; you sent {shown_value(value)}.")
        return number


class WholeNumber(Integer):
    """A whole number in the digits 0 to 9, as the parameters of a query hold it."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **options: Any) -> int:
        if isinstance(value, str):
            is_number = _WHOLE_NUMBER.fullmatch(value) is not None
        else:
            is_number = isinstance(value, int | float) and value % 1 == 0  # not NaN, nor infinite
        if isinstance(value, bool) or not is_number or abs(int(value)) > MAX_ROW_ID:
            raise ValidationError(f"must be a whole number; you sent {shown_value(value)}.")
        return super()._deserialize(value, attr, data, **options)


class Text(String):
    """Text of a query. It must not contain NUL, at which SQLite ends a text."""

    def _deserialize(self, value: Any, *args: Any, **options: Any) -> Any:
        text = super()._deserialize(value, *args, **options)
        if text:
            _check_text(text)
        return text


class ExperimentId(String):
    """Text that can be the name of a folder, in the form NFC."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError(f"must be text, such as run-1; you sent {shown_value(value)}.")
        experiment_id = canonical(value)
        problem = new_id_problem(experiment_id)
        if problem:
            raise ValidationError(f"{problem}; you sent {shown_value(value)}.")
        return experiment_id


def _check_text(text: str) -> None:
    """Raise a ValidationError if a text of a query holds NUL."""
    if "\0" in text:
        raise ValidationError(f"must not contain NUL (%00); you sent {shown_value(text)}.")


class Choice(Field[Any]):
    """Data sets: the name of one, a list of several, `*` or nothing for all; as they are stored."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> str | None:
        if value in (None, ""):
            return None
        names = value if isinstance(value, list) else [value]
        if names == [value] and isinstance(value, str):
            names = chosen_names(value)  # as the form of the dashboard sends several
        if not names or not all(isinstance(name, str) for name in names):
            raise ValidationError(
                "must be the name of a file in the input folder, a list of several, or * for every "
                "file."
            )
        for name in names:
            _check_text(name)
        choice = choice_text(map(canonical, names))
        if choice and len(names) > 1 and len(choice) > MAX_CHOICE:
            raise ValidationError(
                f"names too many files: their names may have {MAX_CHOICE} characters together. "
                "Send * for every file of the input folder."
            )
        return choice


class Texts(List[str]):
    """Texts, sent as repeated parameters, separated by commas, or both. Duplicates are dropped."""

    def __init__(self, **options: Any) -> None:
        super().__init__(Text(), **options)

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> list[str | None]:
        for part in value:
            _check_text(part)
        return list(dict.fromkeys(text for part in value for text in part.split(",")))


class Statuses(Texts):
    """Statuses of experiments, sent as Texts are."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> list[str | None]:
        texts = super()._deserialize(value)
        for text in texts:
            if text not in list(Status):
                raise ValidationError(
                    f"must be one of {', '.join(Status)}, not {shown_value(text)}."
                )
        return texts


class After(Field[Cursor]):
    """The cursor at the end of the previous page, as `cursor_text` writes it."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> Cursor:
        match = _CURSOR.fullmatch(value)
        last = _last_value(match[1]) if match else None
        if match is None or last is None or int(match[2]) > MAX_ROW_ID:
            raise ValidationError(FOREIGN_CURSOR)
        return Cursor(last, int(match[2]))


def cursor_text(cursor: Cursor) -> str:
    """Return a cursor as the text that `After` reads."""
    value = cursor.value
    return f"{to_text(value) if isinstance(value, datetime) else repr(value)}~{cursor.id}"


def _last_value(text: str) -> datetime | float | None:
    """Return the time or the number of a cursor; None if it is neither."""
    if NUMBER.fullmatch(text):
        return read_number(text)
    try:
        time = datetime.fromisoformat(text)
        return time if TIMES[0] <= time <= TIMES[1] else None
    except (ValueError, TypeError):  # TypeError: a time without its offset cannot be compared
        return None


class Sort(String):
    """An order of a list."""

    def _deserialize(self, value: Any, *args: Any, **options: Any) -> Any:
        text = super()._deserialize(value, *args, **options)
        if text in SORTS:
            return text
        sign = "-" if text.startswith("-") else ""
        name = full_name(text.removeprefix("-"))
        parameter = parameter_of(name)
        is_known = sign + name in NUMBER_SORTS or metric_of(name) is not None
        if parameter:
            is_known = not services.models.unknown_parameters([parameter])
        if not is_known or len(text) > MAX_SORT or "\0" in text:
            raise ValidationError(
                f"must be one of {', '.join((*SORTS, *NUMBER_SORTS))}, another parameter of a "
                f"model, or metrics.NAME.last, .min or .max; you sent {shown_value(text)}."
            )
        if parameter and services.models.is_text(parameter):
            raise ValidationError(f"must be a number: the parameter {parameter} is text.")
        return sign + name


class Where(List[Any]):
    """Comparisons, sent as repeated parameters, joined by ` and `, or both."""

    def __init__(self, **options: Any) -> None:
        super().__init__(Text(), **options)

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> list[Any]:
        try:
            found = [condition for text in value for condition in parse_all(text)]
        except ConditionError as error:
            raise ValidationError(str(error)) from error
        names = [name for each in found if (name := parameter_of(each.field))]
        for name in services.models.unknown_parameters(names) if names else ():
            raise ValidationError(unknown_name(name))
        return found


class Tag(String):
    """A tag, in the form NFC."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError(f"must be text, such as baseline; you sent {shown_value(value)}.")
        tag = canonical(value)
        if problem := tag_problem(tag):
            raise ValidationError(f"{problem}; you sent {shown_value(value)}.")
        return tag


class Tags(List[str]):
    """Tags: a list in JSON, or text with commas between them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(Tag(), **options)

    def _deserialize(self, value: Any, *args: Any, **options: Any) -> Any:
        if isinstance(value, str):
            value = [text for part in value.split(",") if (text := part.strip())]
        if not isinstance(value, list):
            raise ValidationError("must be a list of tags, or text with commas between them.")
        try:
            return super()._deserialize(value, *args, **options)
        except ValidationError as error:
            problems: Any = error.messages  # by the index of the tag
            first = next(iter(problems.values())) if isinstance(problems, dict) else problems
            raise ValidationError(first) from error


class Note(String):
    """A note in Markdown."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError(f"must be text; you sent {shown_value(value)}.")
        note = plain_lines(value)
        if problem := note_problem(note):
            raise ValidationError(f"{problem}.")
        return note
