"""Curves side by side: on common epochs, and what each metric came to."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.files.curves import Curve, Curves


@dataclass(frozen=True)
class Extreme:
    """A metric at an epoch."""

    epoch: int
    value: float


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        curve: at the common epochs.
        final: by metric, the last value.
        lowest: by metric; which of lowest and highest is best, only the metric's maker knows.
        highest: by metric.
    """

    curve: Curve
    final: dict[str, Extreme]
    lowest: dict[str, Extreme]
    highest: dict[str, Extreme]


def compare(
    results: Curves, experiment_ids: Sequence[str], max_points: int
) -> tuple[list[int], list[Outcome]]:
    """Read several runs' curves at common epochs.

    Each run has its share of `max_points` for its own first, last and extreme epochs; these
    together are the common ones.

    Returns:
        The epochs, and what each run came to, in the order of `experiment_ids`.
    """
    share = max(2, max_points // max(1, len(experiment_ids)))
    coarse = [results.curve(one, max_points=share) for one in experiment_ids]
    epochs = sorted({epoch for curve in coarse for epoch in curve.epochs})
    outcomes = [
        _outcome(curve, results.at(one, epochs))
        for one, curve in zip(experiment_ids, coarse, strict=True)
    ]
    return epochs, outcomes


def _outcome(coarse: Curve, curve: Curve) -> Outcome:
    # A coarse curve has lost no extreme, and not the last epoch.
    written = {
        name: [
            Extreme(epoch, value)
            for epoch, value in zip(coarse.epochs, values, strict=True)
            if value is not None
        ]
        for name, values in coarse.series.items()
    }
    written = {name: values for name, values in written.items() if values}
    return Outcome(
        curve,
        {name: values[-1] for name, values in written.items()},
        {name: min(values, key=_value) for name, values in written.items()},
        {name: max(values, key=_value) for name, values in written.items()},
    )


def _value(extreme: Extreme) -> float:
    return extreme.value
