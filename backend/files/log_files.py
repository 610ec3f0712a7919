"""Reads and writes the log files of experiments, in the folder `logs` of their output folder.

    2.log                              the log of attempt 2
    2.20261125T142410Z-some-pod.log    a part of it, printed by a pod that ended before the attempt
    2-worker-1.log                     the log of worker 1 of a gang, which also has such parts

A log that is too long is saved without its middle (see `log_lines.bounded`). The trainer, which is
not trusted, can write to this folder: links are not followed.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import BinaryIO

from backend.files.log_lines import (
    MARKER_BYTES,
    MARKER_END,
    MAX_TAIL_BYTES,
    UNHEARD,
    bounded,
    count_lines,
    end_of,
    marker,
    split,
    stands_for,
)
from backend.files.outputs import LOG_FOLDER, Outputs
from backend.files.sizes import PIECE_BYTES
from backend.files.untrusted import make_folder, opened_folder, write_file, writings

SKIP_BYTES = 64 * 2**20


class LogFiles:
    """The saved logs of all experiments. A line is bytes, without its line end."""

    def __init__(self, outputs: Outputs, rank: int = 0) -> None:
        """Use the logs of the workers with this rank in the folders of `outputs`."""
        self._outputs, self._rank = outputs, rank

    def open(self, experiment_id: str, attempt: int, part: str = "") -> BinaryIO | None:
        """Open a log, or a part of it, for reading; return None if it does not exist."""
        return self._outputs.open(experiment_id, LOG_FOLDER, self._name(attempt, part))

    def exists(self, experiment_id: str, attempt: int) -> bool:
        """Return whether the log of an attempt is saved."""
        if not self._rank:
            return self._outputs.has_log(experiment_id, attempt)
        file = self.open(experiment_id, attempt)
        if file:
            file.close()
        return file is not None

    def lines(
        self, experiment_id: str, attempt: int, part: str = "", *, last: int | None = None
    ) -> Iterator[bytes]:
        """Yield the lines of a log, or its `last` lines; none if it does not exist."""
        file = self.open(experiment_id, attempt, part)
        if file:
            with file:
                if last is not None:
                    file.seek(_offset_of_last(file, last))
                yield from split(_pieces(file))

    def count(self, experiment_id: str, attempt: int, part: str = "") -> int:
        """Return how many lines of the complete log a saved log stands for; 0 if there is none."""
        return sum(self.counts(experiment_id, attempt, part))

    def counts(self, experiment_id: str, attempt: int, part: str = "") -> Iterator[int]:
        """Yield the numbers whose sum is `count`, piece by piece."""
        file = self.open(experiment_id, attempt, part)
        if file:
            with file:
                yield from count_lines(_pieces(file))

    def parts(self, experiment_id: str, attempt: int) -> list[str]:
        """Return the names of the saved parts of a log, oldest first."""
        start, end = f"{log_stem(attempt, self._rank)}.", ".log"
        try:
            with (
                opened_folder(self._outputs.folder(experiment_id)) as folder,
                opened_folder(LOG_FOLDER, within=folder) as directory,
            ):
                names = sorted(os.listdir(directory))  # noqa: PTH208  (Path takes no descriptor)
        except OSError:
            return []
        parts = (name[len(start) : -len(end)] for name in names if name.startswith(start))
        return [part for part in parts if part]

    def write(
        self,
        experiment_id: str,
        attempt: int,
        lines: Iterable[bytes],
        max_bytes: int,
        part: str = "",
    ) -> None:
        """Save a log, or its first and last lines if it is longer than `max_bytes`.

        An existing log is replaced only by one with more lines, so that of several processes that
        save it at the same time, the one that saw most wins. The line UNHEARD is replaced by a line
        of the trainer. A log without lines is saved, too: it was heard.

        Raises:
            OSError: it cannot be written.
        """
        name = self._name(attempt, part)
        with opened_folder(self._outputs.folder(experiment_id)) as folder:
            make_folder(LOG_FOLDER, within=folder)
            with opened_folder(LOG_FOLDER, within=folder) as directory:
                written = 0

                def counted() -> Iterator[bytes]:
                    nonlocal written
                    for line in bounded(lines, max_bytes):
                        written += stands_for(line)
                        yield line + b"\n"

                def adds_nothing() -> bool:
                    if not written and not part and not self.exists(experiment_id, attempt):
                        return False
                    existing = self.count(experiment_id, attempt, part)
                    if written != existing:
                        return written < existing
                    return UNHEARD not in self.lines(experiment_id, attempt, part, last=1)

                write_file(directory, name, counted(), unless=adds_nothing)

    def write_unheard(
        self, experiment_id: str, attempt: int, max_bytes: int, *, has_begun: bool
    ) -> bool:
        """End a log with UNHEARD if nobody has heard its end.

        That is so if whoever was writing it was killed, or if nothing is saved of an attempt that
        `has_begun`. It is not while somebody is writing it. A log that ends so already stays.

        Returns:
            Whether that is so.

        Raises:
            OSError: it cannot be written.
        """
        name = self._name(attempt)
        is_said = UNHEARD in self.lines(experiment_id, attempt, last=1)
        if is_said or self.parts(experiment_id, attempt):
            return False
        with opened_folder(self._outputs.folder(experiment_id)) as folder:
            make_folder(LOG_FOLDER, within=folder)
            with opened_folder(LOG_FOLDER, within=folder) as directory:
                found = writings(directory, name)
        is_missing = has_begun and not self.exists(experiment_id, attempt)
        if any(found.values()) or not (found or is_missing):
            return False
        lines = chain(self.lines(experiment_id, attempt), [UNHEARD])
        self.write(experiment_id, attempt, lines, max_bytes)
        return True

    def shorten(self, experiment_id: str, attempt: int, max_bytes: int) -> None:
        """Remove the middle of a log that is longer than `max_bytes`, and not written any more.

        Raises:
            OSError: it cannot be written.
        """
        file = self.open(experiment_id, attempt)
        if file is None:
            return
        with file:
            if os.fstat(file.fileno()).st_size <= max_bytes + MARKER_BYTES:
                return
            lines = _head_and_tail(file, max_bytes)
            with (
                opened_folder(self._outputs.folder(experiment_id)) as folder,
                opened_folder(LOG_FOLDER, within=folder) as directory,
            ):
                write_file(directory, self._name(attempt), (line + b"\n" for line in lines))

    def _name(self, attempt: int, part: str = "") -> str:
        stem = log_stem(attempt, self._rank)
        return f"{stem}.{part}.log" if part else f"{stem}.log"


def log_stem(attempt: int, rank: int) -> str:
    """Return the name of a worker's log, without `.log`; rank 0 prints that of the attempt."""
    return f"{attempt}-worker-{rank}" if rank else str(attempt)


