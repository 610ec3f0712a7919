"""Splits, numbers and shortens the lines of logs. Pure. A line is bytes, without its line end.

In a log that was too long to be saved completely, one marker line replaces the omitted lines and
states their number, so that all other lines keep their numbers.
"""

import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence

from backend.files.sizes import PIECE_BYTES

MARKER = re.compile(rb"\.\.\. ([0-9]{1,15}) lines are left out \(LOG_MAX_BYTES\) \.\.\.")
MARKER_END = b"(LOG_MAX_BYTES) ..."
# The last line of a log whose end was lost.
UNHEARD = b"... the pod was gone before the end of its output was read ..."
_CONTINUATION = bytes(range(0x80, 0xC0))  # of a character in UTF-8
MARKER_BYTES = 80  # at most
MAX_LINE_BYTES = 64 * 1024  # of a longer line, the first and the last half of so much is kept
MAX_TAIL_BYTES = 16 * 2**20  # of the last lines of a log


class Unfinished(bytes):
    """The text so far of a line whose end has not been printed yet."""


class LineSplitter:
    """Splits a text that arrives in pieces into lines of at most MAX_LINE_BYTES."""

    def __init__(self) -> None:
        """Start with an empty text."""
        self._rest = b""

    @property
    def rest(self) -> bytes:
        """The text after the last line end."""
        return _shortened(self._rest)

    def add(self, piece: bytes) -> list[bytes]:
        """Add a piece, and return the lines that it completes."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > 2 * MAX_LINE_BYTES:
            self._rest = _shortened(self._rest)
        if max(map(len, lines), default=0) <= MAX_LINE_BYTES:
            return lines
        return [_shortened(line) for line in lines]


def _shortened(line: bytes) -> bytes:
    """Return a line, or the first and last half of MAX_LINE_BYTES of a longer one.

    The last half of a progress bar begins with a whole state.
    """
    if len(line) <= MAX_LINE_BYTES:
        return line
    end = line[-MAX_LINE_BYTES // 2 :]
    return line[: MAX_LINE_BYTES // 2] + end[max(0, end.find(b"\r")) :]


def split(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a text that arrives in pieces, including a last one without a line end."""
    splitter = LineSplitter()
    for piece in pieces:
        yield from splitter.add(piece)
    if splitter.rest:
        yield splitter.rest


def batches(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield lines in lists of about PIECE_BYTES."""
    batch, size = list[bytes](), 0
    for line in lines:
        batch.append(line)
        size += len(line) + 1
        if size >= PIECE_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def last(batches: Iterable[list[bytes]], number: int) -> Iterator[list[bytes]]:
    """Yield the last `number` lines, or fewer if they are longer than MAX_TAIL_BYTES together."""
    kept, count, size = deque[tuple[list[bytes], int]](), 0, 0
    for batch in batches:
        kept.append((batch, sum(map(len, batch)) + len(batch)))
        count, size = count + len(batch), size + kept[-1][1]
        while kept and (count - len(kept[0][0]) >= number or size > MAX_TAIL_BYTES):
            dropped, dropped_size = kept.popleft()
            count, size = count - len(dropped), size - dropped_size
    for batch, _ in kept:
        surplus = max(0, count - number)  # less than the first batch has
        count -= surplus
        if surplus < len(batch):
            yield batch[surplus:]


def numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield lines with their numbers, beginning with 1.

    A marker line has the number of the last line that it replaces.
    """
    number = 0
    for line in lines:
        number += stands_for(line)
        yield number, line


def marker(lines: int) -> bytes:
    """Return the line that replaces this number of lines."""
    return b"... %d lines are left out (LOG_MAX_BYTES) ..." % lines


def count_lines(pieces: Iterable[bytes]) -> Iterator[int]:
    """Yield, for each piece of a text, how many more lines of the complete log there are.

    The sum is that of `stands_for` over `split`, in a tenth of the time.
    """
    rest = b""
    for piece in pieces:
        text = rest + piece
        whole, newline, rest = text.rpartition(b"\n")
        lines = whole.count(b"\n") + len(newline)
        if MARKER_END in whole:
            lines += sum(stands_for(line) - 1 for line in whole.split(b"\n"))
        rest = rest[: 2 * MARKER_BYTES]
        yield lines
    if rest:
        yield stands_for(rest)


def stands_for(line: bytes) -> int:
    """Return how many lines of the complete log a line stands for: 1, or more for a marker line."""
    marker = MARKER.fullmatch(line) if line.startswith(b"... ") else None
    return int(marker[1]) if marker else 1


def bounded(lines: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """Yield all lines, or the first and last `max_bytes` / 2 of them and a marker line between.

    Of a last line that is longer than that, the end is kept.
    """
    half = max_bytes // 2
    head_left, is_head = half, True
    tail, tail_size, omitted = deque[bytes](), 0, 0
    for line in lines:
        is_head = is_head and len(line) < head_left
        if is_head:
            head_left -= len(line) + 1
            yield line
            continue
        tail.append(line)
        tail_size += len(line) + 1
        while tail_size > half and len(tail) > 1:
            dropped = tail.popleft()
            tail_size -= len(dropped) + 1
            omitted += stands_for(dropped)
        if tail_size > half:
            tail[0] = end_of(line, max(0, half - 1))
            tail_size = len(tail[0]) + 1
    if omitted:
        yield marker(omitted)
    yield from tail


class BoundedText(Collection[bytes]):
    """The lines of a text of which at most about `max_bytes` are held in memory.

    Of a longer text, a marker line stands for the lines between the first and the last ones.
    """

    def __init__(self, max_bytes: int) -> None:
        """Start with an empty text."""
        self._half = max_bytes // 2
        self._head, self._head_size, self._head_lines = list[bytes](), 0, 0
        self._tail, self._tail_size = deque[tuple[bytes, int]](), 0
        self._omitted = 0

    def add(self, lines: Sequence[bytes]) -> None:
        """Append lines."""
        if not lines:
            return
        # Joined, because short lines of their own would take ten times as much memory.
        text = b"\n".join(lines) + b"\n"
        if not self._tail and self._head_size + len(text) <= self._half:
            self._head.append(text)
            self._head_size += len(text)
            self._head_lines += len(lines)
            return
        self._tail.append((text, len(lines)))
        self._tail_size += len(text)
        while self._tail_size > self._half and len(self._tail) > 1:
            dropped, number = self._tail.popleft()
            self._tail_size -= len(dropped)
            self._omitted += number

    def __iter__(self) -> Iterator[bytes]:
        yield from split(self._head)
        if self._omitted:
            yield marker(self._omitted)
        yield from split(text for text, _ in self._tail)

    def __len__(self) -> int:
        return self._head_lines + bool(self._omitted) + sum(number for _, number in self._tail)

    def __contains__(self, line: object) -> bool:
        return any(line == each for each in self)


def end_of(line: bytes, size: int) -> bytes:
    """Return the last `size` bytes of a line, or a few less: no character is cut in two."""
    if len(line) <= size:
        return line
    end = line[len(line) - size :]
    return end.lstrip(_CONTINUATION) if len(end) > 4 else end
