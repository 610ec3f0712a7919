"""The log files of a run, in the folder `logs` of its output folder.

    2.log                              the log of attempt 2
    2.20261125T142410Z-some-pod.log    a part of it: what a pod printed that went before the end

A log longer than is to be kept has a line in the place of its middle that says how many lines are
left out (`log_lines.py`). The folder is the trainer's, which is not trusted: no link in it is
followed.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from backend.files.log_lines import MARKER_BYTES, MAX_TAIL_BYTES, bounded, split, stands_for
from backend.files.outputs import LOG_FOLDER, Outputs
from backend.files.untrusted import opened_folder, write_file

PIECE_BYTES = 64 * 1024


class LogFiles:
    """The logs that lie in the folders of all runs. A line is bytes, without its end."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs

    def open(self, experiment_id: str, attempt: int, part: str = "") -> BinaryIO | None:
        """Open a log for reading, or None if there is none."""
        return self._outputs.open(experiment_id, LOG_FOLDER, _name(attempt, part))

    def exists(self, experiment_id: str, attempt: int) -> bool:
        """Tell whether the log of an attempt lies in the run's folder."""
        return self._outputs.has_log(experiment_id, attempt)

    def lines(
        self, experiment_id: str, attempt: int, part: str = "", *, last: int | None = None
    ) -> Iterator[bytes]:
        """Give the lines of a log, or the last so many; none if there is none."""
        file = self.open(experiment_id, attempt, part)
        if file:
            with file:
                if last is not None:
                    file.seek(_beginning(file, last))
                yield from split(iter(lambda: file.read(PIECE_BYTES), b""))

    def parts(self, experiment_id: str, attempt: int) -> list[str]:
        """Name the parts that are kept of a log, oldest first."""
        start, end = f"{attempt}.", ".log"
        try:
            with (
                opened_folder(self._outputs.folder(experiment_id)) as folder,
                opened_folder(LOG_FOLDER, within=folder) as directory,
            ):
                names = sorted(os.listdir(directory))  # noqa: PTH208  (Path takes no descriptor)
        except OSError:
            return []
        parts = (one[len(start) : -len(end)] for one in names if one.startswith(start))
        return [part for part in parts if part]

    def write(
        self,
        experiment_id: str,
        attempt: int,
        lines: Iterable[bytes],
        max_bytes: int,
        part: str = "",
    ) -> None:
        """Keep a log, or of one longer than `max_bytes` its head and tail.

        A log that is there already is replaced only by one with more lines: of several who keep
        it at once, the one who saw most wins.

        Raises:
            OSError: it cannot be written.
        """
        name = _name(attempt, part)
        with opened_folder(self._outputs.folder(experiment_id)) as folder:
            _make_folder(folder)
            with opened_folder(LOG_FOLDER, within=folder) as directory:
                seen = 0

                def counted() -> Iterator[bytes]:
                    nonlocal seen
                    for line in bounded(lines, max_bytes):
                        seen += stands_for(line)
                        yield line + b"\n"

                def is_shorter() -> bool:
                    there = self.lines(experiment_id, attempt, part)
                    return seen <= sum(stands_for(line) for line in there)

                write_file(directory, name, counted(), unless=is_shorter)

    def shorten(self, experiment_id: str, attempt: int, max_bytes: int) -> None:
        """Keep head and tail of a log that has become longer than `max_bytes`; nobody writes it.

        Raises:
            OSError: it cannot be written.
        """
        file = self.open(experiment_id, attempt)
        if file is None:
            return
        with file:
            if os.fstat(file.fileno()).st_size <= max_bytes + MARKER_BYTES:
                return
            lines = bounded(split(iter(lambda: file.read(PIECE_BYTES), b"")), max_bytes)
            with (
                opened_folder(self._outputs.folder(experiment_id)) as folder,
                opened_folder(LOG_FOLDER, within=folder) as directory,
            ):
                write_file(directory, _name(attempt, ""), (line + b"\n" for line in lines))


def _make_folder(within: int) -> None:
    """Make the folder of the logs, also in the place of what a trainer put there instead."""
    try:
        os.mkdir(LOG_FOLDER, dir_fd=within)
    except FileExistsError:
        there = os.stat(LOG_FOLDER, dir_fd=within, follow_symlinks=False)
        if not stat.S_ISDIR(there.st_mode):
            os.unlink(LOG_FOLDER, dir_fd=within)
            os.mkdir(LOG_FOLDER, dir_fd=within)


def _name(attempt: int, part: str) -> str:
    return f"{attempt}.{part}.log" if part else f"{attempt}.log"


def _beginning(file: BinaryIO, lines: int) -> int:
    """Find where the last so many lines of a file begin, from its end on.

    No more is read than may be given: a trainer can make a file of terabytes that takes no space.
    """
    position = file.seek(0, os.SEEK_END)
    if lines == 0:
        return position
    lowest = max(0, position - MAX_TAIL_BYTES)
    position = max(0, position - 1)  # the last byte begins no line
    while position > lowest:
        start = max(lowest, position - PIECE_BYTES)
        file.seek(start)
        piece = file.read(position - start)
        at = len(piece)
        while (at := piece.rfind(b"\n", 0, at)) >= 0:
            lines -= 1
            if lines == 0:
                return start + at + 1
        position = start
    return lowest
