"""The filter language of lists: one comparison, such as `metrics.val_loss.min<0.1`. Pure."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from backend.domain.execution.usage import PEAKS
from backend.domain.identifiers import canonical
from backend.domain.metric_summary import FIGURES
from backend.domain.parameter import NAME, read_number
from backend.domain.status import Status
from backend.domain.timestamps import TIMES

OPERATORS = ("<=", ">=", "!=", "<", ">", "=")  # the longer ones first
CONTRACT = ("learning_rate", "epoch")  # parameters of every model, each with a column of its own
NUMBERS = (*CONTRACT, "attempt", "trial", *PEAKS)
MOMENTS = ("created_at", "updated_at", "started_at", "finished_at")
TEXTS = ("experiment_id", "model", "dataset", "size", "status", "reason", "job", "by", "sweep_id")
MAX_CHARACTERS = 300

_OPERATOR = re.compile("|".join(OPERATORS))
_METRIC = re.compile(rf"metrics\.(.+)\.({'|'.join(FIGURES)})", re.DOTALL)
# Followed by a name and an operator, because a text may contain the word.
_AND = re.compile(r"\s+and\s+(?=(?:[a-z][a-z0-9_.]*|metrics\..+?\.[a-z]+)\s*[<>=!])")
_PARAMETER = re.compile(rf"parameters\.({NAME.pattern})", re.ASCII)
_FIELDS = ", ".join([*NUMBERS, *MOMENTS, *TEXTS])

Value = float | datetime | str | None


class ConditionError(ValueError):
    """A comparison cannot be read; the message is one sentence that says where and why."""


@dataclass(frozen=True)
class Condition:
    """One comparison of a field with a value.

    Attributes:
        field: a column of the experiments, `metrics.NAME.FIGURE` or `parameters.NAME`.
        operator: one of OPERATORS.
        value: of the field's type; None is an empty text, which only `=` and `!=` compare. With
            them, the value of a parameter is text, which may be that of a number.
    """

    field: str
    operator: str
    value: Value


def metric_of(field: str) -> tuple[str, str] | None:
    """Return the name and the figure of a field `metrics.NAME.FIGURE`; None of another field."""
    match = _METRIC.fullmatch(field)
    return (match[1], match[2]) if match else None


def parameter_of(field: str) -> str | None:
    """Return the name in a field `parameters.NAME`; None of another field."""
    match = _PARAMETER.fullmatch(field)
    return match[1] if match else None


def full_name(field: str) -> str:
    """Return the field that a name means: one that is no other field's is a parameter's."""
    known = (*NUMBERS, *MOMENTS, *TEXTS)
    name = parameter_of(field) or field
    if name in CONTRACT or field in known or not NAME.fullmatch(name):
        return name if name in CONTRACT else field
    return f"parameters.{name}"


def unknown_name(name: str) -> str:
    """Return the sentence about a name that is neither a field nor a parameter."""
    return (
        f"has an unknown name at character 1, {name[:60]!r}: compare {_FIELDS}, a parameter of a "
        "model (GET /models) or metrics.NAME.last, .min or .max."
    )


def parse_all(text: str) -> list[Condition]:
    """Return the comparisons of a text that are joined by ` and `; none of an empty one.

    Raises:
        ConditionError: one of them cannot be read.
    """
    return [parse(part) for part in _AND.split(text)] if text.strip() else []


def parse(text: str) -> Condition:
    """Return the comparison that `text` describes: a field, an operator and a value.

    Raises:
        ConditionError: it cannot be read.
    """
    if len(text) > MAX_CHARACTERS or "\0" in text:
        raise ConditionError(f"must be at most {MAX_CHARACTERS} characters of text.")
    found = _OPERATOR.search(text)
    if found is None:
        raise ConditionError(
            f"must be a comparison such as learning_rate<0.01: {text[:60]!r} has none of "
            f"{' '.join(OPERATORS)}."
        )
    field, operator, rest = text[: found.start()].strip(), found[0], text[found.end() :].strip()
    field = full_name(field)
    if field in NUMBERS or metric_of(field):
        value: Value = _number(field, rest, found.end())
    elif field in MOMENTS:
        value = _time(field, rest, found.end())
    elif field in TEXTS:
        value = _text(field, operator, rest, found.end())
    elif parameter_of(field):
        is_equality = operator in ("=", "!=")
        value = canonical(rest) if is_equality else _number(field, rest, found.end())
    else:
        raise ConditionError(unknown_name(field))
    return Condition(field, operator, value)


def _number(field: str, text: str, place: int) -> float:
    value = read_number(text)
    if value is None:
        raise ConditionError(
            f"compares {field[:60]} with {text[:60]!r} at character {place + 1}: a number such as "
            "0.01 or 1e-3 must stand there."
        )
    return value


def _time(field: str, text: str, place: int) -> datetime:
    try:
        given = datetime.fromisoformat(text)
        value = given.astimezone(UTC) if given.tzinfo else given.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        value = None
    if value is None or not TIMES[0] <= value <= TIMES[1]:
        raise ConditionError(
            f"compares {field} with {text[:60]!r} at character {place + 1}: a time such as "
            "2024-02-29T12:00:00Z must stand there."
        )
    return value


def _text(field: str, operator: str, text: str, place: int) -> str | None:
    if operator not in ("=", "!="):
        raise ConditionError(
            f"has {operator} at character {place - len(operator) + 1}: {field} is text, which only "
            "= and != compare."
        )
    if field == "status" and text not in list(Status):
        raise ConditionError(f"compares status with {text[:60]!r}: use {', '.join(Status)}.")
    return canonical(text) or None
