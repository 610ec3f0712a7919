"""What the file of a data set holds. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Fault:
    """Why a file cannot be read.

    Attributes:
        message: a clause, with the place.
        line: the number of the line, from 1; None if the file has no lines.
        column: the name of the column, or its number.
    """

    message: str
    line: int | None = None
    column: str | None = None


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        type: `number` or `text`.
        minimum, maximum: of a column of numbers; None if they are not known.
        missing: cells that are empty or NaN; None if they were not counted.
    """

    name: str
    type: str
    minimum: float | None = None
    maximum: float | None = None
    missing: int | None = None


@dataclass(frozen=True)
class Array:
    """One array of a .npy or .npz file."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        shape: of its samples: rows and columns of a table; empty if it is not known.
        dtype: of the arrays; None for a .csv file.
        header: whether the first line of a .csv file names the columns.
        columns: those of a table, the first ones if there are very many.
        arrays: those of a .npy or .npz file, the first ones if there are very many.
        label: a column of text, which a model that predicts labels can read as its target.
        fault: why no model can read the file; None if nothing is wrong with it.
        minimum, maximum: of all numbers of the arrays; None if they are not known.
    """

    shape: tuple[int, ...] = ()
    dtype: str | None = None
    header: bool = False
    columns: tuple[Column, ...] = ()
    arrays: tuple[Array, ...] = ()
    label: str | None = None
    fault: Fault | None = None
    minimum: float | None = None
    maximum: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the content as the database stores it; `from_json` reads it."""
        return {
            "shape": self.shape,
            "dtype": self.dtype,
            "header": self.header,
            "columns": [tuple(vars(column).values()) for column in self.columns],
            "arrays": [tuple(vars(array).values()) for array in self.arrays],
            "label": self.label,
            "fault": self.fault and tuple(vars(self.fault).values()),
            "minimum": self.minimum,
            "maximum": self.maximum,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Content":
        """Return the content that `to_json` returned."""
        known = dict(values)
        known["shape"] = tuple(known["shape"])
        known["columns"] = tuple(Column(*column) for column in known["columns"])
        known["arrays"] = tuple(
            Array(name, tuple(shape), dtype) for name, shape, dtype in known["arrays"]
        )
        known["fault"] = Fault(*known["fault"]) if known["fault"] else None
        return cls(**known)


@dataclass(frozen=True)
class Facts:
    """What is known of one version of a data set.

    Attributes:
        version: that of `Entry`; it changes with inode, size and time of modification.
        content: what it holds; None until it was examined.
        uploaded_at, uploaded_by: None if the file was not uploaded through this program.
    """

    version: str
    sha256: str
    content: Content | None = None
    uploaded_at: datetime | None = None
    uploaded_by: str | None = None
