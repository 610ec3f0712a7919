"""Reads and writes the log files of experiments, in the folder `logs` of their output folder.

    2.log                              the log of attempt 2
    2.20261125T142410Z-some-pod.log    a part of it, printed by a pod that ended before the attempt

A log that is too long is saved without its middle (see `log_lines.bounded`). The trainer, which is
not trusted, can write to this folder: links are not followed.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from backend.files.log_lines import MARKER_BYTES, MAX_TAIL_BYTES, bounded, split, stands_for
from backend.files.outputs import LOG_FOLDER, Outputs
from backend.files.sizes import PIECE_BYTES
from backend.files.untrusted import opened_folder, write_file


class LogFiles:
    """The saved logs of all experiments. A line is bytes, without its line end."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs

    def open(self, experiment_id: str, attempt: int, part: str = "") -> BinaryIO | None:
        """Open a log, or a part of it, for reading; return None if it does not exist."""
        return self._outputs.open(experiment_id, LOG_FOLDER, _name(attempt, part))

    def exists(self, experiment_id: str, attempt: int) -> bool:
        """Return whether the log of an attempt is saved."""
        return self._outputs.has_log(experiment_id, attempt)

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

    def parts(self, experiment_id: str, attempt: int) -> list[str]:
        """Return the names of the saved parts of a log, oldest first."""
        start, end = f"{attempt}.", ".log"
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
        save it at the same time, the one that saw most wins.

        Raises:
            OSError: it cannot be written.
        """
        name = _name(attempt, part)
        with opened_folder(self._outputs.folder(experiment_id)) as folder:
            _make_folder(folder)
            with opened_folder(LOG_FOLDER, within=folder) as directory:
                written = 0

                def counted() -> Iterator[bytes]:
                    nonlocal written
                    for line in bounded(lines, max_bytes):
                        written += stands_for(line)
                        yield line + b"\n"

                def adds_nothing() -> bool:
                    existing = self.lines(experiment_id, attempt, part)
                    return written <= sum(stands_for(line) for line in existing)

                write_file(directory, name, counted(), unless=adds_nothing)

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
            lines = bounded(split(_pieces(file)), max_bytes)
            with (
                opened_folder(self._outputs.folder(experiment_id)) as folder,
                opened_folder(LOG_FOLDER, within=folder) as directory,
            ):
                write_file(directory, _name(attempt, ""), (line + b"\n" for line in lines))


def _make_folder(within: int) -> None:
    """Create the folder of the logs; a file or link of that name is removed."""
    try:
        os.mkdir(LOG_FOLDER, dir_fd=within)
    except FileExistsError:
        existing = os.stat(LOG_FOLDER, dir_fd=within, follow_symlinks=False)
        if not stat.S_ISDIR(existing.st_mode):
            os.unlink(LOG_FOLDER, dir_fd=within)
            os.mkdir(LOG_FOLDER, dir_fd=within)


def _name(attempt: int, part: str) -> str:
    return f"{attempt}.{part}.log" if part else f"{attempt}.log"


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        yield piece


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
