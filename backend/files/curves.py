"""Reads the curves of experiments from their `metrics.jsonl`; only new lines are read."""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO, TypeVar

from backend.domain.metric_summary import MetricSummary
from backend.files.curve_table import Curve, Table
from backend.files.metrics import MAX_LINE_BYTES, parse_rows
from backend.files.outputs import METRICS_FILE, Outputs
from backend.files.sizes import LARGE_PIECE_BYTES
from backend.files.untrusted import Entry, entry_of

MAX_CACHED_NUMBERS = 4_000_000  # of all curves, in one process
MAX_READ_BYTES = 32 * 2**20  # of one file in one call; the next call continues
MAX_READ_LINES = 400_000  # likewise
MAX_READ_SECONDS = 1.5  # of processor time, likewise
LINES_AT_ONCE = 256  # parsed and added to the table together
MARK_BYTES = 256  # of the end of what was read, by which a rewritten file is recognised

T = TypeVar("T")


class Curves:
    """The curves of all experiments; the most recently used ones are kept in memory.

    Safe to use from several threads.
    """

    def __init__(self, outputs: Outputs) -> None:
        """Read from the folders of `outputs`."""
        self._outputs = outputs
        self._lock = threading.Lock()
        self._readings: OrderedDict[str, _Reading] = OrderedDict()

    def version(self, experiment_id: str) -> str:
        """Return a text that changes whenever the curve may have changed."""
        file = self.file(experiment_id)
        return file.version if file else ""

    def file(self, experiment_id: str) -> Entry | None:
        """Return what is known of the file of a curve without reading it; None if there is none."""
        file = self._outputs.open(experiment_id, METRICS_FILE)
        if file is None:
            return None
        with file:
            return entry_of(METRICS_FILE, os.fstat(file.fileno()))

    def read(
        self,
        experiment_id: str,
        *,
        since_epoch: float = -1,
        max_points: int | None = None,
        ended: bool = False,
        budget: "Budget | None" = None,
    ) -> Curve:
        """Return the curve of an experiment, from complete lines; empty if there is none yet.

        Of a file with more than a budget allows, the next call reads on; see `Curve.complete`.

        Args:
            experiment_id: which experiment.
            since_epoch: only later epochs are returned.
            max_points: at most this many epochs are returned, or twice the number of metrics plus
                two if that is more. They include the first and the last epoch and the extremes of
                every metric, so that no spike is lost.
            ended: whether the trainer has ended: a last line without a line end is complete then.
            budget: how much may be read; by default a `Budget` of this call's own.
        """
        return self._read(
            experiment_id,
            lambda table: table.curve(since_epoch, max_points),
            budget or Budget(),
            ended=ended,
        )

    def read_at(self, experiment_id: str, epochs: Sequence[float]) -> Curve:
        """Return the curve of an experiment at these epochs; None for those it does not have.

        Nothing new is read, unless the curve is no longer in memory.
        """
        budget = Budget() if experiment_id not in self._readings else Budget(0, 0)
        return self._read(experiment_id, lambda table: table.at(epochs), budget, ended=False)

    def summaries(
        self, experiment_id: str, *, ended: bool = False
    ) -> tuple[dict[str, MetricSummary], bool]:
        """Return the summaries of an experiment's metrics, and whether its whole curve was read.

        Args:
            experiment_id: which experiment.
            ended: whether the trainer has ended, as in `read`.
        """
        return self._select(experiment_id, Table.summaries, Budget(), ended=ended)

    def _read(
        self, experiment_id: str, select: Callable[[Table], Curve], budget: "Budget", *, ended: bool
    ) -> Curve:
        curve, complete = self._select(experiment_id, select, budget, ended=ended)
        return replace(curve, complete=complete)

    def _select(
        self, experiment_id: str, select: Callable[[Table], T], budget: "Budget", *, ended: bool
    ) -> tuple[T, bool]:
        """Read the new lines of an experiment, and select something from its table.

        Returns:
            What `select` returns, and whether the file was read to its end.
        """
        file = self._outputs.open(experiment_id, METRICS_FILE)
        if file is None:
            return select(Table()), True
        with self._lock:
            reading = self._readings.setdefault(experiment_id, _Reading())
            self._readings.move_to_end(experiment_id)
        with file, reading.lock:
            complete = reading.read(file, budget, ended=ended)
            selected = select(reading.table)
        with self._lock:
            self._drop_oldest()
        return selected, complete

    def _drop_oldest(self) -> None:
        size = sum(reading.table.size for reading in self._readings.values())
        while size > MAX_CACHED_NUMBERS and len(self._readings) > 1:
            _, reading = self._readings.popitem(last=False)
            size -= reading.table.size


