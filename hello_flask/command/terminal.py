"""What the commands print: results on the standard output, everything else on the other."""

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hello_flask.downloads import Progress

COLOURS = {  # of a status, as SGR sequences (ECMA-48, 8.3.117)
    "submitting": "33",
    "queued": "33",
    "running": "36",
    "succeeded": "32",
    "failed": "31",
    "cancelled": "35",
}
BAR = 20  # characters
WIDE = ("W", "F")  # East Asian widths of characters that take two columns


class Terminal:
    """Prints for a person at a terminal, or plainly into a pipe or a file.

    Attributes:
        as_json: whether results are JSON, one document a line.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._is_screen = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._has_colours = (
            sys.stdout.isatty()
            and os.environ.get("TERM") != "dumb"
            and not os.environ.get("NO_COLOR")
        )
        self._on_screen = 0

    def line(self, text: str = "") -> None:
        """Print a line of the result."""
        self._clear()
        print(clean(text), flush=True)

    def json(self, value: Any) -> None:
        """Print a result as JSON."""
        self._clear()
        print(json.dumps(value, ensure_ascii=False), flush=True)

    def note(self, text: str) -> None:
        """Print a line that is no part of the result."""
        self._clear()
        print(clean(text), file=sys.stderr, flush=True)

    def state(self, text: str) -> None:
        """Show a state that the next one replaces; on a terminal alone."""
        if not self._is_screen:
            return
        shown = clean(text)[: _columns() - 1]
        sys.stderr.write(f"\r{shown}{' ' * max(0, self._on_screen - width(shown))}")
        sys.stderr.flush()
        self._on_screen = width(shown)

    def _clear(self) -> None:
        """Remove a state from the screen."""
        if self._on_screen:
            sys.stderr.write(f"\r{' ' * self._on_screen}\r")
            sys.stderr.flush()
            self._on_screen = 0

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Print a table; the column `status` is coloured."""
        texts = [[value_text(value) for value in row] for row in rows]
        head = [name.upper().replace("_", " ") if name.isidentifier() else name for name in columns]
        widths = [max(map(width, column)) for column in zip(head, *texts, strict=True)]
        self.line("  ".join(map(_padded, head, widths)).rstrip())
        for row in texts:
            cells = [
                self.coloured(_padded(text, size), text if name == "status" else "")
                for name, text, size in zip(columns, row, widths, strict=True)
            ]
            print("  ".join(cells).rstrip(), flush=True)

    def coloured(self, text: str, status: str) -> str:
        """Return a text in the colour of a status, if there are colours."""
        colour = COLOURS.get(status) if self._has_colours else None
        return f"\x1b[{colour}m{text}\x1b[0m" if colour else text

    @contextmanager
    def transfer(self, name: str) -> Iterator[Progress]:
        """Return a function that shows how much of a file was sent, for a `with` block."""

        def show(done: int, whole: int | None) -> None:
            self.state(f"{name} {bar(done, whole)} {size_text(done)}")

        try:
            yield show
        finally:
            self._clear()


def bar(done: float, whole: float | None) -> str:
    """Return a progress bar; empty if the whole is not known."""
    if not whole:
        return ""
    full = int(BAR * min(1.0, done / whole))
    return f"[{'#' * full}{'-' * (BAR - full)}]"


def size_text(size: float) -> str:
    """Return a number of bytes in the unit of its size."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def value_text(value: Any) -> str:
    """Return a value of JSON as a cell of a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict | list):
        return clean(json.dumps(value, ensure_ascii=False))
    return clean(str(value))


def clean(text: str) -> str:
    """Return a text without the characters by which it could change the terminal (C0, C1)."""
    if text.isprintable():
        return text
    return "".join(one if one == "\t" or unicodedata.category(one) != "Cc" else "?" for one in text)


def width(text: str) -> int:
    """Return the columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(one) in WIDE for one in text)
    return len(text) + wide - sum(bool(unicodedata.combining(one)) for one in text)


def _padded(text: str, size: int) -> str:
    return text + " " * (size - width(text))


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80
