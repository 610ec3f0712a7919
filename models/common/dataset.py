"""Reads the samples of .npz, .npy and .csv files into one table. Uses NumPy alone.

Which parts of a file are samples:

- .npy: the first axis counts the samples, the other axes are the shape of a sample.
- .npz: the array `x` and all arrays whose name begins with `x_`, or else the file's only array.
  Other arrays, such as labels named `y`, are ignored.
- .csv: see csv_files.py. Columns whose header is one of LABEL_COLUMNS are ignored.
"""

import hashlib
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.csv_files import Table, read_csv
from common.exceptions import InputChangedError, UnusableError
from common.numpy_files import read_arrays
from common.precision import Doubles, Floats, Rows

SUFFIXES = (".csv", ".npy", ".npz")
MIN_SAMPLES = 10
MAX_WIDTH = 4_000_000  # numbers; the network of a wider sample needs over 16 GB
SHOWN_COLUMNS = 10
ROWS_AT_A_TIME = 1024  # bounds the extra memory while rows are moved

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """All samples of the input, and the files they come from."""

    rows: Floats
    """The samples minus `offset`, each flattened to a row: shape (samples, width)."""
    sample_shape: tuple[int, ...]
    """The shape of one sample before it was flattened, as it is in the first file."""
    files: dict[str, int]
    """The number of samples in each file, in the order of the rows."""
    sha256: dict[str, str]
    """The SHA-256 digest of each file, in hexadecimal."""
    offset: Doubles = field(default_factory=lambda: np.zeros(()))
    """What was subtracted from each column, or from all of them, before the cut to float32."""
    notes: tuple[str, ...] = ()
    """What a person should know about how the files were read."""

    @property
    def per_column(self) -> bool:
        """Whether each column has a unit of its own: in a table, but not in an image."""
        return len(self.sample_shape) == 1

    def split_indices(self, seed: int, share: float = 0.1) -> tuple[Indices, Indices]:
        """Return the indices of the training rows and of the validation rows, both ascending.

        `share` is that of the validation rows, of which there is at least one.
        """
        shuffled = permutation(len(self.rows), seed, epoch=0)  # the epochs count from 1
        validation = max(1, int(len(self.rows) * share))
        return np.sort(shuffled[validation:]), np.sort(shuffled[:validation])

    def split_rows(self, training: Indices, validation: Indices) -> tuple[Floats, Floats]:
        """Return the training rows and the validation rows, given the indices of both.

        The training rows are moved to the front of `rows`, which is unusable afterwards: a large
        data set fits into memory only once.
        """
        validation_rows = self.rows[validation]
        for begin in range(0, len(training), ROWS_AT_A_TIME):
            part = training[begin : begin + ROWS_AT_A_TIME]
            # The indices ascend, so a row only overwrites rows that were moved or copied before.
            self.rows[begin : begin + len(part)] = self.rows[part]
        return self.rows[: len(training)], validation_rows

    def origin(self, row: int) -> tuple[str, int]:
        """Return the file that a row comes from and the row's number in it, counted from 0.

        Raises:
            IndexError: There is no such row.
        """
        for name, samples in self.files.items():
            if row < samples:
                return name, row
            row -= samples
        raise IndexError(row)


def permutation(length: int, seed: int, epoch: int) -> Indices:
    """Return the numbers from 0 to length - 1 in an order that depends on seed and epoch alone."""
    return np.random.default_rng((seed, epoch)).permutation(length)


