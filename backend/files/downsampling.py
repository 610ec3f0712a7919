"""Chooses the rows of a long curve that show its shape. Pure."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import filterfalse, pairwise


def choose_rows(
    epochs: Sequence[float], series: Sequence[Sequence[float]], max_points: int
) -> list[int]:
    """Return the numbers of the first row, the last row, and the rows of every metric's extremes.

    The epochs are divided into equal spans; of each span, the rows are chosen in which a metric is
    lowest or highest. NaN is ignored.

    Returns:
        Ascending row numbers: at most `max_points`, or 2 * len(series) + 2 if that is more.
    """
    last = len(epochs) - 1
    chosen = {0, last}
    spans = count_spans(max_points, len(series))
    width = epochs[last] - epochs[0]
    edges = [bisect_left(epochs, epochs[0] + width * number / spans) for number in range(spans)]
    for begin, end in pairwise([*edges, last + 1]):
        chosen |= extreme_rows(series, begin, end)
    return sorted(chosen)


def count_spans(max_points: int, series: int) -> int:
    """Return the number of spans, given two rows per span and metric, and the first and last."""
    return max(1, (max_points - 2) // max(1, 2 * series))


def extreme_rows(series: Iterable[Sequence[float]], begin: int, end: int) -> set[int]:
    """Return the rows in `range(begin, end)` in which a metric is lowest or highest."""
    rows = set()
    for column in series:
        part = list(column[begin:end])  # an array would make a new float at each access
        values = list(filterfalse(math.isnan, part))
        if values:
            rows.add(begin + part.index(min(values)))
            rows.add(begin + part.index(max(values)))
    return rows
