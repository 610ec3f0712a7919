"""The columns of one curve in memory."""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice

from backend.domain.metric_summary import MetricSummary
from backend.domain.numbers import MAX_SECONDS
from backend.files.downsampling import choose_rows, count_spans, extreme_rows
from backend.files.metrics import (
    MAX_METRICS,
    MAX_SAFE_INTEGER,
    Row,
    finite_or_nan,
    is_epoch,
    is_metric_name,
)

MAX_LEFT_OUT = 100  # names that an answer lists
MAX_NUMBERS = 1_000_000  # of one curve, 8 bytes each; a longer curve is thinned
BLOCK = 64  # rows
SECONDS = "seconds"  # the metric of how long an epoch took


@dataclass(frozen=True)
class Curve:
    """The metrics of an experiment by epoch.

    Attributes:
        epochs: ascending; an int unless it has a fraction.
        series: by metric, a value for each of `epochs`; None if it was not written or not finite.
            The metrics are the first MAX_METRICS names of numbers in the order of the file.
        points: the number of epochs of the whole curve.
        left_out: the next names of numbers, at most MAX_LEFT_OUT.
        complete: whether the file was read to its end; if not, the next call continues.
        elapsed: seconds of training until the end of each of `epochs`, the sum of the metric
            SECONDS; empty if it was never written.
    """

    epochs: Sequence[float]
    series: dict[str, list[float | None]]
    points: int
    left_out: tuple[str, ...] = ()
    complete: bool = True
    elapsed: Sequence[float] = ()


