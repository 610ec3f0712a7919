"""Reads tables of numbers from .csv files. Uses NumPy alone.

Cells are separated by commas and may be quoted. The text is UTF-8, UTF-16 with a byte order mark,
or CP949, in which Korean Excel saves CSV. The first line is a header if none of its cells is a
number, or if its numbers are 0, 1, 2 and so on, as pandas writes them for columns without names.
"""

import codecs
import csv
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np

from common.exceptions import UnusableError
from common.precision import Doubles

LABEL_COLUMNS = ("target", "label", "class", "y")
MAX_LINE = 64 * 1024 * 1024  # characters
PIECE_BYTES = 1024 * 1024
MAX_NUMBER = float(np.finfo(np.float32).max)
SHOWN_CHARACTERS = 40  # of a cell or of a column's name
HOW_TO_SAVE = "save it as CSV UTF-8, with commas between the cells and points in the numbers"
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass
class Table:
    """The numbers of one file."""

    values: Doubles
    """Shape (samples, columns)."""
    names: list[str] | None
    """The name of each column; None without a header."""
    notes: list[str] = field(default_factory=list)
    """How the file was read, where that is not obvious."""
    target: str = ""
    """The name of the column of the labels, or its number."""
    labels: list[str] = field(default_factory=list)
    """The label of each sample, if a target was asked for."""


@dataclass
class _Layout:
    """What the first line that is not blank says about the others."""

    cells: list[str]
    begins: int
    """The number of this line in the file."""
    ends: int
    """The number of its last line, as a quoted cell may hold line breaks."""
    header: bool
    ignored: list[int]
    """Columns that are no numbers of a sample: labels and row names."""
    target: int | None = None
    """The one of these columns that holds the labels to be read."""

    def name(self, column: int) -> str:
        """Return a column's name as messages show it; a column without a name has a number."""
        name = _shown(" ".join(self.cells[column].split())) if self.header else ""
        return name or f"{column + 1}"

    def place(self, line: int, column: int) -> str:
        """Return a cell's place for an error message."""
        return f"line {line}, column {self.name(column)}"


def read_csv(path: Path, target: str | None = None) -> Table:
    """Return the numbers of a file.

    Args:
        path: The file.
        target: The column of the labels, "" for the usual one, None to read no labels.

    Raises:
        ValueError: The file is not a table of numbers.
        UnusableError: A number is NaN, infinite, or too large for float32.
    """
    encoding = _encoding(path)
    with path.open(encoding=encoding, newline="") as file:
        layout = _layout(file)
        if target is not None:
            _choose_target(layout, target)
        labels: list[str] = []

        def read_label(text: str) -> float:
            labels.append(text.strip())
            return 0.0

        converters: dict[int | str, Callable[[str], float]] = {
            column: read_label if column == layout.target else (lambda text: 0.0)
            for column in layout.ignored
        }
        lines = _after(file, layout.ends if layout.header else 0)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "loadtxt: input contained no data")
                values = np.loadtxt(
                    lines,
                    dtype=np.float64,
                    delimiter=",",
                    quotechar='"',
                    comments=None,
                    converters=converters,
                    ndmin=2,
                )
        except ValueError as error:
            _raise_first_fault(file, layout)
            raise ValueError(str(error).partition("\n")[0]) from None
        if not len(values):
            values = np.zeros((0, len(layout.cells)))
        complete = values.shape[1] == len(layout.cells) and all(labels)
        if not complete or not (np.abs(values) <= MAX_NUMBER).all():
            _raise_first_fault(file, layout)
    names = None
    if layout.header:
        kept = [cell for column, cell in enumerate(layout.cells) if column not in layout.ignored]
        names = [unicodedata.normalize("NFC", cell.strip()) for cell in kept]
    if layout.ignored:
        values = np.delete(values, layout.ignored, axis=1)
    column = "" if layout.target is None else layout.name(layout.target)
    return Table(values, names, _notes(path.name, encoding, layout), column, labels)


