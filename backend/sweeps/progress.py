"""How far a sweep has got: its best trial, its epochs and when it will end. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from backend.domain.catalogue import Goal
from backend.domain.numbers import MAX_SECONDS
from backend.domain.status import LIVE, Status
from backend.domain.sweeps.sweep import Trial


@dataclass(frozen=True)
class SweepProgress:
    """The figures of a sweep.

    Attributes:
        counts: how many trials have each status, or were pruned.
        best: the trial with the best value; None before the first value.
        epochs_spent: epochs that were trained.
        epochs_saved: epochs that pruned trials were spared.
        ends_at: an estimate of the end; None if it does not run, or no trial has ended.
    """

    counts: dict[str, int]
    best: Trial | None
    epochs_spent: int
    epochs_saved: int
    ends_at: datetime | None


def sweep_progress(
    trials: Sequence[Trial],
    goal: Goal,
    *,
    planned: int,
    parallel: int,
    is_running: bool,
    now: datetime,
) -> SweepProgress:
    """Return the figures of a sweep with these trials.

    Args:
        trials: those that were submitted.
        goal: which values of the objective are good.
        planned: how many trials the sweep may have.
        parallel: how many at the same time.
        is_running: whether it submits more.
        now: the time, in UTC.
    """
    spent = sum(_epochs(trial) for trial in trials)
    saved = sum(max(trial.epochs - _epochs(trial), 0) for trial in trials if trial.is_pruned)
    return SweepProgress(
        counts=dict(Counter(trial.outcome for trial in trials)),
        best=best_trial(trials, goal),
        epochs_spent=spent,
        epochs_saved=saved,
        ends_at=_ends_at(trials, planned, parallel, now) if is_running else None,
    )


def best_trial(trials: Sequence[Trial], goal: Goal) -> Trial | None:
    """Return the trial with the best value, the first of several; None if none has a value."""
    found = by_value([trial for trial in trials if trial.is_result], goal)
    return found[0] if found else None


def by_value(trials: Sequence[Trial], goal: Goal) -> list[Trial]:
    """Return the trials with the best first, and those without a value last."""
    sign = 1.0 if goal is Goal.MINIMIZE else -1.0

    def key(trial: Trial) -> tuple[bool, float, int]:
        return trial.value is None, sign * (trial.value or 0.0), trial.number

    return sorted(trials, key=key)


def best_so_far(trials: Sequence[Trial], goal: Goal) -> Iterator[tuple[Trial, float]]:
    """Yield each trial with a value, in the order of numbers, and the best value up to it."""
    choose = min if goal is Goal.MINIMIZE else max
    best: float | None = None
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.is_result and trial.value is not None:
            best = trial.value if best is None else choose(best, trial.value)
            yield trial, best


def failures_in_a_row(trials: Sequence[Trial], counted_from: int) -> list[Trial]:
    """Return the trials that have failed since the last one that trained, the last one first.

    Trials that are live, or that a person has cancelled, say nothing about the next ones; nor do
    those up to the number `counted_from`.
    """
    failed = []
    for trial in sorted(trials, key=lambda trial: trial.number, reverse=True):
        if trial.number <= counted_from or trial.status is Status.SUCCEEDED or trial.is_pruned:
            break
        if trial.status is Status.FAILED:
            failed.append(trial)
    return failed


def _epochs(trial: Trial) -> int:
    return min(int(trial.last_epoch or 0), trial.epochs)


def _ends_at(
    trials: Sequence[Trial], planned: int, parallel: int, now: datetime
) -> datetime | None:
    durations = [
        (trial.finished_at - trial.started_at).total_seconds()
        for trial in trials
        if trial.status not in LIVE and trial.started_at and trial.finished_at
    ]
    if not durations:
        return None
    mean = max(sum(durations) / len(durations), 0.0)
    live = [trial for trial in trials if trial.is_live]
    running = sum(
        max(mean - (now - trial.started_at).total_seconds(), 0.0) if trial.started_at else mean
        for trial in live
    )
    left = running + mean * max(planned - len(trials), 0)
    return now + timedelta(seconds=min(left / max(parallel, 1), MAX_SECONDS))