class Table:
    """The rows of a curve as columns, by ascending epoch; a value that was not written is NaN."""

    def __init__(self) -> None:
        self._epochs = array("d")
        self._elapsed = array("d")  # summed here, because a downsampled curve has not every epoch
        self._has_fractions = False
        self._series: dict[str, array[float]] = {}
        self._left_out: dict[str, None] = {}
        # The extreme rows of each full block, so that a poll does not search the whole curve again:
        # 7 instead of 52 ms for 100,000 epochs (docs/performance.md, Curves).
        self._blocks: list[list[int]] = []
        self._thinned = 0  # number of epochs that were dropped

    @property
    def size(self) -> int:
        """The number of numbers in memory."""
        return len(self._epochs) * (2 + len(self._series))

    def extend(self, rows: Sequence[Row]) -> None:
        """Append rows.

        A row whose epoch exists already replaces that epoch and all later ones, because a retry
        begins at its checkpoint. A row without a valid epoch gets the one after the row before it.
        """
        self._add_names(rows)
        epochs, kept = self._survivors(rows)
        if kept:
            self._cut(epochs[0])
            self._append(epochs, kept)

    def curve(self, since_epoch: float = -1, max_points: int | None = None) -> Curve:
        """Return the curve after `since_epoch`, downsampled to `max_points`; see `Curves.read`."""
        begin = bisect_right(self._epochs, since_epoch)
        rows: Sequence[int] = range(begin, len(self._epochs))
        if max_points is not None and len(rows) > max_points:
            if len(rows) > BLOCK * count_spans(max_points, len(self._series)):
                rows = self._extremes_of_blocks(begin)
            columns = [[column[row] for row in rows] for column in self._series.values()]
            chosen = choose_rows([self._epochs[row] for row in rows], columns, max_points)
            rows = [rows[number] for number in chosen]
        series = {
            name: _none_for_nan([column[row] for row in rows])
            for name, column in self._series.items()
        }
        epochs = [self._epochs[row] for row in rows]
        elapsed = [self._elapsed[row] for row in rows] if SECONDS in series else ()
        left_out = tuple(self._left_out)
        return Curve(self._plain(epochs), series, self._points, left_out, elapsed=elapsed)

    def at(self, epochs: Sequence[float]) -> Curve:
        """Return the curve at these epochs, whether they were written or not."""
        rows = [self._row_of(epoch) for epoch in epochs]
        series = {
            name: _none_for_nan([math.nan if row is None else column[row] for row in rows])
            for name, column in self._series.items()
        }
        return Curve(epochs, series, self._points, tuple(self._left_out))

    def summaries(self) -> dict[str, MetricSummary]:
        """Return the last, lowest and highest value of each metric that has any value."""
        summaries = {name: self._summary(column) for name, column in self._series.items()}
        return {name: summary for name, summary in summaries.items() if summary}

    def _summary(self, column: "array[float]") -> MetricSummary | None:
        # min, max and index of a whole array take a tenth of the time of a loop in Python.
        has_gaps = math.isnan(sum(column))
        known = [value for value in column if not math.isnan(value)] if has_gaps else column
        if not known:
            return None
        values = known[-1], min(known), max(known)
        last_row = len(column) - 1
        while has_gaps and math.isnan(column[last_row]):
            last_row -= 1
        rows = last_row, column.index(values[1]), column.index(values[2])
        epochs = self._plain([self._epochs[row] for row in rows])
        return MetricSummary(*chain.from_iterable(zip(values, epochs, strict=True)))

    @property
    def _points(self) -> int:
        return len(self._epochs) + self._thinned

    def _plain(self, epochs: list[float]) -> list[float]:
        """Return epochs as ints, except for those with a fraction."""
        if not self._has_fractions:
            return list(map(int, epochs))
        return [int(epoch) if epoch.is_integer() else epoch for epoch in epochs]

    def _row_of(self, epoch: float) -> int | None:
        row = bisect_left(self._epochs, epoch)
        return row if row < len(self._epochs) and self._epochs[row] == epoch else None

    def _extremes_of_blocks(self, begin: int) -> list[int]:
        """Return the rows from `begin` on that can be extremes of a span longer than a block."""
        end = len(self._epochs)
        for start in range(len(self._blocks) * BLOCK, end - BLOCK + 1, BLOCK):
            self._blocks.append(sorted(extreme_rows(self._series.values(), start, start + BLOCK)))
        first_block = math.ceil(begin / BLOCK)
        rows = {begin, end - 1}
        rows.update(range(begin, min(first_block * BLOCK, end)))
        rows.update(*self._blocks[first_block:])
        rows.update(range(max(begin, len(self._blocks) * BLOCK), end))
        return sorted(rows)

    def _add_names(self, rows: Sequence[Row]) -> None:
        """Make the names of numbers metrics, in the order of the file, until there are enough.

        A row that another one replaces counts too: which metrics a curve has does not depend on
        how much of the file is read at once.
        """
        names = dict.fromkeys(chain.from_iterable(rows))
        if names.keys() <= self._series.keys() | self._left_out.keys() | {"epoch"}:
            return
        for row in rows:
            for name, value in row.items():
                if type(value) not in (float, int) or name == "epoch" or name in self._series:
                    continue
                if len(self._left_out) == MAX_LEFT_OUT:
                    return
                if not is_metric_name(name):
                    continue
                if len(self._series) < MAX_METRICS:
                    self._series[name] = array("d", [math.nan]) * len(self._epochs)
                else:
                    self._left_out[name] = None

    def _survivors(self, rows: Sequence[Row]) -> tuple["array[float]", list[Row]]:
        """Return the epochs, ascending, and the rows that no later row replaces."""
        last = self._epochs[-1] if self._epochs else 0
        epochs, kept = array("d"), list[Row]()
        for row in rows:
            last = self._epoch_of(row, last)
            while epochs and epochs[-1] >= last:
                epochs.pop()
                kept.pop()
            epochs.append(last)
            kept.append(row)
        return epochs, kept

    def _epoch_of(self, row: Row, last: float) -> float:
        """Return the epoch of a row, or the one after `last` if the row has no valid epoch.

        A curve of whole epochs does not go back to a fraction.
        """
        value = row.get("epoch")
        if is_epoch(value):
            epoch = float(value)
            if epoch.is_integer() or epoch > last or self._has_fractions:
                self._has_fractions = self._has_fractions or not epoch.is_integer()
                return epoch
        return float(min(math.floor(last) + 1, MAX_SAFE_INTEGER))

    def _append(self, epochs: "array[float]", rows: Sequence[Row]) -> None:
        """Append rows of ascending epochs, column by column."""
        self._epochs.extend(epochs)
        for name, column in self._series.items():
            column.extend(finite_or_nan([row.get(name, math.nan) for row in rows]))
        self._elapsed.extend(self._sums(len(rows)))
        if self.size > MAX_NUMBERS:
            self._thin()

    def _sums(self, number: int) -> Iterator[float]:
        """Yield the seconds of training until the end of each of the last `number` epochs."""
        start = self._elapsed[-1] if self._elapsed else 0.0
        known = self._series.get(SECONDS, array("d", [0]) * number)[-number:]
        return islice(accumulate(map(_duration, known), initial=start), 1, None)

    def _cut(self, epoch: float) -> None:
        """Remove this epoch and all later ones."""
        rest = bisect_left(self._epochs, epoch)
        del self._epochs[rest:], self._elapsed[rest:]
        for column in self._series.values():
            del column[rest:]
        del self._blocks[rest // BLOCK :]

    def _thin(self) -> None:
        """Keep half as many numbers as are allowed, among them all extremes."""
        max_rows = MAX_NUMBERS // 2 // (2 + len(self._series))
        rows = choose_rows(self._epochs, list(self._series.values()), max_rows)
        self._thinned += len(self._epochs) - len(rows)
        self._blocks.clear()
        self._epochs = array("d", [self._epochs[row] for row in rows])
        self._elapsed = array("d", [self._elapsed[row] for row in rows])
        for name, column in self._series.items():
            self._series[name] = array("d", [column[row] for row in rows])


def _duration(seconds: float) -> float:
    """Return the duration that a trainer wrote; 0 if it cannot be one."""
    return seconds if 0 <= seconds <= MAX_SECONDS else 0.0


def _none_for_nan(values: list[float]) -> list[float | None]:
    if not any(map(math.isnan, values)):
        return list(values)
    return [None if math.isnan(value) else value for value in values]
