"""The curves of the runs, from their `metrics.jsonl`. Only what is new is read.

A trainer may write anything: what is no JSON object is passed over, and a curve takes bounded
memory however long its file is.
"""

import json
import math
import os
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter, lt
from typing import Any, BinaryIO

import orjson

from backend.files.outputs import MAX_METRICS, METRICS_FILE, Outputs, is_metric_name
from backend.files.untrusted import entry_of

MAX_CURVE = 1_000_000  # numbers kept of one curve, 8 bytes each; a longer one is thinned
MAX_CACHE = 4_000_000  # numbers kept of all curves, in one process
MAX_LINE = 64 * 1024  # bytes
MAX_SAFE_INTEGER = 2**53 - 1  # the largest whole number that JavaScript represents exactly
PIECE_BYTES = 1024 * 1024
READ_BYTES = 256 * PIECE_BYTES  # of one file in one go; the next call reads on
BLOCK = 64  # rows whose extremes are remembered
LINES_AT_ONCE = 256  # parsed in one call: a third faster than one by one
MARK_BYTES = 256  # the end of what was read: it tells a rewritten file from a longer one


@dataclass(frozen=True)
class Curve:
    """A run's metrics by epoch.

    Attributes:
        epochs: ascending.
        series: by metric, a value for each of `epochs`; None if it was not written or not finite.
        points: how many epochs the whole curve has.
    """

    epochs: list[int]
    series: dict[str, list[float | None]]
    points: int


class Curves:
    """The curves of all runs; those asked for last stay in memory. Threads may share it."""

    def __init__(self, outputs: Outputs) -> None:
        """Read from these folders."""
        self._outputs = outputs
        self._lock = threading.Lock()
        self._readings: OrderedDict[str, _Reading] = OrderedDict()

    def version(self, experiment_id: str) -> str:
        """Give a text that is another one as soon as the curve may be."""
        file = self._outputs.open(experiment_id, METRICS_FILE)
        if file is None:
            return ""
        with file:
            return entry_of(METRICS_FILE, os.fstat(file.fileno())).version

    def curve(
        self, experiment_id: str, *, since_epoch: int = -1, max_points: int | None = None
    ) -> Curve:
        """Give a run's curve as far as it is written in whole lines; empty if there is none yet.

        Args:
            experiment_id: which run.
            since_epoch: only later epochs.
            max_points: at most so many epochs, or twice the number of metrics and two if that is
                more: first and last, and those of every metric's extremes, so no spike is lost.
        """
        return self._read(experiment_id, lambda table: table.curve(since_epoch, max_points))

    def at(self, experiment_id: str, epochs: Sequence[int]) -> Curve:
        """Give a run's curve at these epochs; None where it has none of them."""
        return self._read(experiment_id, lambda table: table.at(epochs))

    def _read(self, experiment_id: str, look: "Callable[[Table], Curve]") -> Curve:
        """Bring a run's table up to date, and look at it."""
        file = self._outputs.open(experiment_id, METRICS_FILE)
        if file is None:
            return look(Table())
        with self._lock:
            reading = self._readings.setdefault(experiment_id, _Reading())
            self._readings.move_to_end(experiment_id)
        with file, reading.lock:
            reading.read(file)
            curve = look(reading.table)
        with self._lock:
            self._forget_the_oldest()
        return curve

    def _forget_the_oldest(self) -> None:
        size = sum(reading.table.size for reading in self._readings.values())
        while size > MAX_CACHE and len(self._readings) > 1:
            size -= self._readings.popitem(last=False)[1].table.size


