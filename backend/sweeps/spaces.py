"""The search space of a sweep: which values each parameter may have. Pure.

A parameter is a range (`0.0001..0.1 log`, `16..128 step 16`), a list of choices, or one value. JSON
writes a range as `{"low": 0.0001, "high": 0.1, "log": true}`. Which values are allowed is decided
by the model's entry in the catalogue.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from backend.domain.catalogue import Entry, InvalidParameters
from backend.domain.numbers import is_number
from backend.domain.parameter import (
    InvalidValue,
    Parameter,
    Value,
    as_text,
    read_number,
    shown_value,
)
from backend.domain.sweeps.sweep import MAX_TRIALS

MAX_CHOICES = 100
RANGE_KEYS = ("low", "high", "log", "step")
PREFIX = "parameter."  # of a parameter that has the name of a field of the sweep

_NUMBER = r"[+-]?(?:[0-9]+\.?(?!\.)|[0-9]*\.[0-9]+|[0-9]+)(?:[eE][+-]?[0-9]{1,4})?"
_RANGE = re.compile(
    rf"\s*({_NUMBER})\s*\.\.\s*({_NUMBER})\s*(log|linear)?\s*(?:step\s+({_NUMBER}))?\s*", re.ASCII
)


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included.

    Attributes:
        log: whether orders of magnitude are equally likely, instead of numbers.
        step: the distance between neighbours; None for any number, or any whole number.
        is_integer: whether only whole numbers are meant.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    is_integer: bool = False

    @property
    def count(self) -> int | None:
        """The number of values; None if there is no limit to it."""
        if self.step is None and not self.is_integer:
            return None
        step = Decimal(repr(self.step)) if self.step else Decimal(1)
        return int((Decimal(repr(self.high)) - Decimal(repr(self.low))) / step) + 1

    def value(self, index: int) -> Value:
        """Return the value with this index, from 0; the range has a count."""
        step = Decimal(repr(self.step)) if self.step else Decimal(1)
        exact = Decimal(repr(self.low)) + index * step
        return int(exact) if self.is_integer else float(exact)

    def at(self, position: float) -> Value:
        """Return the value at a position from 0 to 1 (excluded); equal lengths are as likely."""
        if self.log:
            margin = 0.5 if self.is_integer else 0.0
            low, high = math.log(self.low - margin), math.log(self.high + margin)
            number = math.exp(low + position * (high - low))
            number = round(number) if self.is_integer else number
            limited = min(max(number, self.low), self.high)
            return int(limited) if self.is_integer else limited
        if count := self.count:
            return self.value(min(int(position * count), count - 1))
        return min(max(self.low + position * (self.high - self.low), self.low), self.high)

    def to_json(self) -> dict[str, Any]:
        """Return the range as `dimension_from_json` reads it."""
        step = {} if self.step is None else {"step": self.step}
        return {"low": self.low, "high": self.high, "log": self.log, **step}


@dataclass(frozen=True)
class Choices:
    """One of several values."""

    values: tuple[Value, ...]

    @property
    def count(self) -> int:
        """The number of values."""
        return len(self.values)

    def value(self, index: int) -> Value:
        """Return the value with this index, from 0."""
        return self.values[index]

    def at(self, position: float) -> Value:
        """Return the value at a position from 0 to 1 (excluded)."""
        return self.values[min(int(position * len(self.values)), len(self.values) - 1)]

    def to_json(self) -> list[Value]:
        """Return the values as `dimension_from_json` reads them."""
        return list(self.values)


Dimension = Range | Choices
Space = Mapping[str, Dimension]  # by parameter; at least one


def read_space(
    entry: Entry, sent: Mapping[str, Any]
) -> tuple[dict[str, Dimension], dict[str, Any]]:
    """Return what varies and what is fixed, from the fields of a form or of JSON.

    Args:
        entry: of the model.
        sent: text, a number, a boolean, a list of these or a range, by the name of a parameter.

    Raises:
        InvalidParameters: fields are unknown, missing or not allowed; it names all of them.
    """
    space, single, problems = dict[str, Dimension](), dict[str, Any](), dict[str, str]()
    for name, value in sent.items():
        parameter = entry.parameters.get(name)
        try:
            found = read_dimension(parameter, value) if parameter else value
        except InvalidValue as error:
            problems[name] = str(error)
            continue
        if isinstance(found, Range | Choices):
            space[name] = found
        else:
            single[name] = found
    example = {name: _longest(dimension) for name, dimension in space.items()}
    try:
        values = entry.parse(single | example)
    except InvalidParameters as error:
        others = {name: text for name, text in error.problems.items() if name not in problems}
        raise InvalidParameters(problems | others) from None
    if problems:
        raise InvalidParameters(problems)
    return space, {name: value for name, value in values.items() if name not in space}


def read_dimension(parameter: Parameter, value: Any) -> Dimension | Value:
    """Return what a parameter may be; a value if it is only one.

    Raises:
        InvalidValue: it is not allowed.
    """
    if isinstance(value, list):
        return _choices(parameter, value)
    if isinstance(value, Mapping):
        return _range_of_object(parameter, value)
    is_text = isinstance(value, str)
    match = _RANGE.fullmatch(value) if is_text and _is_numeric(parameter) else None
    if match is None:
        return _single(parameter, value)
    low, high, scale, step = match.groups()
    if scale == "log" and step:
        raise InvalidValue("has both log and step: send one of them.")
    log = scale == "log" if scale else parameter.log and not step
    return _range(parameter, low, high, log=log, step=step)


def dimension_from_json(value: Any) -> Dimension:
    """Return the dimension that `to_json` wrote; whole numbers mean a range of whole numbers.

    Raises:
        ValueError: it is not one.
    """
    if isinstance(value, list) and 2 <= len(value) <= MAX_CHOICES:
        if all(isinstance(one, int | float | str) for one in value):
            return Choices(tuple(value))
    elif isinstance(value, Mapping) and set(value) <= set(RANGE_KEYS):
        low, high, step = value.get("low"), value.get("high"), value.get("step")
        log = value.get("log", False)
        is_integer = type(low) is int and type(high) is int
        if is_number(low) and is_number(high) and low < high and isinstance(log, bool):
            if step is None and (not log or low > 0):
                return Range(low, high, log, None, is_integer)
            if is_number(step, 0) and 0 < step <= high - low and not log:
                return Range(low, high, log, step, is_integer)
    raise ValueError("it is neither a range nor a list of values")


def _is_numeric(parameter: Parameter) -> bool:
    return parameter.type in ("integer", "number")


def _single(parameter: Parameter, value: Any) -> Value:
    """Return a single value; who is refused may have meant several, as other tools write them."""
    try:
        return parameter.parse(value)
    except InvalidValue:
        sent = shown_value(value)
        if _is_numeric(parameter) and not parameter.enum:
            raise InvalidValue(
                f"must be {parameter.allowed}; you sent {sent}. To vary it, send a range such as "
                "1..9, or the field once for each value."
            ) from None
        raise InvalidValue(
            f"must be {parameter.allowed}; you sent {sent}. To vary it, send the field once for "
            "each value."
        ) from None


def _choices(parameter: Parameter, values: list[Any]) -> Dimension | Value:
    if not 1 <= len(values) <= MAX_CHOICES:
        raise InvalidValue(f"must be a list of 1 to {MAX_CHOICES} values.")
    if len(values) == 1:
        return read_dimension(parameter, values[0])
    if any(isinstance(value, list | Mapping) for value in values):
        raise InvalidValue("must be a list of plain values.")
    for value in values:
        if isinstance(value, str) and _is_numeric(parameter) and _RANGE.fullmatch(value):
            raise InvalidValue(
                f"holds the range {shown_value(value)} beside other values: send one range alone, "
                "or plain values."
            )
    parsed = tuple(_single(parameter, value) for value in values)
    for value in parsed:
        if parsed.count(value) > 1:
            raise InvalidValue(f"holds {as_text(value)} more than once.")
    return Choices(parsed)


def _range_of_object(parameter: Parameter, value: Mapping[str, Any]) -> Dimension | Value:
    unknown = [key for key in value if key not in RANGE_KEYS]
    missing = [key for key in RANGE_KEYS[:2] if key not in value]
    if unknown or missing:
        raise InvalidValue(
            'must be a range such as {"low": 1, "high": 9}, with log or step if wanted; '
            f"you sent {shown_value(dict(value))}."
        )
    log, step = value.get("log"), value.get("step")
    if log is not None and not isinstance(log, bool):
        raise InvalidValue("has a log that is neither true nor false.")
    if log and step is not None:
        raise InvalidValue("has both log and step: send one of them.")
    if log is None:
        log = parameter.log and step is None
    return _range(parameter, value["low"], value["high"], log=log, step=step)


def _range(parameter: Parameter, low: Any, high: Any, *, log: bool, step: Any) -> Dimension | Value:
    if not _is_numeric(parameter):
        raise InvalidValue("cannot be a range: send one value, or a list of values.")
    if parameter.enum:
        raise InvalidValue(f"cannot be a range: send some of its values, {parameter.allowed}.")
    ends = []
    for value in (low, high):
        try:
            ends.append(parameter.parse(value))
        except InvalidValue as error:
            raise InvalidValue(f"has an end of its range that {error}") from None
    first, last = (float(end) for end in ends)
    if first > last:
        raise InvalidValue(f"has a range whose low end {as_text(ends[0])} is above its high end.")
    if log and first <= 0:
        raise InvalidValue("has a range by orders of magnitude (log) that does not begin above 0.")
    is_integer = parameter.type == "integer"
    width = None if step is None else _step(step, first, last, is_integer=is_integer)
    if first == last:
        return ends[0]
    if is_integer:
        return Range(int(first), int(last), log, None if width is None else int(width), True)
    return Range(first, last, log, width)


def _step(step: Any, low: float, high: float, *, is_integer: bool) -> float:
    width = read_number(step)
    if width is None or not 0 < width <= max(high - low, 0) or (is_integer and width % 1):
        kind = "a whole number" if is_integer else "a number"
        raise InvalidValue(
            f"has a step that must be {kind} above 0 and at most the width of the range; "
            f"you sent {shown_value(step)}."
        )
    if (high - low) / width >= 1e6:
        raise InvalidValue("has a step so small that the range has a million values or more.")
    return width


def _longest(dimension: Dimension) -> Value:
    """Return an allowed value, the one with the longest text among choices."""
    if isinstance(dimension, Choices):
        return max(dimension.values, key=lambda value: len(as_text(value)))
    return int(dimension.low) if dimension.is_integer else dimension.low


def grid_size(space: Space) -> int:
    """Return the number of points of the grid.

    Raises:
        InvalidParameters: a range has no step, or the grid has more than MAX_TRIALS points.
    """
    counts = {name: dimension.count for name, dimension in space.items()}
    endless = [name for name, count in counts.items() if count is None]
    if endless:
        raise InvalidParameters(
            dict.fromkeys(
                endless,
                "is a range without a step, of which a grid cannot try every value: add a step "
                "(0.1..0.9 step 0.2), or send a list of values.",
            )
        )
    size = math.prod(count for count in counts.values() if count)
    if size > MAX_TRIALS:
        raise InvalidParameters(
            {"method": f"cannot be grid: the grid has {size} points, at most {MAX_TRIALS} fit."}
        )
    return size
