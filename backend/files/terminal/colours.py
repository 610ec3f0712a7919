"""The colours of a terminal (ECMA-48, 8.3.117: SGR), reduced to the 16 usual ones. Pure."""

import re
from collections.abc import Iterator
from itertools import islice

PLAIN = ""  # the style of text without colour
MAX_CODES = 32  # of one sequence

_NO_INK, _NO_PAPER = 39, 49
_EMPHASIS = frozenset({1, 2, 3, 4, 7})  # bold, faint, italic, underlined, inverse
_ENDED = {22: {1, 2}, 23: {3}, 24: {4}, 27: {7}}  # emphasis that a code ends
_CUBE = (0, 95, 135, 175, 215, 255)  # levels of red, green and blue of the colours 16 to 231
_DARK, _LIGHT, _GREY = 64, 192, 48


class Pen:
    """What text is written with.

    Attributes:
        style: codes in a fixed order, such as "1;31" for bold red; PLAIN without any.
    """

    def __init__(self) -> None:
        """Start without colour."""
        self._emphasis: set[int] = set()
        self._ink, self._paper = _NO_INK, _NO_PAPER
        self.style = PLAIN

    def change(self, numbers: str) -> None:
        """Carry out the codes of one sequence; unknown ones are ignored."""
        parts = numbers.split(";", MAX_CODES)[:MAX_CODES]
        if any(part and not re.fullmatch("[0-9]{1,3}", part) for part in parts):
            return  # a private sequence, or a colour space
        codes = (int(part or 0) for part in parts)
        for code in codes:
            self._set(code, codes)
        colours = [self._ink] * (self._ink != _NO_INK) + [self._paper] * (self._paper != _NO_PAPER)
        self.style = ";".join(map(str, sorted(self._emphasis) + colours))

    def _set(self, code: int, following: Iterator[int]) -> None:
        if code == 0:
            self._emphasis.clear()
            self._ink, self._paper = _NO_INK, _NO_PAPER
        elif code in _EMPHASIS:
            self._emphasis.add(code)
        elif code in _ENDED:
            self._emphasis -= _ENDED[code]
        elif code == 38:
            self._ink = _extended(following) or self._ink
        elif code == 48:
            colour = _extended(following)
            self._paper = colour + 10 if colour else self._paper
        elif 30 <= code <= 37 or 90 <= code <= 97 or code == _NO_INK:
            self._ink = code
        elif 40 <= code <= 47 or 100 <= code <= 107 or code == _NO_PAPER:
            self._paper = code


def _extended(codes: Iterator[int]) -> int | None:
    """Return the usual colour nearest to one of 256, or of 2**24, as a code from 30 on."""
    kind = next(codes, None)
    numbers = list(islice(codes, {5: 1, 2: 3}.get(kind or 0, 0)))
    if kind == 5 and numbers:
        (number,) = numbers
        if number < 16:
            return 30 + number if number < 8 else 82 + number
        if number < 232:
            number -= 16
            return _nearest(_CUBE[number // 36], _CUBE[number // 6 % 6], _CUBE[number % 6])
        level = 8 + 10 * (min(number, 255) - 232)
        return _nearest(level, level, level)
    if kind == 2 and len(numbers) == 3:
        return _nearest(*numbers)
    return None


def _nearest(red: int, green: int, blue: int) -> int:
    low, high = min(red, green, blue), max(red, green, blue)
    if high < _DARK:
        return 30
    if high - low < _GREY:
        return 97 if high > 224 else 37 if high > 160 else 90
    middle = (low + high) / 2
    bits = (red > middle) + 2 * (green > middle) + 4 * (blue > middle)
    return (90 if high > _LIGHT and low > 0 else 30) + bits
