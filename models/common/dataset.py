"""Reads the samples of .npz, .npy and .csv files into one table. Uses NumPy alone.

Which parts of a file are samples:

- .npy: the first axis counts the samples, the other axes are the shape of a sample.
- .npz: the array `x` and all arrays whose name begins with `x_`, or else the file's only array.
  Other arrays, such as labels named `y`, are ignored.
- .csv: see csv_files.py. Columns whose header is one of LABEL_COLUMNS are ignored.

A model that predicts labels names their `target`. Without a name it is:

- .csv: the column named target, label, class or y, in this order, or else the last column.
- .npz: the array `y` for `x`, and `y_train` for `x_train`. Another name replaces the `y`.
- .npy: the last column of a table.
"""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.csv_files import read_csv
from common.exceptions import InputChangedError, UnusableError
from common.numpy_files import (
    check_samples,
    check_width,
    is_archive,
    label_texts,
    read_arrays,
    read_labels,
    shape_text,
)
from common.precision import Doubles, Floats, Rows
from common.settings import NUMBER

SUFFIXES = (".csv", ".npy", ".npz")
MIN_SAMPLES = 10
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
    columns: list[str] | None = None
    """The names of the columns, if the files have a header."""
    target: str = ""
    """The name of the column or array of the labels, in the first file."""
    labels: list[str] | None = None
    """The label of each row, if the model needs them."""

    @property
    def per_column(self) -> bool:
        """Whether each column has a unit of its own: in a table, but not in an image."""
        return len(self.sample_shape) == 1

    def split_indices(self, seed: int, share: float = 0.1) -> tuple[Indices, Indices]:
        """Return the indices of the training rows and of the validation rows, both ascending.

        `share` is that of the validation rows, of which there is at least one. Each label has about
        the same share in both parts.
        """
        shuffled = permutation(len(self.rows), seed, epoch=0)  # the epochs count from 1
        validation = max(1, int(len(self.rows) * share))
        if self.labels is not None:
            _, numbers = np.unique(self.labels, return_inverse=True)
            by_label = shuffled[np.argsort(numbers[shuffled], kind="stable")]
            chosen = ((np.arange(validation) + 0.5) * len(by_label) / validation).astype(int)
            return np.sort(np.delete(by_label, chosen)), np.sort(by_label[chosen])
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
    folder: Path,
    name: str | None = None,
    files: Mapping[str, str] | None = None,
    target: str | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Dataset:
    """Read the data file `name` of the folder, or all data files in the order of their names.

    Args:
        folder: The input folder.
        name: The file to read.
        files: The SHA-256 digest of each file to read; for all data files if it is None.
        target: The column or array of the labels, "" for the usual one, None to read no labels.
        sizes: The size in bytes of each of `files`, which is checked first.

    Raises:
        InputChangedError: One of `files` is missing, or has another size or digest.
        UnusableError: There are no data files, or they do not form one table of finite numbers.
    """
    shapes: list[tuple[int, ...]] = []
    lengths: dict[str, int] = {}
    sha256: dict[str, str] = {}
    paths = _data_files(folder, name) if files is None else _same_files(folder, list(files), sizes)
    expected = iter(() if files is None else files.values())
    rows: Rows | None = None
    first: _Content | None = None
    notes: list[str] = []
    labels: list[str] = []
    for path in paths:
        sha256[path.name] = _digest(path, next(expected, None))
        content = _read(path, target)
        first = first or content
        notes += content.notes
        labels += content.labels
        arrays = content.arrays
        if content.names is not None and first.names is not None:
            order = _in_order(content.names, first.names, f"{first.file} and {path.name}")
            arrays = [content.arrays.pop()[:, order]]
        lengths[path.name] = sum(map(len, arrays))
        shapes.append((lengths[path.name], *arrays[0].shape[1:]))
        check_width(paths[0].name, shapes[0], path.name, shapes[-1])
        rows = rows or Rows(per_column=len(shapes[0]) == 2)
        while arrays:
            rows.append(path.name, arrays.pop(0))
    if rows is None or first is None or (total := sum(lengths.values())) < MIN_SAMPLES:
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
        columns=first.names,
        target=first.target,
        labels=None if target is None else _one_text_per_number(labels),
    )


@dataclass
class _Content:
    """What one file holds."""

    file: str
    arrays: list[Array]
    """Arrays whose first axes count samples."""
    names: list[str] | None = None
    """The names of the columns."""
    notes: list[str] = field(default_factory=list)
    target: str = ""
    labels: list[str] = field(default_factory=list)


def _one_text_per_number(labels: Sequence[str]) -> list[str]:
    """Return labels so that 1, 1.0 and 01 are the same; texts stay if one of them is no number."""
    distinct = set(labels)
    if not all(NUMBER.fullmatch(label) for label in distinct):
        return list(labels)
    numbers = {label: float(label) for label in distinct}
    texts = {
        label: str(int(number)) if number.is_integer() else repr(number)
        for label, number in numbers.items()
    }
    return [texts[label] for label in labels]


def _digest(path: Path, expected: str | None) -> str:
    """Return the SHA-256 digest of a file, in hexadecimal.

    Raises:
        InputChangedError: It is not the expected one.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if expected not in (None, digest):
        raise _changed(path)
    return digest


def _changed(path: Path) -> InputChangedError:
    return InputChangedError(
        f"{path.name} has changed since this experiment began with it: put the file back, "
        "or submit a new experiment"
    )


def _same_files(folder: Path, names: list[str], sizes: Mapping[str, int] | None) -> list[Path]:
    """Return the paths of data files, in the order of `names`.

    Raises:
        InputChangedError: One of them is missing, or has another size.
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
    present = [path for path in paths if path is not None]
    for path, size in zip(present, (sizes or {}).values(), strict=False):
        if path.stat().st_size != size:
            raise _changed(path)
    return _without_links_out(folder, present)


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


def _read(path: Path, target: str | None) -> _Content:
    """Return the content of one file, with labels unless `target` is None."""
    name = path.name
    try:
        content = _content(path, target)
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
    check_samples(name, content.arrays)
    samples = sum(map(len, content.arrays))
    if target is not None and len(content.labels) != samples:
        raise UnusableError(f"{name} has {len(content.labels)} labels for {samples} samples")
    return content


def _content(path: Path, target: str | None) -> _Content:
    """Return what a file holds.

    Raises:
        ValueError: It cannot be read.
        UnusableError: It holds other things than samples, or no labels.
    """
    if path.suffix.lower() == ".csv":
        table = read_csv(path, target)
        return _Content(
            path.name, [table.values], table.names, table.notes, table.target, table.labels
        )
    arrays = read_arrays(path)
    if target is None:
        return _Content(path.name, arrays)
    if is_archive(path):
        target = target or "y"
        return _Content(path.name, arrays, target=target, labels=read_labels(path, target))
    if target:
        raise UnusableError(f"its columns have no names, so none is named {target!r}")
    (array,) = arrays
    if array.ndim != 2 or array.shape[1] < 2:
        raise UnusableError(
            f"is {shape_text(array.shape)}: a .npy file with labels in its last column must be a "
            "table"
        )
    column = f"column {array.shape[1]}"
    return _Content(
        path.name, [array[:, :-1]], target=column, labels=label_texts(column, array[:, -1])
    )


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
