"""Parses `metrics.jsonl`, in which a trainer may write anything: what is invalid is skipped."""

import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeGuard

import orjson

from backend.domain.numbers import is_number

MAX_METRICS = 32  # of one experiment
MAX_NAME = 100  # characters of the name of a metric
MAX_LINE_BYTES = 64 * 1024
# The largest epoch that a row may have: Number.MAX_SAFE_INTEGER of JavaScript. How many epochs a
# client may ask for is another, much smaller number (`MAX_EPOCH` of the schemas).
MAX_SAFE_INTEGER = 2**53 - 1

Row = dict[str, Any]

# What Python's json module reads, and orjson does not: these numbers, and half a surrogate pair.
_ONLY_PYTHON = re.compile(rb"NaN|Infinity|[0-9]{19}|[eE][+]?[0-9]{3}|\\u[dD][89a-fA-F]")


def is_metric_name(name: str) -> bool:
    """Return whether `name` can be shown in an answer and on a page."""
    return len(name) <= MAX_NAME and name.isprintable()


def parse_rows(lines: Sequence[bytes]) -> list[Row]:
    """Return the lines that are JSON objects, parsed; others are skipped.

    So are lines longer than MAX_LINE_BYTES. Lines that cannot be objects are not even parsed: an
    exception for each would make a file of newlines take a minute.
    """
    objects = [
        line
        for line in lines
        if len(line) <= MAX_LINE_BYTES and line.lstrip()[:1] == b"{" and line.rstrip()[-1:] == b"}"
    ]
    return [value for value in _parse_together(objects) if isinstance(value, dict)]


def is_epoch(value: Any) -> TypeGuard[float]:
    """Return whether `value` can be the epoch of a row."""
    return is_number(value, 0, MAX_SAFE_INTEGER)


def finite_or_nan(values: list[Any]) -> list[float]:
    """Return finite numbers unchanged, and NaN for anything else."""
    try:
        if all(map(math.isfinite, values)):
            return values
    except (TypeError, OverflowError):
        pass
    return [_finite_or_nan(value) for value in values]


def _finite_or_nan(value: Any) -> float:
    try:
        return float(value) if math.isfinite(value) else math.nan
    except (TypeError, OverflowError):  # not a number, or an integer too large for a float
        return math.nan


def _parse_together(lines: Sequence[bytes]) -> list[Any]:
    """Return the value of each line, None for invalid JSON.

    Parsing several lines as one array saves 13 % of the first poll of 100,000 epochs
    (docs/performance.md, Curves).
    """
    try:
        values: list[Any] = orjson.loads(b"[" + b",".join(lines) + b"]")
    except ValueError:  # a line is invalid, or contains NaN
        values = []
    # With another number of values, a line had several values, or a value spanned several lines. A
    # trainer that writes equally many of both does so on purpose, and only its own curve is wrong.
    return values if len(values) == len(lines) else [_parse(line) for line in lines]


def _parse(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except ValueError:
        return _parse_with_nan(line)


def _parse_with_nan(line: bytes) -> Any:
    """Return the value of a line in which Python's json module may have written NaN or Infinity.

    It may also hold an integer that only that module can read.
    """
    if not _ONLY_PYTHON.search(line):
        return None
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def presentable(value: Any) -> float | int | str | bool | None:
    """Return a finite number or a printable text unchanged, and None for anything else."""
    if isinstance(value, str):
        return value if value.isprintable() else None
    with suppress(TypeError, OverflowError):
        return value if math.isfinite(value) else None
    return None