def _choose_target(layout: _Layout, target: str) -> None:
    """Set the column of the labels, which is no number of a sample.

    Raises:
        ValueError: There is no such column.
    """
    names = [unicodedata.normalize("NFC", cell.strip()) for cell in layout.cells]
    chosen = len(names) - 1
    if target:
        wanted = unicodedata.normalize("NFC", target.strip())
        if not layout.header:
            raise ValueError(f"it has no header, so no column is named {_shown(target)!r}")
        if names.count(wanted) != 1:
            raise ValueError(
                f"it has {names.count(wanted) or 'no'} columns named {_shown(target)!r}; "
                f"the columns are {_shown(', '.join(names))}"
            )
        chosen = names.index(wanted)
    elif layout.header:
        lower = [name.lower() for name in names]
        chosen = next((lower.index(name) for name in LABEL_COLUMNS if name in lower), chosen)
    layout.target = chosen
    layout.ignored = sorted({*layout.ignored, chosen})
    if len(layout.ignored) >= len(names):
        raise ValueError("it has no column besides the labels")


def _encoding(path: Path) -> str:
    """Return the encoding of a file.

    Raises:
        ValueError: The file is not text in one of the encodings that are read.
    """
    with path.open("rb") as file:
        head = file.read(4)
    marked = next((name for mark, name in BYTE_ORDER_MARKS.items() if head.startswith(mark)), None)
    for encoding in [marked] if marked else ["utf-8", "cp949"]:
        if _decodes(path, encoding):
            return encoding
    raise ValueError(f"it is not text in {marked or 'UTF-8'}; {HOW_TO_SAVE}")


