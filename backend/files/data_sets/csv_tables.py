"""Examines .csv files by the rules of models/common/csv_files.py, in one pass and little memory."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import Any, BinaryIO

from backend.domain.data_sets.content import Column, Content, Fault
from backend.domain.data_sets.fitting import Look
from backend.files.data_sets.csv_layout import (
    Layout,
    Unreadable,
    encoding_of,
    fault_of,
    is_number,
    layout_of,
    lines_of,
    opened_text,
    records_of,
    shown,
)

MAX_NUMBER = 3.4028234663852886e38  # of float32
MAX_COLUMNS = 200  # that are described
LOOK_BYTES = 2**20  # in which the encoding is judged by a look
LOOK_ROWS = 50
PREVIEW_ROWS = 20
PREVIEW_COLUMNS = 50


@dataclass
class _Statistics:
    """What is known of the columns so far, each list by the number of the column.

    Attributes:
        faults: the first fault of each column that has one.
        texts: columns in which there is text.
        blank: columns with an empty cell.
        first_line: the number of the line of the first row.
    """

    minimum: list[float]
    maximum: list[float]
    missing: list[int]
    faults: dict[int, Fault] = field(default_factory=dict)
    texts: set[int] = field(default_factory=set)
    blank: set[int] = field(default_factory=set)
    rows: int = 0
    first_line: int = 0

    @classmethod
    def of(cls, width: int) -> "_Statistics":
        """Return the statistics of `width` columns without any row."""
        return cls([math.inf] * width, [-math.inf] * width, [0] * width)


def examine_csv(file: BinaryIO) -> Content:
    """Return what a .csv file holds, and its first fault that no model can read.

    Raises:
        NotJudged: it cannot be examined with little memory.
    """
    try:
        encoding = encoding_of(file)
        with opened_text(file, encoding) as text:
            layout = layout_of(text)
            text.seek(0)
            statistics, fault = _scan(layout, _rows(layout, records_of(lines_of(text))))
    except Unreadable as error:
        return Content(fault=error.fault)
    label, wrong = _judge(layout, statistics)
    samples = len(layout.cells) - len(layout.ignored)
    if not (fault or wrong) and (statistics.rows == 0 or samples == 0):
        wrong = Fault(f"it is {statistics.rows} x {samples}, it holds no samples")
    return Content(
        shape=(statistics.rows, len(layout.cells)),
        header=layout.header,
        columns=tuple(_columns(layout, statistics)),
        label=label,
        fault=_first(fault, wrong),
    )


def look_at_csv(file: BinaryIO) -> Look:
    """Return what the header and the first lines show.

    Raises:
        NotJudged: see `examine_csv`.
    """
    try:
        with opened_text(file, encoding_of(file, LOOK_BYTES)) as text:
            layout = layout_of(text)
            text.seek(0)
            rows = islice(_rows(layout, records_of(lines_of(text))), LOOK_ROWS)
            statistics, fault = _scan(layout, rows)
    except UnicodeError:  # further on than the encoding was judged
        return Look()
    except Unreadable as error:
        return Look(fault=error.fault)
    _, wrong = _judge(layout, statistics)
    if not (fault or wrong) and not statistics.rows:
        wrong = Fault("it holds no samples")
    texts = [one for one in statistics.faults.items() if one[0] not in layout.ignored]
    return Look(
        shape=(len(layout.cells),),
        names=tuple(layout.cells) if layout.header else None,
        ignored=layout.ignored,
        texts=tuple(sorted(texts)),
        is_csv=True,
        fault=_first(fault, wrong),
    )


def first_rows(file: BinaryIO) -> list[list[str]]:
    """Return the first cells of the first rows without the header; none if it is no table."""
    try:
        with opened_text(file, encoding_of(file, LOOK_BYTES)) as text:
            layout = layout_of(text)
            text.seek(0)
            rows = islice(_rows(layout, records_of(lines_of(text))), PREVIEW_ROWS)
            return [[shown(cell) for cell in cells[:PREVIEW_COLUMNS]] for _, cells in rows]
    except (Unreadable, UnicodeError):
        return []


def _rows(
    layout: Layout, records: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, list[str]]]:
    """Return the records without the header."""
    return islice(records, 1 if layout.header else 0, None)


def _scan(
    layout: Layout, rows: Iterator[tuple[int, list[str]]]
) -> tuple[_Statistics, Fault | None]:
    """Return the statistics of all rows, and the fault of the first row of another width.

    No row after that is read.
    """
    width = len(layout.cells)
    statistics = _Statistics.of(width)
    numeric = list(range(width))
    pick: Any = None
    for line, cells in rows:
        if len(cells) != width:
            return statistics, _width_fault(layout, line, len(cells))
        statistics.rows += 1
        statistics.first_line = statistics.first_line or line
        chosen = cells if pick is None else pick(cells)
        if numeric and not _add_numbers(statistics, numeric, chosen):
            _add_cells(statistics, layout, line, cells)
        elif statistics.texts:
            for column in statistics.texts:
                _count_blank(statistics, column, cells[column])
        if len(numeric) + len(statistics.texts) > width:
            numeric = [column for column in range(width) if column not in statistics.texts]
            pick = _picker(numeric)
    return statistics, None


def _picker(columns: list[int]) -> Any:
    """Return a function that picks these cells of a row, as a sequence."""
    if len(columns) == 1:
        only = columns[0]
        return lambda cells: (cells[only],)
    return itemgetter(*columns) if columns else lambda _cells: ()


def _add_numbers(statistics: _Statistics, columns: list[int], cells: Any) -> bool:
    """Add the cells of a row if all of them are usable numbers; return whether they are."""
    text = "".join(cells)
    if not text.isascii() or "_" in text:
        return False
    try:
        values = list(map(float, cells))
    except ValueError:
        return False
    # A NaN makes the sum NaN, whatever the order.
    if not math.isfinite(sum(values)) or max(map(abs, values)) > MAX_NUMBER:
        return False
    minimum, maximum = statistics.minimum, statistics.maximum
    for column, value in zip(columns, values, strict=True):
        if value < minimum[column]:
            minimum[column] = value
        if value > maximum[column]:
            maximum[column] = value
    return True


def _add_cells(statistics: _Statistics, layout: Layout, line: int, cells: list[str]) -> None:
    """Add a row cell by cell, and note the faults."""
    for column, cell in enumerate(cells):
        if column in statistics.texts:
            _count_blank(statistics, column, cell)
        elif not is_number(cell):
            _note(statistics, layout, line, column, fault_of(cell))
            if cell.strip():
                statistics.texts.add(column)
            else:
                statistics.missing[column] += 1
                statistics.blank.add(column)
        elif not abs(float(cell)) <= MAX_NUMBER:
            statistics.missing[column] += math.isnan(float(cell))
            kind = "NaN or an infinite number, or one too large for float32"
            _note(statistics, layout, line, column, f"the cell holds {kind}, {shown(cell)}")
        else:
            value = float(cell)
            statistics.minimum[column] = min(value, statistics.minimum[column])
            statistics.maximum[column] = max(value, statistics.maximum[column])


def _count_blank(statistics: _Statistics, column: int, cell: str) -> None:
    if not cell.strip():
        statistics.missing[column] += 1
        statistics.blank.add(column)


def _note(statistics: _Statistics, layout: Layout, line: int, column: int, message: str) -> None:
    if column not in statistics.faults:
        name = layout.name(column)
        text = f"{message}: line {line}, column {name}"
        statistics.faults[column] = Fault(text, line, name)


def _width_fault(layout: Layout, line: int, found: int) -> Fault:
    width = len(layout.cells)
    columns = f"{width} column" if width == 1 else f"{width} columns"
    first = f"the header names {columns}"
    if not layout.header:
        first = f"line {layout.begins} has {columns}"
    return Fault(f"{first}, line {line} has {found}", line)


def _judge(layout: Layout, statistics: _Statistics) -> tuple[str | None, Fault | None]:
    """Return the column that only a model with labels can read, and what no model can read.

    One column of the file may hold labels, and those may be text. Text further down in a column
    that begins with numbers is taken as a mistake in a number.
    """
    wrong = {
        column: fault for column, fault in statistics.faults.items() if column not in layout.ignored
    }
    if not wrong:
        return None, None
    if len(wrong) == 1:
        [(column, fault)] = wrong.items()
        is_text = column in statistics.texts and fault.line == statistics.first_line
        others = len(layout.cells) - len(layout.ignored | {column})
        names = [cell.strip() for cell in layout.cells]
        last = column == len(layout.cells) - 1
        is_named = layout.header and bool(names[column]) and names.count(names[column]) == 1
        if is_text and others and column not in statistics.blank and (is_named or last):
            return layout.name(column), None
    return None, min(wrong.items(), key=lambda one: (one[1].line or 0, one[0]))[1]


def _first(*faults: Fault | None) -> Fault | None:
    """Return the fault of the earliest line."""
    known = [fault for fault in faults if fault]
    return min(known, key=lambda fault: fault.line or 0, default=None)


def _columns(layout: Layout, statistics: _Statistics) -> Iterator[Column]:
    for column in range(min(len(layout.cells), MAX_COLUMNS)):
        low, high = statistics.minimum[column], statistics.maximum[column]
        is_text = column in statistics.texts
        known = not is_text and low <= high
        yield Column(
            layout.name(column),
            "text" if is_text else "number",
            low if known else None,
            high if known else None,
            statistics.missing[column],
        )
