"""The columns of one curve in memory."""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backend.files.downsampling import choose_rows, count_spans, extreme_rows
from backend.files.metrics import MAX_METRICS, MAX_SAFE_INTEGER, Row, finite_or_nan, is_metric_name

MAX_NUMBERS = 1_000_000  # of one curve, 8 bytes each; a longer curve is thinned
BLOCK = 64  # rows


@dataclass(frozen=True)
class Curve:
    """The metrics of an experiment by epoch.

    Attributes:
        epochs: ascending.
        series: by metric, a value for each of `epochs`; None if it was not written or not finite.
        points: the number of epochs of the whole curve.
    """

    epochs: list[int]
    series: dict[str, list[float | None]]
    points: int


class Table:
    """The rows of a curve as columns, by ascending epoch; a value that was not written is NaN."""

    def __init__(self) -> None:
        self._epochs = array("q")
        self._series: dict[str, array[float]] = {}
        # The extreme rows of each full block, so that a poll does not search the whole curve again:
        # 7 instead of 52 ms for 100,000 epochs (docs/performance.md, Curves).
        self._blocks: list[list[int]] = []
        self._thinned = 0  # number of epochs that were dropped

    @property
    def size(self) -> int:
        """The number of numbers in memory."""
        return len(self._epochs) * (1 + len(self._series))

    def extend(self, rows: Sequence[Row]) -> None:
        """Append rows.

        A row whose epoch exists already replaces that epoch and all later ones, because a retry
        begins at its checkpoint. A row without a valid epoch gets the one after the row before it.
        """
        last = self._epochs[-1] if self._epochs else 0
        for epochs, ascending in _split_ascending(rows, last):
            self._cut(epochs[0])
            self._append(epochs, ascending)

    def curve(self, since_epoch: int = -1, max_points: int | None = None) -> Curve:
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
        return Curve([self._epochs[row] for row in rows], series, self._points)

    def at(self, epochs: Sequence[int]) -> Curve:
        """Return the curve at these epochs, whether they were written or not."""
        rows = [self._row_of(epoch) for epoch in epochs]
        series = {
            name: _none_for_nan([math.nan if row is None else column[row] for row in rows])
            for name, column in self._series.items()
        }
        return Curve(list(epochs), series, self._points)

    @property
    def _points(self) -> int:
        return len(self._epochs) + self._thinned

    def _row_of(self, epoch: int) -> int | None:
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

    def _append(self, epochs: "array[int]", rows: Sequence[Row]) -> None:
        """Append rows of ascending epochs, column by column."""
        before = len(self._epochs)
        self._epochs.extend(epochs)
        for name in sorted(set().union(*rows) - {"epoch"}):
            if name not in self._series and self._accepts(name, rows):
                self._series[name] = array("d", [math.nan]) * before
        for name, column in self._series.items():
            column.extend(finite_or_nan([row.get(name, math.nan) for row in rows]))
        if self.size > MAX_NUMBERS:
            self._thin()

    def _accepts(self, name: str, rows: Sequence[Row]) -> bool:
        """Return whether `name` becomes a metric: it has a number, and there are not too many."""
        if len(self._series) == MAX_METRICS or not is_metric_name(name):
            return False
        return any(type(row.get(name)) in (float, int) for row in rows)

    def _cut(self, epoch: int) -> None:
        """Remove this epoch and all later ones."""
        rest = bisect_left(self._epochs, epoch)
        del self._epochs[rest:]
        for column in self._series.values():
            del column[rest:]
        del self._blocks[rest // BLOCK :]

    def _thin(self) -> None:
        """Keep half as many numbers as are allowed, among them all extremes."""
        max_rows = MAX_NUMBERS // 2 // (1 + len(self._series))
        rows = choose_rows(self._epochs, list(self._series.values()), max_rows)
        self._thinned += len(self._epochs) - len(rows)
        self._blocks.clear()
        self._epochs = array("q", [self._epochs[row] for row in rows])
        for name, column in self._series.items():
            self._series[name] = array("d", [column[row] for row in rows])


def _split_ascending(
    rows: Sequence[Row], last: int
) -> Iterator[tuple["array[int]", Sequence[Row]]]:
    """Yield the epochs of rows with these rows, in groups of ascending epochs.

    Args:
        rows: in the order in which they were written.
        last: the epoch before the first of them; a row without a valid epoch counts on from it.
    """
    epochs, begin = array("q"), 0
    for number, row in enumerate(rows):
        epoch = row.get("epoch")
        if type(epoch) is not int or not 0 <= epoch <= MAX_SAFE_INTEGER:
            epoch = min(last + 1, MAX_SAFE_INTEGER)
        if epoch <= last and epochs:
            yield epochs, rows[begin:number]
            epochs, begin = array("q"), number
        epochs.append(epoch)
        last = epoch
    if epochs:
        yield epochs, rows[begin:]


def _none_for_nan(values: list[float]) -> list[float | None]:
    if not any(map(math.isnan, values)):
        return list(values)
    return [None if math.isnan(value) else value for value in values]
