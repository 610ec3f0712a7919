"""Reads the curves of experiments from their `metrics.jsonl`; only new lines are read."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from backend.files.curve_table import Curve, Table
from backend.files.metrics import MAX_LINE_BYTES, parse_rows
from backend.files.outputs import METRICS_FILE, Outputs
from backend.files.sizes import LARGE_PIECE_BYTES
from backend.files.untrusted import entry_of

MAX_CACHED_NUMBERS = 4_000_000  # of all curves, in one process
MAX_READ_BYTES = 256 * 2**20  # of one file in one call; the next call continues
LINES_AT_ONCE = 256  # parsed and added to the table together
MARK_BYTES = 256  # of the end of what was read, by which a rewritten file is recognised


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
        file = self._outputs.open(experiment_id, METRICS_FILE)
        if file is None:
            return ""
        with file:
            return entry_of(METRICS_FILE, os.fstat(file.fileno())).version

    def read(
        self, experiment_id: str, *, since_epoch: int = -1, max_points: int | None = None
    ) -> Curve:
        """Return the curve of an experiment, from complete lines; empty if there is none yet.

        Args:
            experiment_id: which experiment.
            since_epoch: only later epochs are returned.
            max_points: at most this many epochs are returned, or twice the number of metrics plus
                two if that is more. They include the first and the last epoch and the extremes of
                every metric, so that no spike is lost.
        """
        return self._read(experiment_id, lambda table: table.curve(since_epoch, max_points))

    def read_at(self, experiment_id: str, epochs: Sequence[int]) -> Curve:
        """Return the curve of an experiment at these epochs; None for those it does not have."""
        return self._read(experiment_id, lambda table: table.at(epochs))

    def _read(self, experiment_id: str, select: Callable[[Table], Curve]) -> Curve:
        """Read the new lines of an experiment, and return what `select` takes from its table."""
        file = self._outputs.open(experiment_id, METRICS_FILE)
        if file is None:
            return select(Table())
        with self._lock:
            reading = self._readings.setdefault(experiment_id, _Reading())
            self._readings.move_to_end(experiment_id)
        with file, reading.lock:
            reading.read(file)
            curve = select(reading.table)
        with self._lock:
            self._drop_oldest()
        return curve

    def _drop_oldest(self) -> None:
        size = sum(reading.table.size for reading in self._readings.values())
        while size > MAX_CACHED_NUMBERS and len(self._readings) > 1:
            _, reading = self._readings.popitem(last=False)
            size -= reading.table.size


@dataclass
class _Reading:
    """How far a file was read, and its content so far."""

    table: Table = field(default_factory=Table)
    lock: threading.Lock = field(default_factory=threading.Lock)
    inode: int = 0
    offset: int = 0  # bytes
    mark: bytes = b""  # the bytes before the offset
    in_long_line: bool = False

    def read(self, file: BinaryIO) -> None:
        """Read the new lines, or all of them if the file was replaced or rewritten."""
        if not self._is_continued(file):
            self.table, self.offset, self.mark, self.in_long_line = Table(), 0, b"", False
            self.inode = os.fstat(file.fileno()).st_ino
        file.seek(self.offset)
        for lines in self._new_lines(file):
            for begin in range(0, len(lines), LINES_AT_ONCE):
                self.table.extend(parse_rows(lines[begin : begin + LINES_AT_ONCE]))

    def _is_continued(self, file: BinaryIO) -> bool:
        """Return whether the file still begins with what was read.

        Its size does not show that: a retry truncates the file to its checkpoint, and may have
        written more than was there before.
        """
        if os.fstat(file.fileno()).st_ino != self.inode:
            return False
        begin = self.offset - len(self.mark)
        return os.pread(file.fileno(), len(self.mark), begin) == self.mark

    def _new_lines(self, file: BinaryIO) -> Iterator[list[bytes]]:
        """Yield the complete lines of one piece after another, and move the offset behind them."""
        rest, left = b"", MAX_READ_BYTES
        while left > 0 and (piece := file.read(LARGE_PIECE_BYTES)):
            left -= len(piece)
            text = rest + piece
            *lines, rest = text.split(b"\n")
            used = text[: len(text) - len(rest)]
            if self.in_long_line and lines:
                del lines[0]  # the end of the long line
                self.in_long_line = False
            if len(rest) > MAX_LINE_BYTES:
                used, rest, self.in_long_line = text, b"", True
            self.offset += len(used)
            self.mark = (self.mark + used[-MARK_BYTES:])[-MARK_BYTES:]
            yield lines
