"""Shows a line of output as a terminal does. Pure.

A progress bar prints state after state with carriage returns between them: a terminal shows the
last one. Of the escape sequences (ECMA-48), only colours can be kept; others are not shown.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import groupby

from backend.files.terminal.colours import PLAIN, Pen

# How far beyond the text a sequence can move the cursor. The gap is filled with spaces, so a few
# bytes would otherwise become 64 KiB, as often as a trainer repeats them.
MAX_COLUMNS = 1000

_NOT_PLAIN = re.compile(rb"[\x07\x08\r\x1b]|\xc2[\x80-\x9f]")
_MAYBE_NOT_PLAIN = b"\x07\x08\r\x1b\xc2"  # bytes without which a text is plain
_TOKEN = re.compile(
    r"(?:\x1b\[|\x9b)(?P<numbers>[0-?]*)[ -/]*(?P<control>[@-~]|$)"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
    r"|(?P<key>[\r\b])|[\x07\x80-\x9a\x9c]"
    r"|(?P<text>[^\x07\b\r\x1b\x80-\x9f]+)"
)


def shown_together(lines: Sequence[bytes], *, colours: bool = False) -> bytes:
    """Return lines as `shown` returns them, each with its line end.

    Lines without anything to carry out cost a quarter of what they would cost one by one.
    """
    text = b"".join([line + b"\n" for line in lines])
    if len(text.translate(None, _MAYBE_NOT_PLAIN)) == len(text):
        return text
    return b"".join([shown(line, colours=colours) + b"\n" for line in lines])


def shown(line: bytes, *, colours: bool = False) -> bytes:
    """Return a line as a terminal shows it: without escape sequences, carriage returns carried out.

    With `colours`, each change of colour is one sequence `ESC [ 0 ; ... m` with at most the 16
    usual colours, and a coloured line ends with `ESC [ 0 m`. A line begins without colour, whatever
    the one before it ended with. Bytes that are not UTF-8 are kept.
    """
    if not _NOT_PLAIN.search(line):
        return line
    screen = _Screen()
    for token in _TOKEN.finditer(line.decode(errors="surrogateescape")):
        if token["text"]:
            screen.write(token["text"])
        elif token["key"]:
            screen.move(0 if token["key"] == "\r" else screen.cursor - 1)
        elif token["control"]:
            screen.control(token["control"], token["numbers"])
    text = screen.coloured_text() if colours else screen.text()
    return text.encode(errors="surrogateescape")


class _Screen:
    """One line of a terminal."""

    def __init__(self) -> None:
        self.cursor = 0
        self._pen = Pen()
        self._cells: list[str] = []  # the second one of a wide character is empty
        self._styles: list[str] = []  # of each cell
        self._is_overwritten = False

    def write(self, text: str) -> None:
        """Write at the cursor, over what is there."""
        cells = list(text) if text.isascii() else _cells(text)
        width = len(self._cells)
        if self.cursor > width:
            self.cursor = max(width, min(self.cursor, MAX_COLUMNS))
            self._cells.extend(" " * (self.cursor - width))
            self._styles.extend([PLAIN] * (self.cursor - width))
        end = self.cursor + len(cells)
        self._cells[self.cursor : end] = cells
        self._styles[self.cursor : end] = [self._pen.style] * len(cells)
        self.cursor = end

    def move(self, column: int) -> None:
        """Move the cursor. Where it is beyond the text, `write` moves it back to MAX_COLUMNS."""
        self.cursor = max(0, column)
        self._is_overwritten = True

    def control(self, control: str, numbers: str) -> None:
        """Carry out a control sequence that concerns this line, and ignore any other."""
        number = int(numbers) if re.fullmatch("[0-9]{1,6}", numbers) else 0
        if control == "m":
            self._pen.change(numbers)
        elif control == "K" and number in (0, 2):
            begin = 0 if number == 2 else self.cursor
            del self._cells[begin:], self._styles[begin:]
        elif control == "G":
            self.move(number - 1)
        elif control in "CD":
            self.move(self.cursor + max(1, number) * (1 if control == "C" else -1))

    def text(self) -> str:
        """Return what is shown, without colours."""
        text = "".join(self._cells)
        return text.rstrip(" ") if self._is_overwritten else text

    def coloured_text(self) -> str:
        """Return what is shown, with a sequence before each change of colour."""
        width = len(self._cells)
        while self._is_overwritten and width and self._cells[width - 1] == " ":
            width -= 1
        cells = zip(self._styles[:width], self._cells, strict=False)
        parts, style = list[str](), PLAIN
        for style, run in groupby(cells, key=lambda cell: cell[0]):
            parts.append(_sequence(style) if parts or style else "")
            parts.append("".join(text for _, text in run))
        return "".join(parts) + (_sequence(PLAIN) if style else "")


def _sequence(style: str) -> str:
    return f"\x1b[0;{style}m" if style else "\x1b[0m"


def _cells(text: str) -> list[str]:
    cells: list[str] = []
    for character in text:
        cells.append(character)
        if unicodedata.east_asian_width(character) in "WF":
            cells.append("")
    return cells