def read_piece(file: BinaryIO, size: int = PIECE_BYTES) -> bytes:
    """Read the next piece of a file; it is empty at the end of the file.

    The holes of a sparse file, which reads as zeros, are passed over: a trainer can make one of
    terabytes.
    """
    piece = file.read(size)
    if piece and not piece.strip(b"\0"):
        try:
            file.seek(os.lseek(file.fileno(), file.tell(), os.SEEK_DATA))
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole follows
                file.seek(0, os.SEEK_END)
    return piece


def skip_lines(file: BinaryIO, lines: int) -> int:
    """Move a file behind at most `lines` lines that follow, and at most SKIP_BYTES.

    Whole pieces are skipped, in a hundredth of the time of their lines.

    Returns:
        How many lines were skipped.
    """
    begin = position = file.tell()
    end, skipped, before = position + SKIP_BYTES, 0, b""
    while begin < end and (piece := read_piece(file)):
        number = piece.count(b"\n")
        if skipped + number > lines or MARKER_END in before + piece:  # it stands for more lines
            break
        if number:
            skipped, position = skipped + number, begin + piece.rindex(b"\n") + 1
        begin, before = file.tell(), piece[-len(MARKER_END) :]
    file.seek(position)
    return skipped


def _pieces(file: BinaryIO, end: int | None = None) -> Iterator[bytes]:
    """Yield the content of a file in pieces, from its position to its end, or to `end`."""
    while end is None or file.tell() < end:
        size = PIECE_BYTES if end is None else min(PIECE_BYTES, end - file.tell())
        piece = read_piece(file, size)
        if not piece:
            return
        yield piece


def _head_and_tail(file: BinaryIO, max_bytes: int) -> Iterator[bytes]:
    """Yield the lines of `bounded` for a file; those between head and tail are only counted."""
    half, size = max_bytes // 2, os.fstat(file.fileno()).st_size
    head = file.read(half)
    head = head[: head.rfind(b"\n") + 1]
    begin, kept_of_omitted = max(len(head), size - half), 0
    file.seek(begin)
    tail = b"".join(_pieces(file, size))
    if begin and os.pread(file.fileno(), 1, begin - 1) != b"\n":  # within a line
        cut, newline, rest = tail.partition(b"\n")
        if newline and rest:
            begin, tail = begin + len(cut) + 1, rest
        else:  # the last line; its end is kept
            tail, kept_of_omitted = end_of(tail, len(tail) - 1), 1
    file.seek(len(head))
    omitted = sum(count_lines(_pieces(file, begin))) - kept_of_omitted
    yield from split([head])
    if omitted > 0:
        yield marker(omitted)
    yield from split([tail])


def _offset_of_last(file: BinaryIO, lines: int) -> int:
    """Return the offset at which the last `lines` lines of a file begin, searching from its end.

    At most MAX_TAIL_BYTES are searched: a trainer can create a sparse file of terabytes.
    """
    position = file.seek(0, os.SEEK_END)
    if lines == 0:
        return position
    lowest = max(0, position - MAX_TAIL_BYTES)
    position = max(0, position - 1)  # no line begins after a line end that is the last byte
    while position > lowest:
        start = max(lowest, position - PIECE_BYTES)
        file.seek(start)
        piece = file.read(position - start)
        line_end = len(piece)
        while (line_end := piece.rfind(b"\n", 0, line_end)) >= 0:
            lines -= 1
            if lines == 0:
                return start + line_end + 1
        position = start
    return lowest
