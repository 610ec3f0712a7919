"""Compares the curves of several experiments at common epochs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backend.domain.objective import Extreme, extremes
from backend.files.curve_table import Curve
from backend.files.curves import Budget, Curves

MAX_NUMBERS = 1_000_000  # of all curves of one comparison together


@dataclass(frozen=True)
class Outcome:
    """The results of one experiment.

    Attributes:
        sample: the downsampled curve, with all extremes.
        curve: at the common epochs.
        final: the last value of each metric.
        lowest: the lowest value of each metric. Whether lowest or highest is best depends on the
            metric.
        highest: the highest value of each metric.
        complete: whether the whole file was read.
    """

    sample: Curve
    curve: Curve
    final: dict[str, Extreme]
    lowest: dict[str, Extreme]
    highest: dict[str, Extreme]
    complete: bool


def compare(
    curves: Curves, experiment_ids: Sequence[str], max_points: int
) -> tuple[list[float], Iterator[Outcome]]:
    """Return the curves of several experiments at common epochs.

    Each experiment contributes its share of `max_points`: its first and last epoch, and those of
    its extremes. The common epochs are all of these together. There are fewer of them if all
    curves together would have more than MAX_NUMBERS numbers.

    Returns:
        The common epochs, and the outcome of each experiment in the order of `experiment_ids`, one
        after the other: only one of them need be in memory.
    """
    number, budget = max(1, len(experiment_ids)), Budget()
    share = max(2, max_points // number)
    samples = [curves.read(each, max_points=share, budget=budget) for each in experiment_ids]
    columns = number + sum(len(sample.series) for sample in samples)
    epochs = _common(samples)
    if len(epochs) * columns > MAX_NUMBERS:
        share = max(2, MAX_NUMBERS // columns // number)
        samples = [curves.read(each, max_points=share, budget=budget) for each in experiment_ids]
        epochs = _thinned(_common(samples), MAX_NUMBERS // columns)
    return epochs, (
        _outcome(sample, curves.read_at(experiment_id, epochs))
        for experiment_id, sample in zip(experiment_ids, samples, strict=True)
    )


def _common(samples: Sequence[Curve]) -> list[float]:
    return sorted({epoch for sample in samples for epoch in sample.epochs})


def _thinned(epochs: list[float], number: int) -> list[float]:
    """Return at most `number` of the epochs, but two or more, evenly and with the first and last.

    Needed because every curve keeps its extremes, however small its share is.
    """
    last = max(number, 2) - 1
    if len(epochs) <= last + 1:
        return epochs
    return [epochs[round(place * (len(epochs) - 1) / last)] for place in range(last + 1)]


def _outcome(sample: Curve, curve: Curve) -> Outcome:
    """Return an outcome; the downsampled curve still has all extremes and the last epoch."""
    found = {name: extremes(sample.epochs, values) for name, values in sample.series.items()}
    found = {name: values for name, values in found.items() if values}
    final, lowest, highest = (
        {name: values[place] for name, values in found.items()} for place in (1, 2, 3)
    )
    return Outcome(sample, curve, final, lowest, highest, sample.complete)
