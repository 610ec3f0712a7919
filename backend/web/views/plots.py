"""Pictures of many experiments: scatter, parallel coordinates and groups. Pure functions.

The coordinates are those of an SVG of WIDTH by HEIGHT units.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from backend.domain.catalogue import Goal
from backend.domain.numbers import MAX_MAGNITUDE, is_number
from backend.web.views.presentation import number

WIDTH, HEIGHT = 960, 360
LEFT, RIGHT, TOP, BOTTOM = 84, 24, 30, 36  # margins
RANKS = 5  # colours, from the best to the worst
MAX_TICKS = 6
MAX_AXES = 10
MAX_GROUPS = 200
MIN_STEP = 1e-300  # smaller ones lose their digits
LOG_RATIO = 50  # an axis whose values differ by more is logarithmic, if all are positive
NO_RATIOS: Mapping[str, float] = MappingProxyType({})


class Row(NamedTuple):
    """One experiment of a picture.

    Attributes:
        values: by the name of a column: numbers, texts or None.
        is_faint: whether it is drawn faintly.
    """

    name: str
    url: str
    values: Mapping[str, Any]
    is_faint: bool = False


@dataclass(frozen=True)
class Axis:
    """Where the values of a column are on an axis.

    Attributes:
        choices: the values, if they are texts; otherwise they are numbers from `low` to `high`.
        is_log: whether equal factors have equal lengths.
    """

    column: str
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    choices: tuple[str, ...] = ()

    def share(self, value: Any) -> float | None:
        """Return where a value is, from 0 to 1; None if it has no place."""
        if self.choices:
            text = None if value is None else str(value)
            if text not in self.choices:
                return None
            return (self.choices.index(text) + 0.5) / len(self.choices)
        if not is_plottable(value) or (self.is_log and value <= 0):
            return None
        low, high, place = self.low, self.high, float(value)
        if self.is_log:
            low, high, place = math.log(low), math.log(high), math.log(place)
        return (place - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Return the places (0 to 1) and the labels of some values."""
        if self.choices:
            shown = self.choices[:: max(1, math.ceil(len(self.choices) / (2 * MAX_TICKS)))]
            return [(self.share(choice) or 0.0, _short(choice)) for choice in shown]
        values = _log_steps(self.low, self.high) if self.is_log else _steps(self.low, self.high)
        places = [(self.share(value), number(value)) for value in values]
        return [(place, label) for place, label in places if place is not None]


class Tick(NamedTuple):
    """A mark of an axis, and its label."""

    x: float
    y: float
    label: str


