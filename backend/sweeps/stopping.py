"""Which trials of a sweep are hopeless. Pure: decided anew from all curves at each look.

A curve is judged at its marks, the epochs at which a rule compares trials. So nothing has to be
remembered: a restarted process, or a second one, decides the same.

`asha` is asynchronous successive halving (Li et al., arXiv 1810.05934). Its marks are the rungs
min_epoch * eta^k. A trial goes on while it is among the best 1/eta of those that have reached the
highest rung that it has reached itself.

`median` stops a trial that is worse than the median of the others at the same epoch (Golovin et
al., "Google Vizier", 2017).
"""

import math
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median

from backend.domain.catalogue import Goal

# Curves that a median is taken of. With four, 2 % of the sweeps of bench.sweeps.stop_rules lose
# their winner; with eight, none of 200 does.
LEAST_OTHERS = 8
EACH_EPOCH_UNTIL = 256  # marks of `median`; later ones are MARK_GROWTH apart
MARK_GROWTH = 1.1


class Rule(StrEnum):
    """When trials are stopped."""

    NONE = "none"
    MEDIAN = "median"
    ASHA = "asha"


@dataclass(frozen=True)
class StopRule:
    """A rule and its figures.

    Attributes:
        min_epoch: no trial is stopped before this epoch; the first rung of `asha`.
        eta: of each rung of `asha`, one trial in `eta` goes on.
    """

    rule: Rule
    min_epoch: int
    eta: int
    goal: Goal

    def marks(self, epochs: int) -> list[int]:
        """Return the epochs at which trials of this many epochs are compared, ascending."""
        marks, epoch = [], float(self.min_epoch)
        # A rung that leaves less to be saved than was spent is none.
        last = epochs / 2 if self.rule is Rule.ASHA else epochs - 1
        while self.rule is not Rule.NONE and round(epoch) <= last:
            marks.append(round(epoch))
            if self.rule is Rule.ASHA:
                epoch *= self.eta
            else:
                epoch += 1 if epoch < EACH_EPOCH_UNTIL else epoch * (MARK_GROWTH - 1)
        return marks


@dataclass(frozen=True)
class Progress:
    """How a trial has done so far.

    Attributes:
        values: its best value up to each mark that it has reached; None if none was finite.
        may_stop: whether it is live, and may be stopped.
    """

    values: tuple[float | None, ...]
    may_stop: bool


@dataclass(frozen=True)
class Verdict:
    """Why a trial is stopped.

    Attributes:
        epoch: the mark at which it was judged.
        value: its best value up to there; None if none was finite.
        bound: the value that it would have had to reach.
        others: how many trials it was compared with, itself included.
    """

    epoch: int
    value: float | None
    bound: float
    others: int


def best_at(
    epochs: Sequence[float], values: Sequence[float | None], marks: Sequence[int], goal: Goal
) -> tuple[float | None, ...]:
    """Return the best value up to each mark that a curve has reached.

    Args:
        epochs: of the curve, ascending.
        values: of the objective, None where it was not finite.
        marks: ascending.
        goal: which values are good.
    """
    choose = min if goal is Goal.MINIMIZE else max
    reached: list[float | None] = []
    best, begin = None, 0
    for mark in marks:
        if not epochs or epochs[-1] < mark:
            break
        end = bisect_right(epochs, mark)
        known = [value for value in values[begin:end] if value is not None]
        best, begin = choose([*known, *([] if best is None else [best])], default=None), end
        reached.append(best)
    return tuple(reached)


def should_stop(curves: Mapping[int, Progress], rule: StopRule, epochs: int) -> dict[int, Verdict]:
    """Return which of these trials should be stopped, by number, and why.

    Args:
        curves: of all trials of the sweep, also of those that have ended, by number.
        rule: of the sweep.
        epochs: the largest number of epochs of its trials, from which the marks follow.
    """
    marks = rule.marks(epochs)
    sign = 1.0 if rule.goal is Goal.MINIMIZE else -1.0
    # By mark, the values of those that have reached it; low ones are good.
    reached: list[list[float]] = [[] for _ in marks]
    for progress in curves.values():
        for index, value in enumerate(progress.values[: len(marks)]):
            reached[index].append(math.inf if value is None else sign * value)
    for column in reached:
        column.sort()
    verdicts = {}
    for number, progress in curves.items():
        index = min(len(progress.values), len(marks)) - 1
        if not progress.may_stop or index < 0:
            continue
        value, column = progress.values[index], reached[index]
        own = math.inf if value is None else sign * value
        bound = _asha_bound(column, rule.eta) if rule.rule is Rule.ASHA else _median(column, own)
        if bound is not None and own > bound:
            verdicts[number] = Verdict(marks[index], value, sign * bound, len(column))
    return verdicts


def promoted(
    curves: Mapping[int, Progress], pruned: Collection[int], rule: StopRule, epochs: int
) -> list[int]:
    """Return which pruned trials of `asha` were stopped too early, the most promising one first.

    Such a trial was not among the best of its rung when it was judged, but is by now, because most
    that came later are worse. Those of a higher rung are first: less is left to be trained. Those
    that were stopped at the first rung stay stopped: they are many, and their values say little.

    Args:
        curves: as in `should_stop`.
        pruned: the numbers of the trials that the rule has stopped.
        rule: of the sweep.
        epochs: as in `should_stop`.
    """
    if rule.rule is not Rule.ASHA:
        return []
    judged = {
        number: replace(one, may_stop=number in pruned and not one.may_stop)
        for number, one in curves.items()
    }
    hopeless = should_stop(judged, rule, epochs)
    sign = 1.0 if rule.goal is Goal.MINIMIZE else -1.0
    found = [
        (-len(one.values), sign * one.values[-1], number)
        for number, one in judged.items()
        if one.may_stop
        and number not in hopeless
        and len(one.values) > 1
        and one.values[-1] is not None
    ]
    return [number for _, _, number in sorted(found)]


def explain(verdict: Verdict, rule: StopRule, metric: str) -> str:
    """Return the sentence that says why a trial was stopped."""
    value = "never a finite number" if verdict.value is None else f"{verdict.value:.6g} at best"
    bound = f"{verdict.bound:.6g}"
    needed = f"at most {bound}" if rule.goal is Goal.MINIMIZE else f"at least {bound}"
    if rule.rule is Rule.ASHA:
        kept = _kept(verdict.others, rule.eta)
        among = f"the best {kept} of the {verdict.others} trials that reached it"
    else:
        among = f"the median of the other {verdict.others - 1} trials"
    return (
        f"At epoch {verdict.epoch}, {metric} was {value}; {needed} was needed to be as "
        f"good as {among}."
    )


def _kept(others: int, eta: int) -> int:
    """Return how many of the trials that have reached a rung go on; at least the best one."""
    return math.ceil(others / eta)


def _asha_bound(column: Sequence[float], eta: int) -> float | None:
    bound = column[_kept(len(column), eta) - 1]
    return bound if math.isfinite(bound) else None


def _median(column: Sequence[float], own: float) -> float | None:
    others = list(column)
    others.remove(own)
    if len(others) < LEAST_OTHERS:
        return None
    bound = median(others)
    return bound if math.isfinite(bound) else None
