"""How the dashboard shows a sweep: its space in words, and a chart. Pure functions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.domain.numbers import MAX_MAGNITUDE, is_number
from backend.sweeps.spaces import Choices, Dimension
from backend.web.views.presentation import number

WIDTH, HEIGHT, MARGIN = 640, 200, 8
MAX_DOTS = 500


@dataclass(frozen=True)
class BestChart:
    """A chart of WIDTH by HEIGHT units.

    Attributes:
        dots: the place of each trial with a value, and what it is, in words.
        line: the best value so far, as `points` of an SVG polyline with steps.
        low, high: the values at the bottom and at the top, in words.
    """

    dots: Sequence[tuple[float, float, str]]
    line: str
    low: str
    high: str


def dimension_text(dimension: Dimension) -> str:
    """Return what a parameter may be, in words: 0.0001 to 0.1, by orders of magnitude."""
    if isinstance(dimension, Choices):
        return ", ".join(str(value) for value in dimension.values)
    text = f"{number(dimension.low)} to {number(dimension.high)}"
    if dimension.step is not None:
        return f"{text}, in steps of {number(dimension.step)}"
    return f"{text}, by orders of magnitude" if dimension.log else text


def best_chart(points: Sequence[Mapping[str, Any]], planned: int) -> BestChart | None:
    """Return the chart of a sweep; None before two trials have a value.

    The vertical axis is logarithmic if all values are positive.

    Args:
        points: `number`, `value` and `best` of each trial, in the order of numbers.
        planned: how many trials the sweep may have.
    """
    known = [one for one in points if is_number(one["value"], -MAX_MAGNITUDE, MAX_MAGNITUDE)]
    known = known[-MAX_DOTS:]
    if len(known) < 2:
        return None
    is_log = all(one["value"] > 0 for one in known)

    def scaled(value: float) -> float:
        return float(math.log(value) if is_log else value)

    values = [float(one["value"]) for one in known]
    low, high = min(values), max(values)
    width = (scaled(high) - scaled(low)) or 1.0
    first, last = int(known[0]["number"]), max(planned, int(known[-1]["number"]))

    def x_of(trial: float) -> float:
        return round(MARGIN + (WIDTH - 2 * MARGIN) * (trial - first) / max(last - first, 1), 1)

    def y_of(value: float) -> float:
        return round(MARGIN + (HEIGHT - 2 * MARGIN) * (scaled(high) - scaled(value)) / width, 1)

    corners, before = [], None
    for one in known:
        x, y = x_of(one["number"]), y_of(min(max(one["best"], low), high))
        if before is not None:
            corners.append(f"{x},{before}")
        corners.append(f"{x},{y}")
        before = y
    return BestChart(
        dots=[
            (x_of(one["number"]), y_of(one["value"]), f"{one['number']}: {number(one['value'])}")
            for one in known
        ],
        line=" ".join(corners),
        low=number(low),
        high=number(high),
    )