def read_dataset(
    folder: Path, name: str | None = None, files: Mapping[str, str] | None = None
) -> Dataset:
    """Read the data file `name` of the folder, or all data files in the order of their names.

    Args:
        folder: The input folder.
        name: The file to read.
        files: The SHA-256 digest of each file to read; for all data files if it is None.

    Raises:
        InputChangedError: One of `files` is missing, or has another digest.
        UnusableError: There are no data files, or they do not form one table of finite numbers.
    """
    shapes: list[tuple[int, ...]] = []
    lengths: dict[str, int] = {}
    sha256: dict[str, str] = {}
    paths = _data_files(folder, name) if files is None else _same_files(folder, list(files))
    rows: Rows | None = None
    header: tuple[str, list[str]] | None = None
    notes: list[str] = []
    expected = [None] * len(paths) if files is None else list(files.values())
    for path, digest in zip(paths, expected, strict=True):
        with path.open("rb") as file:
            sha256[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
        if digest not in (None, sha256[path.name]):
            raise InputChangedError(
                f"{path.name} has changed since this experiment began with it: put the file back, "
                "or submit a new experiment"
            )
        arrays, table = _read(path)
        if table:
            notes += table.notes
        if table and table.names is not None:
            header = header or (path.name, table.names)
            order = _in_order(table.names, header[1], f"{header[0]} and {path.name}")
            arrays = [table.values[:, order]]
        lengths[path.name] = sum(map(len, arrays))
        shapes.append((lengths[path.name], *arrays[0].shape[1:]))
        if math.prod(shapes[-1][1:]) != math.prod(shapes[0][1:]):
            raise UnusableError(
                f"mixed shapes: {paths[0].name} is {_shape_text(shapes[0])}, "
                f"{path.name} is {_shape_text(shapes[-1])}"
            )
        rows = rows or Rows(per_column=len(shapes[0]) == 2)
        while arrays:
            rows.append(path.name, arrays.pop(0))
    if rows is None or (total := sum(lengths.values())) < MIN_SAMPLES:
        raise UnusableError(
            f"{total} samples are too few to split, at least {MIN_SAMPLES} are needed"
        )
    return Dataset(
        rows=rows.joined(),
        sample_shape=shapes[0][1:],
        files=lengths,
        sha256=sha256,
        offset=rows.offset,
        notes=(*notes, *rows.notes),
    )


def _same_files(folder: Path, names: list[str]) -> list[Path]:
    """Return the paths of data files, in the order of `names`.

    Raises:
        InputChangedError: One of them is missing.
        UnusableError: There is no input folder, or one of them is a link out of it.
    """
    found = _found(folder)
    paths = [_named(name, found) for name in names]
    missing = [name for name, path in zip(names, paths, strict=True) if path is None]
    if missing:
        raise InputChangedError(
            f"{', '.join(missing)} is gone from the input folder, and this experiment began with "
            "it: put the file back, or submit a new experiment"
        )
    return _without_links_out(folder, [path for path in paths if path is not None])


def _named(name: str, paths: list[Path]) -> Path | None:
    """Return the path of this name, or else one whose name looks the same, or None.

    macOS writes names decomposed (Unicode's NFD), and other systems composed (NFC).
    """
    same = [path for path in paths if path.name == name]
    form = unicodedata.normalize("NFC", name)
    alike = [path for path in paths if unicodedata.normalize("NFC", path.name) == form]
    return next(iter(same + alike), None)


def _data_files(folder: Path, name: str | None) -> list[Path]:
    """Return the path of the data file `name`, or of all data files in the order of their names.

    Raises:
        UnusableError: There are none, or one of them is a link out of the folder.
    """
    found = _found(folder)
    if name is not None:
        available = ", ".join(path.name for path in found) or "none"
        path = _named(name, found)
        found = [path] if path else []
        if not found:
            raise UnusableError(
                f"no data: the input folder has no data file {name!r}, choose from: {available}"
            )
    if not found:
        raise UnusableError(f"no data: no {', '.join(SUFFIXES)} file in {folder}")
    return _without_links_out(folder, found)


def _found(folder: Path) -> list[Path]:
    """Return the paths of all data files, in the order of their names."""
    if not folder.is_dir():
        raise UnusableError(f"no data: the input folder {folder} does not exist")
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    )


def _without_links_out(folder: Path, paths: list[Path]) -> list[Path]:
    """Return the paths, none of which may be a link to a file outside the folder."""
    for path in paths:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UnusableError(f"{path.name} is a link to a file outside the input folder")
    return paths


def _read(path: Path) -> tuple[list[Array], Table | None]:
    """Return the arrays of one file, whose first axes count samples, and its table if it is CSV."""
    name = path.name
    try:
        table = read_csv(path) if path.suffix.lower() == ".csv" else None
        arrays = [table.values] if table else read_arrays(path)
    except UnusableError as error:
        separator = "" if str(error).startswith("holds ") else ":"
        raise UnusableError(f"{name}{separator} {error}") from None
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise UnusableError(f"{name} cannot be read: {reason}") from None
    except MemoryError:
        raise UnusableError(f"{name} needs more memory than there is") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    for array in arrays:
        if array.dtype.kind not in "fiub":
            raise UnusableError(f"{name} holds {array.dtype}, not real numbers")
        if array.ndim < 2:
            raise UnusableError(f"{name} is {_shape_text(array.shape)}, not a table of samples")
        if array.size == 0:
            raise UnusableError(f"{name} is {_shape_text(array.shape)}, it holds no samples")
        if math.prod(array.shape[1:]) > MAX_WIDTH:
            raise UnusableError(
                f"{name} is {_shape_text(array.shape)}: a sample may have {MAX_WIDTH} numbers at "
                "most"
            )
        if array.shape[1:] != arrays[0].shape[1:]:
            raise UnusableError(
                f"mixed shapes: {name} holds {_shape_text(arrays[0].shape)} "
                f"and {_shape_text(array.shape)}"
            )
    return arrays, table


def _in_order(names: list[str], first: list[str], files: str) -> list[int]:
    """Return where the columns `first` of an earlier file stand among the columns `names`.

    Raises:
        UnusableError: The columns are not the same.
    """
    if names == first:
        return list(range(len(names)))
    if sorted(names) != sorted(first) or len(set(names)) < len(names):
        odd = sorted(set(names) ^ set(first)) or sorted(names)
        raise UnusableError(
            f"mixed columns: the headers of {files} differ in {', '.join(odd[:SHOWN_COLUMNS])}"
        )
    return [names.index(name) for name in first]


def _shape_text(shape: tuple[int, ...]) -> str:
    if len(shape) < 2:
        return f"a list of {shape[0]} numbers" if shape else "a single number"
    return " x ".join(map(str, shape))
