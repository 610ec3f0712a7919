"""Turns the numbers of the input into rows of float32. Uses NumPy alone.

float32 has 24 bits: at 2.4e9 it only holds every 256th number, and a column of 2.4e9 +- 100 would
become constant. Such a column is shifted first, by its mean in float64.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from common.exceptions import UnusableError

ROWS_AT_A_TIME = 1024  # bounds the extra memory
FAR_FROM_ZERO = 1000  # standard deviations; nearer, float32 loses less than 1e-4 of one
SHOWN_NOTES = 10  # columns of a file

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


class Rows:
    """Rows of float32 minus an offset, which all of them have in common.

    Attributes:
        offset: What was subtracted from each column, or from all numbers of an image; 0 where
            float32 needs no shift.
        notes: What float32 cannot hold even so.
    """

    def __init__(self, *, per_column: bool) -> None:
        self._axis = 0 if per_column else None
        self._parts: list[Floats] = []
        self._names: list[str] = []
        self.offset: Doubles = np.zeros(())
        self.notes: list[str] = []

    def append(self, name: str, array: Array) -> None:
        """Append the samples of an array, of any real dtype, from the file `name`.

        Raises:
            UnusableError: A number is NaN, infinite, or too large for float32.
        """
        table = array.reshape(len(array), -1)
        with np.errstate(over="ignore", invalid="ignore"):
            wanted = _wanted_offset(table, self._axis)
            added = np.where(self.offset == 0, wanted, 0.0)
            if added.any():
                self.offset = self.offset + added
                self._parts = [_shifted(part, added) for part in self._parts]
            rows = _shifted(table, self.offset)
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            before = sum(
                len(part)
                for part, other in zip(self._parts, self._names, strict=True)
                if other == name
            )
            raise UnusableError(
                f"{name}: sample {before + np.argmin(finite)} (counted from 0) holds NaN or an "
                "infinite number, or one too large for float32"
            )
        self.notes += _lost(name, table, rows, self._axis)
        self._parts.append(rows)
        self._names.append(name)

    def joined(self) -> Floats:
        """Return all rows, shape (samples, width)."""
        return np.concatenate(self._parts) if len(self._parts) > 1 else self._parts[0]


def _wide(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    """Return the type in which the numbers of `dtype` are subtracted from each other."""
    exact = dtype.itemsize > 8 or (dtype.kind in "iu" and dtype.itemsize == 8)
    return np.longdouble if exact else np.float64


def _wanted_offset(table: Array, axis: int | None) -> Doubles:
    """Return the mean of each column, or of all numbers if `axis` is None; 0 for no shift.

    A constant column needs no shift, nor does one whose numbers differ by rounding errors alone.
    """
    if table.dtype.kind == "b" or table.dtype.itemsize < 4:
        return np.zeros(())  # float32 holds these numbers and their mean
    wide = _wide(table.dtype)
    parts = [
        table[begin : begin + ROWS_AT_A_TIME] for begin in range(0, len(table), ROWS_AT_A_TIME)
    ]
    count = len(table) if axis == 0 else table.size
    first = table[0].astype(wide) if axis == 0 else wide(table.flat[0])
    mean = first + sum((part.astype(wide) - first).sum(axis) for part in parts) / count
    squares = sum(np.square(part.astype(wide) - mean).sum(axis) for part in parts)
    deviation = np.sqrt(squares / count)
    rounding = 1000 * np.finfo(wide).eps * np.abs(mean)
    far = (np.abs(mean) > FAR_FROM_ZERO * deviation) & (deviation > rounding)
    return np.where(far, mean, 0.0).astype(np.float64)


def _shifted(table: Array, offset: Doubles) -> Floats:
    """Return a table minus an offset as float32; float32 without an offset is not copied."""
    if not offset.any():
        return np.ascontiguousarray(table, dtype=np.float32)
    rows = np.empty(table.shape, dtype=np.float32)
    wide = _wide(table.dtype)
    for begin in range(0, len(table), ROWS_AT_A_TIME):
        part = slice(begin, begin + ROWS_AT_A_TIME)
        rows[part] = table[part].astype(wide) - offset
    return rows


def _lost(name: str, table: Array, rows: Floats, axis: int | None) -> list[str]:
    """Return a sentence for each column most of whose different numbers are equal in float32."""
    if table.dtype.kind == "b" or table.dtype.itemsize < 4 or table.dtype == np.float32:
        return []
    chosen = np.linspace(0, len(table) - 1, min(len(table), 10 * ROWS_AT_A_TIME)).astype(int)
    before, after = table[chosen], rows[chosen]
    columns = range(table.shape[1]) if axis == 0 else [None]
    notes = []
    for column in columns:
        where = np.s_[:] if column is None else np.s_[:, column]
        different, left = (len(np.unique(numbers[where])) for numbers in (before, after))
        if 2 * left <= different:
            place = "" if column is None else f" in column {column + 1}"
            notes.append(
                f"{name}: float32 cannot tell the numbers{place} apart: {different} become {left}"
            )
    if len(notes) > SHOWN_NOTES:
        notes[SHOWN_NOTES:] = [
            f"{name}: the same holds for {len(notes) - SHOWN_NOTES} more columns"
        ]
    return notes
