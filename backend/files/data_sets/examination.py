"""What a data set holds: examined completely, or by a look at its beginning."""

import hashlib
import os
from collections.abc import Callable
from typing import BinaryIO

from backend.domain.data_sets.content import Content
from backend.domain.data_sets.fitting import Look
from backend.files.data_sets.arrays import (
    damage_is_unreadable,
    examine_arrays,
    look_at_arrays,
    numbers_of,
    opened_samples,
    read_exactly,
)
from backend.files.data_sets.csv_layout import NotJudged, Unreadable
from backend.files.data_sets.csv_tables import (
    PREVIEW_COLUMNS,
    PREVIEW_ROWS,
    examine_csv,
    first_rows,
    look_at_csv,
)

PIECE_BYTES = 2**20
CSV = ".csv"
MAX_CSV_BYTES = 2**30  # a larger file takes minutes of processor time: its rows are not counted


class Interrupted(Exception):
    """The process ends, so a file is not read to its end."""


def digest(file: BinaryIO, is_stopped: Callable[[], bool] = lambda: False) -> str:
    """Return the SHA-256 digest of an open file in hexadecimal, read in pieces.

    Raises:
        Interrupted: `is_stopped` returned true.
        OSError: it cannot be read.
    """
    file.seek(0)
    found = hashlib.sha256()
    while piece := file.read(PIECE_BYTES):
        found.update(piece)
        if is_stopped():
            raise Interrupted
    return found.hexdigest()


def examine(name: str, file: BinaryIO) -> Content | None:
    """Read a whole file and return what it holds; None if that cannot be judged here.

    Args:
        name: its name, whose suffix names the format.
        file: its content, unbuffered.

    Raises:
        OSError: it cannot be read.
    """
    try:
        if not name.lower().endswith(CSV):
            return examine_arrays(file)
        is_small = os.fstat(file.fileno()).st_size <= MAX_CSV_BYTES
        return examine_csv(file) if is_small else None
    except NotJudged:
        return None


def look_at(name: str, file: BinaryIO) -> Look:
    """Return what the header and the first lines of a file show.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return look_at_csv(file) if name.lower().endswith(CSV) else look_at_arrays(file)
    except NotJudged:
        return Look()


def rows_of(name: str, file: BinaryIO) -> list[list[str]]:
    """Return the first cells of the first rows of a table; none of other files.

    Raises:
        OSError: it cannot be read.
    """
    try:
        if name.lower().endswith(CSV):
            return first_rows(file)
        with damage_is_unreadable(), opened_samples(file) as (members, _, _):
            _, header, open_member = members[0]
            row = header.shape[1] * header.width if len(header.shape) == 2 else 0
            if not row or row > PIECE_BYTES or header.is_fortran:
                return []
            with open_member() as member:
                member.read(header.start)
                numbers = numbers_of(read_exactly(member, PREVIEW_ROWS * row), header)
        width = header.shape[1]
        return [
            [f"{number:.6g}" for number in numbers[begin : begin + min(width, PREVIEW_COLUMNS)]]
            for begin in range(0, len(numbers or ()), width)
        ]
    except (NotJudged, Unreadable):
        return []
