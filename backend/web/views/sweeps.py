"""How the dashboard shows a sweep: its space in words, and pictures of its trials. Pure functions.

The coordinates are those of `views.plots`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from backend.domain.catalogue import Goal
from backend.domain.numbers import MAX_MAGNITUDE, is_number
from backend.domain.parameter import Parameter, Value
from backend.domain.sweeps.sweep import Trial
from backend.sweeps.progress import best_so_far
from backend.sweeps.spaces import Choices, Dimension
from backend.web.views import plots
from backend.web.views.plots import Axis, Mark, Row, Tick
from backend.web.views.presentation import number

LOG_RATIO = 5  # of objectives: the good values, which matter, are close to each other
AROUND = {True: 10.0, False: 2.0}  # a suggested range, as factors of the value; by log


@dataclass(frozen=True)
class BestChart:
    """The best value so far over the numbers of the trials.

    Attributes:
        marks: the value of each trial.
        line: the best value up to each trial, as `points` of an SVG polyline with steps.
    """

    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    marks: Sequence[Mark]
    line: str


def dimension_text(dimension: Dimension) -> str:
    """Return what a parameter may be, in words: 0.0001 to 0.1, by orders of magnitude."""
    if isinstance(dimension, Choices):
        return ", ".join(str(value) for value in dimension.values)
    text = f"{number(dimension.low)} to {number(dimension.high)}"
    if dimension.step is not None:
        return f"{text}, in steps of {number(dimension.step)}"
    return f"{text}, by orders of magnitude" if dimension.log else text


def objective_column(metric: str, goal: Goal) -> str:
    """Return the column of the best value of the objective, as lists name it."""
    return f"metrics.{metric}.{'min' if goal is Goal.MINIMIZE else 'max'}"


def trial_rows(trials: Sequence[Trial], column: str) -> list[Row]:
    """Return the trials as rows of pictures: their parameters, and `column`, their best values."""
    return [
        Row(
            trial.experiment_id,
            "",
            {**trial.parameters, column: trial.value if trial.is_result else None},
            is_faint=trial.is_pruned,
        )
        for trial in trials
    ]


def best_chart(trials: Sequence[Trial], goal: Goal, planned: int) -> BestChart | None:
    """Return the chart of a sweep; None before two trials have a value.

    Args:
        trials: in the order of their numbers.
        goal: which values are good.
        planned: how many trials the sweep may have.
    """
    known = [
        (trial, best)
        for trial, best in best_so_far(trials, goal)
        if is_number(trial.value, -MAX_MAGNITUDE, MAX_MAGNITUDE)
    ]
    up = plots.axis_of("", [trial.value for trial, _ in known], LOG_RATIO)
    if up is None or len(known) < 2:
        return None
    first, last = known[0][0].number, known[-1][0].number
    across = Axis("", first, max(planned, last))
    colours = plots.ranks([trial.value for trial, _ in known], goal)
    marks, corners, before = [], list[str](), None
    for (trial, best), rank in zip(known, colours, strict=True):
        x = plots.x_at(across.share(trial.number) or 0.0)
        y = plots.y_at(up.share(trial.value) or 0.0)
        title = f"{trial.experiment_id}: {number(trial.value)}"
        name = trial.experiment_id
        marks.append(Mark(name, "", ((x, y),), rank, title, is_faint=trial.is_pruned))
        level = plots.y_at(up.share(best) or 0.0)
        if level != before:
            corners += [] if before is None else [f"{x:.1f},{before:.1f}"]
            corners.append(f"{x:.1f},{level:.1f}")
        before = level
    corners.append(f"{plots.x_at(across.share(last) or 0.0):.1f},{before or 0.0:.1f}")
    return BestChart(
        [
            Tick(plots.x_at(place), plots.HEIGHT - plots.BOTTOM, text)
            for place, text in _whole(across)
        ],
        [Tick(plots.LEFT, plots.y_at(place), text) for place, text in up.ticks()],
        marks,
        " ".join(corners),
    )


def _whole(axis: Axis) -> list[tuple[float, str]]:
    """Return the ticks at whole numbers."""
    return [(place, text) for place, text in axis.ticks() if "." not in text]


def range_around(parameter: Parameter, value: Value | None) -> tuple[str, str]:
    """Return the ends of a range around a number, within what the parameter allows.

    They are empty unless the number is above 0.
    """
    if not is_number(value, 0, MAX_MAGNITUDE) or not float(value) > 0:
        return "", ""
    factor = AROUND[parameter.log]
    low = max(float(value) / factor, _limit(parameter.minimum, -math.inf))
    high = min(float(value) * factor, _limit(parameter.maximum, math.inf))
    if parameter.type == "integer":
        return str(math.floor(low)), str(math.ceil(high))
    return f"{low:.6g}", f"{high:.6g}"


def _limit(limit: float | None, endless: float) -> float:
    return endless if limit is None else limit