@dataclass
class Budget:
    """How much may still be read of curves, by one call or by several of one thread."""

    bytes: int = field(default_factory=lambda: MAX_READ_BYTES)
    lines: int = field(default_factory=lambda: MAX_READ_LINES)
    until: float = field(default_factory=lambda: time.thread_time() + MAX_READ_SECONDS)

    @property
    def is_used_up(self) -> bool:
        """Whether nothing may be read any more."""
        return self.bytes <= 0 or self.lines <= 0 or time.thread_time() >= self.until


@dataclass
class _Reading:
    """How far a file was read, and its content so far."""

    table: Table = field(default_factory=Table)
    lock: threading.Lock = field(default_factory=threading.Lock)
    inode: int = 0
    offset: int = 0  # bytes
    mark: bytes = b""  # the bytes before the offset
    in_long_line: bool = False

    def read(self, file: BinaryIO, budget: Budget, *, ended: bool) -> bool:
        """Read the new lines, or all of them if the file was replaced or rewritten.

        Args:
            file: the file.
            budget: reduced by what is read.
            ended: whether a last line without a line end is complete.

        Returns:
            Whether the file was read to its end.
        """
        if not self._is_continued(file):
            self.table, self.offset, self.mark, self.in_long_line = Table(), 0, b"", False
            self.inode = os.fstat(file.fileno()).st_ino
        file.seek(self.offset)
        for lines in self._new_lines(file, budget):
            for begin in range(0, len(lines), LINES_AT_ONCE):
                self.table.extend(parse_rows(lines[begin : begin + LINES_AT_ONCE]))
        size = os.fstat(file.fileno()).st_size
        complete, left = file.tell() >= size, size - self.offset
        if ended and 0 < left <= MAX_LINE_BYTES and not self.in_long_line:
            file.seek(self.offset)
            rest = file.read(left)
            if rows := parse_rows([rest]):
                self.table.extend(rows)
                self._move(rest)
        return complete

    def _is_continued(self, file: BinaryIO) -> bool:
        """Return whether the file still begins with what was read.

        Its size does not show that: a retry truncates the file to its checkpoint, and may have
        written more than was there before.
        """
        if os.fstat(file.fileno()).st_ino != self.inode:
            return False
        begin = self.offset - len(self.mark)
        return os.pread(file.fileno(), len(self.mark), begin) == self.mark

    def _new_lines(self, file: BinaryIO, budget: Budget) -> Iterator[list[bytes]]:
        """Yield the complete lines of one piece after another, and move the offset behind them."""
        rest = b""
        while not budget.is_used_up and (piece := file.read(LARGE_PIECE_BYTES)):
            budget.bytes -= len(piece)
            text = rest + piece
            *lines, rest = text.split(b"\n")
            budget.lines -= len(lines)
            used = text[: len(text) - len(rest)]
            if self.in_long_line and lines:
                del lines[0]  # the end of the long line
                self.in_long_line = False
            if len(rest) > MAX_LINE_BYTES:
                used, rest, self.in_long_line = text, b"", True
            self._move(used)
            yield lines

    def _move(self, used: bytes) -> None:
        """Move the offset behind bytes that were read."""
        self.offset += len(used)
        self.mark = (self.mark + used[-MARK_BYTES:])[-MARK_BYTES:]