def _decodes(path: Path, encoding: str) -> bool:
    """Return whether the whole file is text in an encoding.

    Raises:
        ValueError: The text holds NUL characters.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    digits = encoding not in ("utf-16", "utf-32")  # other bytes are valid UTF-16, too
    with path.open("rb") as file:
        try:
            while piece := file.read(PIECE_BYTES):
                text = decoder.decode(piece)
                if "\0" in text:
                    raise ValueError(
                        f"it holds NUL characters, as other kinds of files do; {HOW_TO_SAVE}"
                    )
                digits = digits or re.search("[0-9]", text) is not None
            decoder.decode(b"", final=True)
        except UnicodeError:
            return False
    return digits


def _lines(file: TextIO) -> Iterator[str]:
    """Yield the lines of a file.

    Raises:
        ValueError: A line is longer than MAX_LINE.
    """
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise ValueError(f"line {number} is longer than {MAX_LINE} characters")
        yield line


def _records(lines: Iterator[str]) -> Iterator[tuple[int, int, list[str]]]:
    """Yield the first and the last line number of each record that is not blank, and its cells.

    Raises:
        ValueError: The cells cannot be told apart, or a line is longer than MAX_LINE.
    """
    reader = csv.reader(lines)
    begins = 1
    try:
        for cells in reader:
            if cells:
                yield begins, reader.line_num, cells
            begins = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{error}: line {begins}") from None


def _after(file: TextIO, line: int) -> Iterator[str]:
    """Yield the lines of a file that come after a line number."""
    file.seek(0)
    lines = _lines(file)
    for _ in range(line):
        next(lines)
    return lines


def _layout(file: TextIO) -> _Layout:
    """Return the layout that the first line suggests.

    Raises:
        ValueError: The cells are not separated by commas.
    """
    records = _records(_lines(file))
    begins, ends, cells = next(records, (1, 1, []))
    _, _, following = next(records, (0, 0, [""]))
    numbers = [cell.strip() for cell in cells if _is_number(cell)]
    header = bool(cells) and numbers == [str(number) for number in range(len(numbers))]
    if 0 < len(numbers) < 3 and len(numbers) == len(cells):  # perhaps a sample of whole numbers
        header = header and not all(re.fullmatch(r"\s*[+-]?[0-9]+\s*", cell) for cell in following)
    if len(numbers) < len(cells):
        _check_separator(cells)
    ignored = [
        column
        for column, cell in enumerate(cells)
        if header and cell.strip().lower() in LABEL_COLUMNS
    ]
    if header and len(cells) > 1 and not cells[0].strip() and any(map(str.strip, cells)):
        ignored.insert(0, 0)  # row names, as pandas and R write them
    return _Layout(cells, begins, ends, header, ignored)


def _check_separator(cells: list[str]) -> None:
    """Check the cells of the first line, not all of which are numbers.

    Raises:
        ValueError: Another character than a comma separates them.
    """
    line = ",".join(cells)
    if line.lower().startswith("sep="):
        raise ValueError(f"its first line is a setting of Excel, {_shown(line)!r}; {HOW_TO_SAVE}")
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        parts = line.split(separator)
        numbers = all(_is_number(part.replace(",", ".", 1)) for part in parts)
        if len(parts) > 1 and (len(cells) == 1 or numbers):
            raise ValueError(f"its cells are separated by {name}; {HOW_TO_SAVE}")


def _raise_first_fault(file: TextIO, layout: _Layout) -> None:
    """Raise an exception that names the first cell or line that cannot be used, if there is one.

    Raises:
        ValueError: A line has another number of cells, or a cell is not a number.
        UnusableError: A number is NaN, infinite, or too large for float32.
    """
    file.seek(0)
    records = _records(_lines(file))
    if layout.header:
        next(records)
    for sample, (line, _, cells) in enumerate(records):
        if len(cells) != len(layout.cells):
            columns = f"{len(layout.cells)} column{'s' * (len(layout.cells) != 1)}"
            first = f"the header names {columns}"
            if not layout.header:
                first = f"line {layout.begins} has {columns}"
            raise ValueError(f"{first}, line {line} has {len(cells)}")
        for column, cell in enumerate(cells):
            place = layout.place(line, column)
            if column == layout.target and not cell.strip():
                raise ValueError(f"{_fault(cell)}: {place}")
            if column in layout.ignored:
                continue
            if not _is_number(cell):
                raise ValueError(f"{_fault(cell)}: {place}")
            if not abs(float(cell)) <= MAX_NUMBER:
                raise UnusableError(
                    f"sample {sample} (counted from 0) holds NaN or an infinite number, or one too "
                    f"large for float32: {_shown(cell)} in {place}"
                )


def _fault(cell: str) -> str:
    """Return why a cell is not a number."""
    if not cell.strip():
        return "the cell is empty"
    fault = f"could not convert string {_shown(cell)!r} to a number"
    if _is_number(cell.replace(",", ".", 1)):
        return f"{fault}, as it has a decimal comma; {HOW_TO_SAVE}"
    if ";" in cell or "\t" in cell:
        return f"{fault}, as other characters than commas separate cells; {HOW_TO_SAVE}"
    return fault


def _notes(name: str, encoding: str, layout: _Layout) -> list[str]:
    """Return how a file was read, as far as a person may have meant it otherwise."""
    notes = []
    if encoding == "cp949":
        notes.append(f"{name} is not UTF-8 and is read as CP949")
    if layout.cells and not layout.header:
        notes.append(f"{name} has no header: line {layout.begins} is a sample")
    elif any(map(_is_number, layout.cells)):
        line = _shown(",".join(layout.cells))
        notes.append(
            f"{name}: line {layout.begins} ({line}) is a header of column numbers, no sample"
        )
    if layout.target is not None:
        notes.append(f"{name}: column {layout.name(layout.target)} holds the labels")
        named = [
            one for one in layout.ignored if one != layout.target and layout.cells[one].strip()
        ]
        others = [layout.name(one) for one in named]
        if others:
            notes.append(f"{name}: {', '.join(others)} may hold labels, too, and is left out")
    if 0 in layout.ignored and layout.header and not layout.cells[0].strip():
        notes.append(f"{name}: column 1 has no name in the header and is left out as row names")
    return notes


def _is_number(cell: str) -> bool:
    """Return whether NumPy reads a cell as a number; `float` accepts more, such as 1_000."""
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell


def _shown(text: str) -> str:
    """Return a text as a message repeats it."""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


csv.field_size_limit(MAX_LINE)