class Mark(NamedTuple):
    """An experiment in a picture.

    Attributes:
        points: of a polyline, or a single one.
        rank: 1 for the best to RANKS for the worst; 0 if it has no value to be ranked by.
        title: what is shown of it.
        is_faint: whether it is drawn faintly.
    """

    name: str
    url: str
    points: tuple[tuple[float, float], ...]
    rank: int
    title: str
    is_faint: bool = False

    @property
    def style(self) -> str:
        """The class of its colour."""
        return f"rank-{self.rank} faint" if self.is_faint else f"rank-{self.rank}"

    @property
    def line(self) -> str:
        """The points of an SVG polyline."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


class Layer(NamedTuple):
    """Marks of one style, as one path: a browser draws it in a tenth of the time of as many links.

    Attributes:
        path: of an SVG; a dot is a line without length.
        names: of the experiments, in the order of the path.
    """

    style: str
    path: str
    names: list[str]


class Scatter(NamedTuple):
    """A scatter plot; `missing` experiments have no place in it."""

    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marks: list[Mark]
    missing: int


class VerticalAxis(NamedTuple):
    """An axis of parallel coordinates."""

    column: str
    x: float
    ticks: list[Tick]


class Parallel(NamedTuple):
    """Parallel coordinates; `missing` experiments have too few values for a line."""

    axes: list[VerticalAxis]
    marks: list[Mark]
    missing: int


class Group(NamedTuple):
    """The experiments that have the same value.

    Attributes:
        best, mean: of the metric; None if none of them has it.
        best_name, best_url: the experiment that has the best value.
    """

    value: str
    size: int
    best: float | None
    mean: float | None
    best_name: str
    best_url: str


def is_plottable(value: Any) -> bool:
    """Return whether a value is a number with a place on an axis; booleans are choices."""
    return is_number(value, -MAX_MAGNITUDE, MAX_MAGNITUDE)


def axis_of(column: str, values: Iterable[Any], log_ratio: float = LOG_RATIO) -> Axis | None:
    """Return the axis for these values; None if there is nothing to be shown.

    It is logarithmic if all are positive, and differ by more than the factor `log_ratio`.
    """
    known = [value for value in values if value is not None and value != ""]
    numbers = [float(value) for value in known if is_plottable(value)]
    texts = {str(value) for value in known if isinstance(value, str | bool)}
    if texts:
        return Axis(column, choices=tuple(sorted(texts)))
    if not numbers:
        return None
    low, high = min(numbers), max(numbers)
    return Axis(column, low, high, is_log=low > 0 and high / low >= log_ratio)


def _axis(column: str, rows: Sequence[Row], log_ratios: Mapping[str, float]) -> Axis | None:
    ratio = log_ratios.get(column, LOG_RATIO)
    return axis_of(column, (row.values.get(column) for row in rows), ratio)


def ranks(values: Sequence[Any], goal: Goal | None) -> list[int]:
    """Return the ranks of these values, in shares of equal size: see Mark."""
    known = sorted({float(value) for value in values if is_plottable(value)})
    if goal is Goal.MAXIMIZE:
        known.reverse()
    place = {value: index for index, value in enumerate(known)}
    return [
        1 + place[float(value)] * RANKS // len(known) if is_plottable(value) else 0
        for value in values
    ]


def scatter(
    rows: Sequence[Row],
    x: str,
    y: str,
    goal: Goal | None,
    *,
    log_ratios: Mapping[str, float] = NO_RATIOS,
) -> Scatter | None:
    """Return the scatter plot of two columns; None if one of them has no values.

    An axis is logarithmic as `axis_of` says, by the factor of its column or LOG_RATIO.
    """
    across, up = (_axis(column, rows, log_ratios) for column in (x, y))
    if across is None or up is None:
        return None
    colours = ranks([row.values.get(y) for row in rows], goal)
    marks = []
    for row, rank in zip(rows, colours, strict=True):
        right, above = across.share(row.values.get(x)), up.share(row.values.get(y))
        if right is not None and above is not None:
            title = f"{row.name}: {number(row.values[x])}, {number(row.values[y])}"
            point = x_at(right), y_at(above)
            marks.append(Mark(row.name, row.url, (point,), rank, title, row.is_faint))
    x_ticks = [Tick(x_at(share), HEIGHT - BOTTOM, label) for share, label in across.ticks()]
    y_ticks = [Tick(LEFT, y_at(share), label) for share, label in up.ticks()]
    return Scatter(x_ticks, y_ticks, marks, len(rows) - len(marks))


def parallel(
    rows: Sequence[Row],
    columns: Sequence[str],
    ranked: str,
    goal: Goal | None,
    *,
    log_ratios: Mapping[str, float] = NO_RATIOS,
) -> Parallel | None:
    """Return parallel coordinates of those columns whose values differ, then of `ranked`.

    None if fewer than two axes are left. An axis is logarithmic as in `scatter`.
    """
    varying = [
        column
        for column in columns
        if column != ranked and len({str(row.values.get(column)) for row in rows}) > 1
    ]
    named = [*varying[: MAX_AXES - 1], ranked]
    axes = [axis for column in named if (axis := _axis(column, rows, log_ratios))]
    if len(axes) < 2:
        return None
    step = (WIDTH - LEFT - RIGHT - 60) / (len(axes) - 1)
    places = [LEFT + index * step for index in range(len(axes))]
    colours = ranks([row.values.get(ranked) for row in rows], goal)
    marks = []
    for row, rank in zip(rows, colours, strict=True):
        shares = [axis.share(row.values.get(axis.column)) for axis in axes]
        points = tuple(
            (place, y_at(share))
            for place, share in zip(places, shares, strict=True)
            if share is not None
        )
        if len(points) > 1:
            shown = ", ".join(
                f"{axis.column} {number(row.values.get(axis.column))}" for axis in axes
            )
            title = f"{row.name}: {shown}"
            marks.append(Mark(row.name, row.url, points, rank, title, row.is_faint))
    marks.sort(key=lambda mark: -mark.rank if mark.rank else -RANKS - 1)  # the best on top
    vertical = [
        VerticalAxis(
            axis.column, place, [Tick(place, y_at(share), label) for share, label in axis.ticks()]
        )
        for axis, place in zip(axes, places, strict=True)
    ]
    return Parallel(vertical, marks, len(rows) - len(marks))


def layers(marks: Iterable[Mark]) -> list[Layer]:
    """Return marks by their styles: the faint ones first, and the best last, on top."""
    found: dict[str, list[Mark]] = {}
    for mark in sorted(marks, key=lambda one: (not one.is_faint, -(one.rank or RANKS + 1))):
        found.setdefault(mark.style, []).append(mark)
    return [
        Layer(style, "".join(map(_path, some)), [mark.name for mark in some])
        for style, some in found.items()
    ]


def groups(
    rows: Sequence[Row], values: Sequence[Sequence[str]], metric: str, goal: Goal | None
) -> list[Group]:
    """Return the groups of experiments by a value, those with the best metric first.

    Args:
        rows: the experiments.
        values: of each of them; one with several, such as tags, is in several groups.
        metric: the column by which the groups are judged.
        goal: of the metric; by default, low is good.
    """
    members: dict[str, list[Row]] = {}
    for row, names in zip(rows, values, strict=True):
        for name in names:
            members.setdefault(name, []).append(row)
    sign = -1 if goal is Goal.MAXIMIZE else 1
    found = [_group(name, of_name, metric, sign) for name, of_name in members.items()]
    found.sort(key=lambda one: (one.best is None, sign * (one.best or 0.0), one.value))
    return found[:MAX_GROUPS]


def _path(mark: Mark) -> str:
    (x, y), *others = mark.points
    rest = "".join(f"L{right:.1f} {up:.1f}" for right, up in others)
    return f"M{x:.1f} {y:.1f}{rest or 'h0'}"


def x_at(share: float) -> float:
    """Return the coordinate of a place on the horizontal axis, from 0 to 1."""
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def y_at(share: float) -> float:
    """Return the coordinate of a place on a vertical axis, from 0 at the bottom to 1."""
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _group(value: str, rows: Sequence[Row], metric: str, sign: int) -> Group:
    known = [row for row in rows if is_plottable(row.values.get(metric))]
    if not known:
        return Group(value, len(rows), None, None, "", "")
    best = min(known, key=lambda row: sign * row.values[metric])
    mean = math.fsum(row.values[metric] for row in known) / len(known)
    return Group(value, len(rows), best.values[metric], mean, best.name, best.url)


def _steps(low: float, high: float) -> list[float]:
    """Return round numbers from `low` to `high`; the two themselves if there are none."""
    if not high > low:
        return [low]
    if (high - low) / MAX_TICKS < MIN_STEP:
        return [low, high]
    size = 10.0 ** math.floor(math.log10((high - low) / MAX_TICKS))
    step = next(
        (each * size for each in (1, 2, 5) if (high - low) / (each * size) <= MAX_TICKS), 10 * size
    )
    first, last = math.ceil(low / step), math.floor(high / step)
    if last - first > 2 * MAX_TICKS:  # beyond the precision of numbers
        return [low, high]
    found = [index * step for index in range(first, last + 1)]
    return found if len(found) > 1 else [low, high]


def _log_steps(low: float, high: float) -> list[float]:
    """Return powers of ten from `low` to `high`, or 1, 2 and 5 of each, or the two themselves."""
    if not high > low:
        return [low]
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    stride = max(1, math.ceil((last - first + 1) / MAX_TICKS))
    found = [10.0**power for power in range(first, last + 1, stride)]
    if len(found) < 2:
        each = (digit * 10.0**power for power in range(first - 1, last + 1) for digit in (1, 2, 5))
        found = [value for value in each if low <= value <= high]
    return found if len(found) > 1 else [low, high]


def _short(text: str) -> str:
    return text if len(text) <= 12 else f"{text[:11]}…"
