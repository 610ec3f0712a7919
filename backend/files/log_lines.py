"""Splits, numbers and shortens the lines of logs. Pure. A line is bytes, without its line end.

In a log that was too long to be saved completely, one marker line replaces the omitted lines and
states their number, so that all other lines keep their numbers.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator

MARKER = re.compile(rb"\.\.\. ([0-9]{1,15}) lines are left out \(LOG_MAX_BYTES\) \.\.\.")
MARKER_BYTES = 80  # at most
MAX_LINE_BYTES = 64 * 1024  # the rest of a longer line is cut off
MAX_TAIL_BYTES = 16 * 2**20  # of the last lines of a log


class LineSplitter:
    """Splits a text that arrives in pieces into lines of at most MAX_LINE_BYTES.

    Attributes:
        rest: the text after the last line end.
    """

    def __init__(self) -> None:
        """Start with an empty text."""
        self.rest = b""

    def add(self, piece: bytes) -> list[bytes]:
        """Add a piece, and return the lines that it completes."""
        *lines, rest = (self.rest + piece).split(b"\n")
        self.rest = rest[:MAX_LINE_BYTES]
        return [line[:MAX_LINE_BYTES] for line in lines]


def split(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a text that arrives in pieces, including a last one without a line end."""
    splitter = LineSplitter()
    for piece in pieces:
        yield from splitter.add(piece)
    if splitter.rest:
        yield splitter.rest


def last(lines: Iterable[bytes], number: int) -> Iterable[bytes]:
    """Return the last `number` lines, or fewer if they are longer than MAX_TAIL_BYTES together."""
    kept, size = deque[bytes](), 0
    for line in lines:
        kept.append(line)
        size += len(line)
        while len(kept) > number or size > MAX_TAIL_BYTES:
            size -= len(kept.popleft())
    return kept


def numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield lines with their numbers, beginning with 1.

    A marker line has the number of the last line that it replaces.
    """
    number = 0
    for line in lines:
        number += stands_for(line)
        yield number, line


def stands_for(line: bytes) -> int:
    """Return how many lines of the complete log a line stands for: 1, or more for a marker line."""
    marker = MARKER.fullmatch(line)
    return int(marker[1]) if marker else 1


def bounded(lines: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """Yield all lines, or the first and last `max_bytes` / 2 of them and a marker line between."""
    head_left = max_bytes // 2
    tail, tail_size, omitted = deque[bytes](), 0, 0
    for line in lines:
        if len(line) < head_left and not tail:
            head_left -= len(line) + 1
            yield line
            continue
        tail.append(line)
        tail_size += len(line) + 1
        while tail_size > max_bytes // 2:
            dropped = tail.popleft()
            tail_size -= len(dropped) + 1
            omitted += stands_for(dropped)
    if omitted:
        yield b"... %d lines are left out (LOG_MAX_BYTES) ..." % omitted
    yield from tail
