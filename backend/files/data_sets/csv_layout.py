"""The encoding and the header of a .csv file, by the rules of models/common/csv_files.py."""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, TextIO

from backend.domain.data_sets.content import Fault
from backend.domain.data_sets.fitting import LABEL_COLUMNS

PIECE_BYTES = 2**20
MAX_LINE = 2**20  # characters; a file with longer lines is not judged, to bound the memory
SHOWN_CHARACTERS = 40  # of a cell or of a column's name
HOW_TO_SAVE = "save it as CSV UTF-8, with commas between the cells and points in the numbers"
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class Unreadable(Exception):
    """No model can read a file.

    Attributes:
        fault: why.
    """

    def __init__(self, message: str, line: int | None = None, column: str | None = None) -> None:
        super().__init__(message)
        self.fault = Fault(message, line, column)


class NotJudged(Exception):
    """A file is too unusual to be examined with little memory; a model may be able to read it."""


@dataclass
class Layout:
    """What the first line that is not blank says about the others.

    Attributes:
        cells: of that line.
        header: whether it names the columns.
        ignored: the numbers of the columns that are no numbers of a sample: labels and row names.
    """

    cells: list[str]
    begins: int
    header: bool
    ignored: frozenset[int]

    def name(self, column: int) -> str:
        """Return a column's name as messages show it; a column without a name has a number."""
        name = shown(" ".join(self.cells[column].split())) if self.header else ""
        return name or f"{column + 1}"


@contextmanager
def opened_text(file: BinaryIO, encoding: str) -> Iterator[TextIO]:
    """Read a file from its beginning as text for a `with` block; the file stays open."""
    file.seek(0)
    buffered = io.BufferedReader(file, PIECE_BYTES)  # type: ignore[type-var]  # it is raw
    text = io.TextIOWrapper(buffered, encoding, newline="")
    try:
        yield text
    finally:
        text.detach()
        buffered.detach()


def encoding_of(file: BinaryIO, limit: int | None = None) -> str:
    """Return the encoding of a file, judged by its first `limit` bytes or by all.

    Raises:
        Unreadable: it is not text in one of the encodings that are read.
    """
    file.seek(0)
    head = file.read(4)
    marked = next((name for mark, name in BYTE_ORDER_MARKS.items() if head.startswith(mark)), None)
    for encoding in [marked] if marked else ["utf-8", "cp949"]:
        if _decodes(file, encoding, limit):
            return encoding
    raise Unreadable(f"it is not text in {marked or 'UTF-8'}; {HOW_TO_SAVE}")


def _decodes(file: BinaryIO, encoding: str, limit: int | None) -> bool:
    """Return whether a file is text in an encoding.

    Raises:
        Unreadable: the text holds NUL characters.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    digits = encoding not in ("utf-16", "utf-32")  # other bytes are valid UTF-16, too
    file.seek(0)
    left = limit
    try:
        while piece := file.read(PIECE_BYTES if left is None else min(PIECE_BYTES, left)):
            left = None if left is None else left - len(piece)
            text = decoder.decode(piece)
            if "\0" in text:
                raise Unreadable(
                    f"it holds NUL characters, as other kinds of files do; {HOW_TO_SAVE}"
                )
            digits = digits or re.search("[0-9]", text) is not None
        if left is None or left > 0:
            decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return digits


def lines_of(file: TextIO) -> Iterator[str]:
    """Yield the lines of a file.

    Raises:
        NotJudged: a line is longer than MAX_LINE.
    """
    while line := file.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise NotJudged
        yield line


def records_of(lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the first line of each record that is not blank, and its cells.

    Raises:
        NotJudged: a cell or a line is longer than is examined here.
        Unreadable: the cells cannot be told apart.
    """
    reader = csv.reader(lines)  # which bounds the length of a cell
    begins = 1
    try:
        for cells in reader:
            if cells:
                yield begins, cells
            begins = reader.line_num + 1
    except csv.Error as error:
        if "field limit" in str(error):
            raise NotJudged from None
        raise Unreadable(f"{error}: line {begins}", begins) from None


def layout_of(file: TextIO) -> Layout:
    """Return the layout that the first line suggests.

    Raises:
        Unreadable: the cells are not separated by commas.
        NotJudged: see `records_of`.
    """
    records = records_of(lines_of(file))
    begins, cells = next(records, (1, []))
    _, following = next(records, (0, [""]))
    numbers = [cell.strip() for cell in cells if is_number(cell)]
    header = bool(cells) and numbers == [str(number) for number in range(len(numbers))]
    if 0 < len(numbers) < 3 and len(numbers) == len(cells):  # perhaps a sample of whole numbers
        header = header and not all(re.fullmatch(r"\s*[+-]?[0-9]+\s*", cell) for cell in following)
    if len(numbers) < len(cells):
        _check_separator(cells)
    ignored = {
        column
        for column, cell in enumerate(cells)
        if header and cell.strip().lower() in LABEL_COLUMNS
    }
    if header and len(cells) > 1 and not cells[0].strip() and any(map(str.strip, cells)):
        ignored.add(0)  # row names, as pandas and R write them
    return Layout(cells, begins, header, frozenset(ignored))


def _check_separator(cells: list[str]) -> None:
    """Check the cells of the first line, not all of which are numbers.

    Raises:
        Unreadable: another character than a comma separates them.
    """
    line = ",".join(cells)
    if line.lower().startswith("sep="):
        raise Unreadable(f"its first line is a setting of Excel, {shown(line)!r}; {HOW_TO_SAVE}", 1)
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        parts = line.split(separator)
        numbers = all(is_number(part.replace(",", ".", 1)) for part in parts)
        if len(parts) > 1 and (len(cells) == 1 or numbers):
            raise Unreadable(f"its cells are separated by {name}; {HOW_TO_SAVE}", 1)


def fault_of(cell: str) -> str:
    """Return why a cell is not a number."""
    if not cell.strip():
        return "the cell is empty"
    fault = f"could not convert string {shown(cell)!r} to a number"
    if is_number(cell.replace(",", ".", 1)):
        return f"{fault}, as it has a decimal comma; {HOW_TO_SAVE}"
    if ";" in cell or "\t" in cell:
        return f"{fault}, as other characters than commas separate cells; {HOW_TO_SAVE}"
    return fault


def is_number(cell: str) -> bool:
    """Return whether NumPy reads a cell as a number; `float` accepts more, such as 1_000."""
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell


def shown(text: str) -> str:
    """Return a text as a message repeats it."""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
