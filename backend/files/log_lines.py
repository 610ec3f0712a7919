"""Lines of logs. Pure. A line is bytes, without its end.

In a log that was too long to be kept whole one line stands for those that are left out, and says
how many they are, so that every other line keeps its number.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator

MARKER = re.compile(rb"\.\.\. ([0-9]{1,15}) lines are left out \(LOG_MAX_BYTES\) \.\.\.")
MARKER_BYTES = 80  # at most
MAX_LINE_BYTES = 64 * 1024  # the rest of a longer line is left out
MAX_TAIL_BYTES = 16 * 2**20


class LineSplitter:
    """Cuts a text that comes in pieces into lines, in bounded memory however long a line is.

    Attributes:
        rest: what has come after the last line end.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.rest = b""

    def add(self, piece: bytes) -> list[bytes]:
        """Give the lines that are whole now."""
        *lines, rest = (self.rest + piece).split(b"\n")
        self.rest = rest[:MAX_LINE_BYTES]
        return [line[:MAX_LINE_BYTES] for line in lines]


def split(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a text that comes in pieces into lines; what follows the last line end is one too."""
    splitter = LineSplitter()
    for piece in pieces:
        yield from splitter.add(piece)
    if splitter.rest:
        yield splitter.rest


def last(lines: Iterable[bytes], number: int) -> Iterable[bytes]:
    """Give the last lines: at most `number`, and not many more bytes than MAX_TAIL_BYTES."""
    kept, size = deque[bytes](), 0
    for line in lines:
        kept.append(line)
        size += len(line)
        while len(kept) > number or size > MAX_TAIL_BYTES:
            size -= len(kept.popleft())
    return kept


def numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Give lines with their numbers, from 1 on.

    A line that stands for others has the number of the last of them.
    """
    number = 0
    for line in lines:
        number += stands_for(line)
        yield number, line


def stands_for(line: bytes) -> int:
    """Say how many lines of the whole log a line of a kept one stands for."""
    left_out = MARKER.fullmatch(line)
    return int(left_out[1]) if left_out else 1


def bounded(lines: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """Give lines; if with their ends they are too long, the first and the last half of them."""
    head_left, tail, tail_size, left_out = max_bytes // 2, deque[bytes](), 0, 0
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
            left_out += stands_for(dropped)
    if left_out:
        yield b"... %d lines are left out (LOG_MAX_BYTES) ..." % left_out
    yield from tail
