"""The last, lowest and highest value of a metric, by which experiments are sorted."""

from typing import NamedTuple

FIGURES = ("last", "min", "max")  # what a list can be sorted and filtered by


class MetricSummary(NamedTuple):
    """One metric of the current attempt; each epoch is the first one with that value."""

    last: float
    last_epoch: float
    min: float
    min_epoch: float
    max: float
    max_epoch: float
