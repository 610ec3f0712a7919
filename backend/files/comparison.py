"""Compares the curves of several experiments at common epochs."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.files.curve_table import Curve
from backend.files.curves import Curves


@dataclass(frozen=True)
class Extreme:
    """The value of a metric at an epoch."""

    epoch: int
    value: float


@dataclass(frozen=True)
class Outcome:
    """The results of one experiment.

    Attributes:
        curve: at the common epochs.
        final: the last value of each metric.
        lowest: the lowest value of each metric. Whether lowest or highest is best depends on the
            metric.
        highest: the highest value of each metric.
    """

    curve: Curve
    final: dict[str, Extreme]
    lowest: dict[str, Extreme]
    highest: dict[str, Extreme]


def compare(
    curves: Curves, experiment_ids: Sequence[str], max_points: int
) -> tuple[list[int], list[Outcome]]:
    """Return the curves of several experiments at common epochs.

    Each experiment contributes its share of `max_points`: its first and last epoch, and those of
    its extremes. The common epochs are all of these together.

    Returns:
        The common epochs, and the outcome of each experiment in the order of `experiment_ids`.
    """
    share = max(2, max_points // max(1, len(experiment_ids)))
    samples = [curves.read(each, max_points=share) for each in experiment_ids]
    epochs = sorted({epoch for sample in samples for epoch in sample.epochs})
    outcomes = [
        _outcome(sample, curves.read_at(experiment_id, epochs))
        for experiment_id, sample in zip(experiment_ids, samples, strict=True)
    ]
    return epochs, outcomes


def _outcome(sample: Curve, curve: Curve) -> Outcome:
    """Return an outcome; the downsampled curve still has all extremes and the last epoch."""
    final, lowest, highest = {}, {}, {}
    for name, values in sample.series.items():
        points = [
            Extreme(epoch, value)
            for epoch, value in zip(sample.epochs, values, strict=True)
            if value is not None
        ]
        if points:
            final[name] = points[-1]
            lowest[name] = min(points, key=_value)
            highest[name] = max(points, key=_value)
    return Outcome(curve, final, lowest, highest)


def _value(extreme: Extreme) -> float:
    return extreme.value
