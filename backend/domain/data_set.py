"""Data sets: what their files hold, how several are chosen, and what an experiment uses. Pure."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from backend.domain.identifiers import canonical

EVERY = "*"  # chooses every file, as no choice does
MAX_CHOICE = 255  # characters of a choice as it is stored
MAX_PINS = 500  # more files than these are used as they are when the trainer starts
MAX_PINS_CHARACTERS = 200_000
MAX_NAME_BYTES = 255
SHOWN_NAMES = 10

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Pin(NamedTuple):
    """A file that an experiment uses, as it was at the submission."""

    name: str
    size: int
    sha256: str


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


@dataclass(frozen=True)
class Look:
    """What the header and the first lines of a file show, to see whether files fit together.

    Attributes:
        shape: of one sample, with every column of a table.
        names: of all columns, if the file has a header.
        ignored: the numbers of the columns that are no numbers of a sample.
        texts: the numbers of the columns in whose first cells there is text.
        is_csv: whether it is a table whose columns may have names.
        has_labels: whether its labels are an array beside the samples.
        fault: why no model can read the file.
    """

    shape: tuple[int, ...] = ()
    names: tuple[str, ...] | None = None
    ignored: frozenset[int] = frozenset()
    texts: tuple[tuple[int, Fault], ...] = ()
    is_csv: bool = False
    has_labels: bool = False
    fault: Fault | None = None


LABEL_COLUMNS = ("target", "label", "class", "y")


def mismatch(looks: Mapping[str, Look], target: str | None) -> str | None:
    """Return why files cannot be read together, as a clause that names them; None if they can be.

    Args:
        looks: the files by name, in the order in which they are read.
        target: the column of the labels, "" for the usual one, None for a model without labels.
    """
    problems = [
        f"{name}: {fault.message}"
        for name, look in looks.items()
        if (fault := look.fault or _text_fault(look, target))
    ]
    if problems:
        return "; ".join(problems[:SHOWN_NAMES])
    known = [(name, look) for name, look in looks.items() if look.shape]
    if len(known) < 2:
        return None
    first, expected = known[0]
    for name, look in known[1:]:
        if _width(look, target) != _width(expected, target):
            return (
                f"mixed shapes: a sample of {first} is {_shape_text(expected.shape)}, "
                f"one of {name} is {_shape_text(look.shape)}"
            )
    headed = [(name, look) for name, look in known if look.names is not None]
    for name, look in headed[1:]:
        before, after = _sample_names(headed[0][1], target), _sample_names(look, target)
        if sorted(before) != sorted(after):
            odd = sorted(set(before) ^ set(after)) or sorted(set(after))
            return (
                f"mixed columns: the headers of {headed[0][0]} and {name} differ in "
                f"{', '.join(odd[:SHOWN_NAMES])}"
            )
    return None


def _text_fault(look: Look, target: str | None) -> Fault | None:
    """Return what is wrong with the first column of text that this model cannot read."""
    labels = _label_columns(look, target)
    return next((fault for column, fault in look.texts if column not in labels), None)


def _label_columns(look: Look, target: str | None) -> frozenset[int]:
    """Return the numbers of the columns that are no numbers of a sample for this model."""
    if target is None or not look.is_csv:
        return look.ignored
    count = look.shape[0]
    names = [canonical(name.strip()) for name in look.names or ()]
    chosen = count - 1
    if target and canonical(target.strip()) in names:
        chosen = names.index(canonical(target.strip()))
    elif names:
        lower = [name.lower() for name in names]
        chosen = next((lower.index(name) for name in LABEL_COLUMNS if name in lower), chosen)
    return look.ignored | {chosen}


def _width(look: Look, target: str | None) -> int:
    labels = len(_label_columns(look, target))
    if target is not None and not look.is_csv and not look.has_labels and len(look.shape) == 1:
        labels = 1
    return math.prod(look.shape) - labels


def _sample_names(look: Look, target: str | None) -> list[str]:
    labels = _label_columns(look, target)
    return [
        canonical(name.strip())
        for number, name in enumerate(look.names or ())
        if number not in labels
    ]


def _shape_text(shape: Sequence[int]) -> str:
    return f"{' x '.join(map(str, shape))}{' numbers' if len(shape) == 1 else ''}"


def choice_text(names: Iterable[str]) -> str | None:
    """Return the choice of these files as it is stored: a name, a JSON array, or None for all.

    A name of a data set never ends with a bracket. The order does not matter: files are read in the
    order of their names.
    """
    chosen = sorted({name for name in names if name})
    if not chosen or EVERY in chosen:
        return None
    if len(chosen) == 1:
        return chosen[0]
    return json.dumps(chosen, ensure_ascii=False, separators=(",", ":"))


def chosen_names(choice: str | None) -> list[str]:
    """Return the names of the files that `choice_text` chose; none for every file."""
    if not choice:
        return []
    if choice.startswith("[") and choice.endswith("]"):
        try:
            names = json.loads(choice)
        except ValueError:
            return [choice]
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
    return [choice]


def choice_label(choice: str | None, pins: str | None = None) -> str:
    """Return a choice as people read it, such as `every file (3)`."""
    if choice:
        return ", ".join(chosen_names(choice))
    return f"every file ({len(pins_from_text(pins))})" if pins else "every file"


def pins_to_text(pins: Sequence[Pin]) -> str | None:
    """Return pins as they are stored; None if there are too many to be stored, or none."""
    text = json.dumps([pin._asdict() for pin in pins], ensure_ascii=False, separators=(",", ":"))
    fits = 0 < len(pins) <= MAX_PINS and len(text) <= MAX_PINS_CHARACTERS
    return text if fits else None


def pins_from_text(text: str | None) -> list[Pin]:
    """Return the pins that `pins_to_text` returned."""
    return [Pin(**one) for one in json.loads(text)] if text else []


def pins_from_json(value: Any) -> str | None:
    """Return the pins of a run.json, to which a trainer can write, as they are stored.

    Raises:
        ValueError: they are not a list of files with size and digest.
    """
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise ValueError("its inputs are not a list of files")
    pins = []
    for one in value:
        pin = Pin(one["name"], one["size"], one["sha256"])
        is_name = isinstance(pin.name, str) and 0 < len(pin.name.encode()) <= MAX_NAME_BYTES
        if not is_name or "/" in pin.name or "\0" in pin.name:
            raise ValueError("its inputs hold something that is no file name")
        if type(pin.size) is not int or not 0 <= pin.size < 2**63:
            raise ValueError("its inputs hold something that is no size")
        if not isinstance(pin.sha256, str) or not _SHA256.fullmatch(pin.sha256):
            raise ValueError("its inputs hold something that is no digest")
        pins.append(pin)
    if len({pin.name for pin in pins}) < len(pins):
        raise ValueError("its inputs name a file twice")
    text = pins_to_text(pins)
    if text is None:
        raise ValueError("its inputs are too many")
    return text


def is_sha256(text: str) -> bool:
    """Return whether a text is a SHA-256 digest in hexadecimal."""
    return _SHA256.fullmatch(text) is not None
