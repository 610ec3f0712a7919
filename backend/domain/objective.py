"""The objective of an experiment: which metric it is, its best value, and warnings about it. Pure.

The entry of its model names it; for a model without one, the usual names of metrics decide.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from backend.domain.catalogue import Goal
from backend.domain.numbers import is_number

Goals = Mapping[str, Goal]  # of metrics, by name, as entries of models state them
NO_GOALS: Goals = {}

OBJECTIVES = ("val_loss", "loss")  # the first of these that a trainer writes
MIN_LIVE_POINTS = 10  # epochs before a training that goes on is said not to improve
MIN_IMPROVEMENT = 0.01  # of the first value; less is the noise of a network that learns nothing
# A loss that began at a million and fell to a ten-thousandth of that had exploded: the network has
# usually learned nothing but the mean of the data.
EXPLODED, EXPLODED_RATIO = 1e6, 1e4

_LOW = re.compile(r"loss|error|perplexity|(?<![a-z])(mse|rmse|mae|mape|nll|wer|cer|fid)(?![a-z])")
_HIGH = re.compile(
    r"accuracy|precision|recall|(?<![a-z])(acc|auc|auroc|f1|iou|dice|map|bleu|psnr|ssim|r2)(?![a-z])"
)


class WarningCode(StrEnum):
    """What a warning is about."""

    NOT_FINITE = "objective_not_finite"
    NOT_IMPROVED = "objective_not_improved"
    UNSTABLE = "objective_unstable"


@dataclass(frozen=True)
class CurveWarning:
    """Why an experiment may be worthless although it has not failed."""

    code: WarningCode
    message: str


@dataclass(frozen=True)
class Extreme:
    """The value of a metric at an epoch."""

    epoch: float
    value: float


class Curve(Protocol):
    """The part of a `files.curves.Curve` that is judged; a downsampled one has all extremes."""

    @property
    def epochs(self) -> Sequence[float]:
        """The epochs, ascending."""

    @property
    def series(self) -> Mapping[str, Sequence[float | None]]:
        """By metric, a value for each epoch."""

    @property
    def points(self) -> int:
        """The number of epochs of the whole curve."""


def goal_of(metric: str, goals: Goals = NO_GOALS) -> Goal | None:
    """Return which values of a metric are good; None if neither `goals` nor its name shows it."""
    name = metric.lower()
    if metric in goals:
        return goals[metric]
    if _LOW.search(name):
        return Goal.MINIMIZE
    return Goal.MAXIMIZE if _HIGH.search(name) else None


def objective_of(metrics: Iterable[str], goals: Goals = NO_GOALS) -> str | None:
    """Return the objective among the names of metrics.

    It is the first that `goals` names, one of OBJECTIVES, or the first whose name shows its goal.
    """
    names = list(metrics)
    usual = (name for name in (*goals, *OBJECTIVES) if name in names)
    return next(usual, next((name for name in names if goal_of(name)), None))


def extremes(epochs: Sequence[float], values: Sequence[float | None]) -> list[Extreme]:
    """Return the first, the last, the lowest and the highest value; empty if there is none."""
    known = [
        Extreme(epoch, value)
        for epoch, value in zip(epochs, values, strict=True)
        if value is not None
    ]
    if not known:
        return []
    return [known[0], known[-1], min(known, key=_value), max(known, key=_value)]


def best(epochs: Sequence[float], values: Sequence[float | None], goal: Goal) -> Extreme | None:
    """Return the best value and the first epoch that has it; None if there is no value."""
    found = extremes(epochs, values)
    return found[2 if goal is Goal.MINIMIZE else 3] if found else None


def warnings(
    curve: Curve, last_row: Mapping[str, Any], *, is_live: bool, goals: Goals = NO_GOALS
) -> list[CurveWarning]:
    """Return the warnings about an experiment; none before its trainer has written an objective.

    Args:
        curve: of the whole file so far.
        last_row: the metrics of the last epoch, None for what is not finite.
        is_live: whether the training goes on.
        goals: the objective of its model.
    """
    usual = (*goals, *OBJECTIVES)
    nulls = [each for each in usual if each in last_row and last_row[each] is None]
    name = objective_of([*curve.series, *nulls], goals)
    if name is None:
        return []
    found = extremes(curve.epochs, curve.series.get(name, [None] * len(curve.epochs)))
    if not found or not is_number(last_row.get(name, 0)):
        when = "at the last epoch" if found else "in any epoch"
        message = f"{name} is not a finite number {when}: use a lower learning rate."
        return [CurveWarning(WarningCode.NOT_FINITE, message)]
    if is_live and curve.points < MIN_LIVE_POINTS:
        return []
    return [
        CurveWarning(code, message)
        for code, message in (
            (WarningCode.UNSTABLE, _explosion(name, curve, goal_of(name, goals))),
            (WarningCode.NOT_IMPROVED, _stagnation(name, found, goal_of(name, goals))),
        )
        if message
    ]


def _stagnation(name: str, found: list[Extreme], goal: Goal | None) -> str | None:
    first, last, lowest, highest = found
    if last.epoch == first.epoch:
        return None
    if goal is Goal.MAXIMIZE:
        reached, has_improved = highest, highest.value > first.value
    else:
        margin = MIN_IMPROVEMENT * max(first.value, 0)
        reached, has_improved = lowest, lowest.value < first.value - margin
    if has_improved:
        return None
    since, before = f"{first.epoch:.15g}", f"{first.value:.4g}"
    if reached.value == first.value:
        return (
            f"{name} has not improved since epoch {since}: it was {before}, and "
            f"{last.value:.4g} at epoch {last.epoch:.15g}."
        )
    return (
        f"{name} has hardly improved since epoch {since}: it was {before}, and "
        f"{reached.value:.4g} at best (epoch {reached.epoch:.15g})."
    )


def _explosion(name: str, curve: Curve, goal: Goal | None) -> str | None:
    """Return a message if the objective, or the same on the training data, had exploded."""
    if goal is not Goal.MINIMIZE:
        return None
    names = dict.fromkeys((name.removeprefix("val_"), name))
    found = {
        each: extremes(curve.epochs, curve.series[each]) for each in names if each in curve.series
    }
    found = {each: values for each, values in found.items() if values}
    worst = max(found, key=lambda each: found[each][3].value)
    highest, lowest = found[worst][3], min(values[2].value for values in found.values())
    if highest.value < EXPLODED or highest.value < EXPLODED_RATIO * lowest:
        return None
    return (
        f"{worst} was {highest.value:.4g} at epoch {highest.epoch:.15g}: the training was "
        "unstable. Use a lower learning rate."
    )


def _value(extreme: Extreme) -> float:
    return extreme.value