class Table:
    """The columns of a curve, of ascending epochs; what was not written is NaN."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._epochs = array("q")
        self._series: dict[str, array[float]] = {}
        self._blocks: list[list[int]] = []  # of each full block, the rows of its extremes
        self._thinned = 0  # epochs that are not kept

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return len(self._epochs) * (1 + len(self._series))

    def extend(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows.

        One whose epoch was there before replaces it and all that followed: a retry begins at its
        checkpoint. One without a usable epoch counts on from the row before.
        """
        last = self._epochs[-1] if self._epochs else 0
        if (ascending := _ascending_epochs(rows)) and (not self._epochs or ascending[0] > last):
            self._append(ascending, rows)
            return
        epochs, begin = array("q"), 0
        for number, row in enumerate(rows):
            epoch = row.get("epoch")
            if type(epoch) is not int or not 0 <= epoch <= MAX_SAFE_INTEGER:
                epoch = min(last + 1, MAX_SAFE_INTEGER)
            if epoch <= last and (epochs or self._epochs):
                self._append(epochs, rows[begin:number])
                self._cut(epoch)
                epochs, begin = array("q"), number
            epochs.append(epoch)
            last = epoch
        self._append(epochs, rows[begin:])

    def curve(self, since_epoch: int = -1, max_points: int | None = None) -> Curve:
        """Give the epochs after `since_epoch`, or some of them; see Results.curve."""
        begin = bisect_right(self._epochs, since_epoch)
        rows: Sequence[int] = range(begin, len(self._epochs))
        if max_points is not None and len(rows) > max_points:
            if len(rows) > BLOCK * _spans(max_points, len(self._series)):
                rows = self._extremes_of_blocks(begin)
            columns = [[values[row] for row in rows] for values in self._series.values()]
            kept = extremes([self._epochs[row] for row in rows], columns, max_points)
            rows = [rows[number] for number in kept]
        return self._curve([self._epochs[row] for row in rows], rows)

    def at(self, epochs: Sequence[int]) -> Curve:
        """Give these epochs, whether they were written or not; see Results.at."""
        found = [bisect_left(self._epochs, epoch) for epoch in epochs]
        end = len(self._epochs)
        rows = [
            row if row < end and self._epochs[row] == epoch else None
            for row, epoch in zip(found, epochs, strict=True)
        ]
        return self._curve(list(epochs), rows)

    def _curve(self, epochs: list[int], rows: Sequence[int | None]) -> Curve:
        series = {
            name: [
                None if row is None or (value := values[row]) != value else value for row in rows
            ]
            for name, values in self._series.items()
        }
        return Curve(epochs, series, len(self._epochs) + self._thinned)

    def _extremes_of_blocks(self, begin: int) -> list[int]:
        """Give the rows from `begin` on that can be an extreme of a span wider than a block."""
        end = len(self._epochs)
        for start in range(len(self._blocks) * BLOCK, end - BLOCK + 1, BLOCK):
            self._blocks.append(sorted(extreme_rows(self._series.values(), start, start + BLOCK)))
        first = -(-begin // BLOCK)
        rows = {begin, end - 1, *range(begin, min(first * BLOCK, end))}
        rows.update(range(max(begin, len(self._blocks) * BLOCK), end), *self._blocks[first:])
        return sorted(rows)

    def _append(self, epochs: "array[int]", rows: Sequence[Mapping[str, Any]]) -> None:
        before = len(self._epochs)
        self._epochs.extend(epochs)
        for name in set().union(*rows) - {"epoch"}:
            if name not in self._series and self._takes(name, rows):
                self._series[name] = array("d", [math.nan]) * before
        for name, values in self._series.items():
            values.extend(_numbers(_column(name, rows)))
        if self.size > MAX_CURVE:
            self._thin()

    def _takes(self, name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
        if len(self._series) == MAX_METRICS or not is_metric_name(name):
            return False
        return any(type(row.get(name)) in (float, int) for row in rows)

    def _cut(self, epoch: int) -> None:
        """Drop this epoch and all later ones."""
        rest = bisect_left(self._epochs, epoch)
        del self._epochs[rest:]
        for values in self._series.values():
            del values[rest:]
        del self._blocks[rest // BLOCK :]

    def _thin(self) -> None:
        half = MAX_CURVE // 2 // (1 + len(self._series))
        kept = extremes(self._epochs, list(self._series.values()), half)
        self._thinned += len(self._epochs) - len(kept)
        self._blocks.clear()
        self._epochs = array("q", [self._epochs[row] for row in kept])
        for name, values in self._series.items():
            self._series[name] = array("d", [values[row] for row in kept])


def extremes(
    epochs: Sequence[int], series: Sequence[Sequence[float]], max_points: int
) -> list[int]:
    """Choose rows of a curve: the first, the last, and every metric's extremes.

    The epochs are divided into equal spans; of each, the rows are kept in which a metric is lowest
    and highest. NaN is no value.

    Returns:
        The numbers of the rows, ascending: at most `max_points`, or 2 * len(series) + 2 if that
        is more.
    """
    last = len(epochs) - 1
    kept = {0, last}
    spans = _spans(max_points, len(series))
    width = epochs[last] - epochs[0] + 1
    edges = [
        bisect_left(epochs, epochs[0] + width * number // spans) for number in range(spans + 1)
    ]
    for begin, end in pairwise(edges):
        kept |= extreme_rows(series, begin, end)
    return sorted(kept)


def _spans(max_points: int, series: int) -> int:
    """Say into how many spans a curve is divided, for at most two rows each and metric."""
    return max(1, (max_points - 2) // max(1, 2 * series))


def extreme_rows(series: Iterable[Sequence[float]], begin: int, end: int) -> set[int]:
    """Choose, of the rows from `begin` to before `end`, those in which a metric is extreme."""
    rows = set()
    for column in series:
        part = values = list(column[begin:end])  # an array would make each number anew each time
        if math.isnan(sum(part)):
            values = [value for value in part if value == value]
        if values:
            rows |= {begin + part.index(min(values)), begin + part.index(max(values))}
    return rows


@dataclass
class _Reading:
    """How far a file was read, and what was found."""

    table: Table = field(default_factory=Table)
    lock: threading.Lock = field(default_factory=threading.Lock)
    inode: int = 0
    offset: int = 0  # bytes
    mark: bytes = b""  # what stands before the offset
    in_long_line: bool = False

    def read(self, file: BinaryIO) -> None:
        """Read what is new; all of it, if the file is not the one it was."""
        if not self._goes_on(file):
            self.table, self.offset, self.mark, self.in_long_line = Table(), 0, b"", False
            self.inode = os.fstat(file.fileno()).st_ino
        file.seek(self.offset)
        for lines in self._whole_lines(file):
            self.table.extend(_rows(lines))

    def _goes_on(self, file: BinaryIO) -> bool:
        # A retry truncates the file to its checkpoint, and may have written more than was there.
        if os.fstat(file.fileno()).st_ino != self.inode:
            return False
        begin = self.offset - len(self.mark)
        return os.pread(file.fileno(), len(self.mark), begin) == self.mark

    def _whole_lines(self, file: BinaryIO) -> Iterator[list[bytes]]:
        rest, left = b"", READ_BYTES
        while left > 0 and (piece := file.read(PIECE_BYTES)):
            left -= len(piece)
            text = rest + piece
            *lines, rest = text.split(b"\n")
            used = text[: len(text) - len(rest)]
            if self.in_long_line and lines:
                del lines[0]
                self.in_long_line = False
            if len(rest) > MAX_LINE:
                used, rest, self.in_long_line = text, b"", True
            self.offset += len(used)
            self.mark = (self.mark + used[-MARK_BYTES:])[-MARK_BYTES:]
            yield lines


def _ascending_epochs(rows: Sequence[Mapping[str, Any]]) -> "array[int] | None":
    """Give the epochs of rows that all have one, each later than the one before; else None."""
    try:
        epochs = list(map(itemgetter("epoch"), rows))
    except KeyError:
        return None
    if set(map(type, epochs)) != {int} or not all(map(lt, epochs, epochs[1:])):
        return None
    return array("q", epochs) if epochs[0] >= 0 and epochs[-1] <= MAX_SAFE_INTEGER else None


def _column(name: str, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Give a value of every row; NaN where there is none."""
    try:
        return list(map(itemgetter(name), rows))
    except KeyError:
        return [row.get(name, math.nan) for row in rows]


def _rows(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    """Give what is a JSON object."""
    rows: list[dict[str, Any]] = []
    for begin in range(0, len(lines), LINES_AT_ONCE):
        values = _values(lines[begin : begin + LINES_AT_ONCE])
        rows += [value for value in values if type(value) is dict]
    return rows


def _values(lines: Sequence[bytes]) -> list[Any]:
    """Give what stands in each line; None for a line that is no JSON."""
    try:
        values: list[Any] = orjson.loads(b"[" + b",".join(lines) + b"]")
    except ValueError:  # some line is no JSON, or has NaN
        values = []
    # Another number of values: a line had several, or a value had several lines. Who writes as many
    # of the one as of the other means to, and spoils only the curve of his own run.
    return values if len(values) == len(lines) else [_value(line) for line in lines]


def _value(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except ValueError:
        return _python_json(line)


def _python_json(line: bytes) -> Any:
    """Read what Python's own writer writes and orjson refuses: NaN and Infinity."""
    try:
        return json.loads(line) if len(line) <= MAX_LINE else None
    except (ValueError, RecursionError):
        return None


def _numbers(values: list[Any]) -> list[float]:
    """Give finite numbers as they are, and NaN for anything else."""
    try:
        if all(map(math.isfinite, values)):
            return values
    except (TypeError, OverflowError):
        pass
    return [_number(value) for value in values]


def _number(value: Any) -> float:
    """Give a finite number, else NaN."""
    try:
        return float(value) if math.isfinite(value) else math.nan
    except (TypeError, OverflowError):  # no number, or a whole one that no float can hold
        return math.nan
