"""Reads the data files: from .npz, .npy and .csv to one table of samples. NumPy alone.

What is a sample, and what is not:

- .npy: the first axis counts the samples, the others are a sample's shape.
- .npz: the array `x` and those whose name begins with `x_`, or the only array if there is one.
  Others, such as labels called `y`, are left alone.
- .csv: commas, numbers, one sample a line. A first line in which no cell is a number is a header.
  Columns with a header in LABEL_COLUMNS are left alone.
"""

import csv
import hashlib
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from run import UnusableError

SUFFIXES = (".csv", ".npy", ".npz")
LABEL_COLUMNS = {"class", "label", "target", "y"}
MIN_SAMPLES = 10
VALIDATION_SHARE = 0.1
ROWS_AT_A_TIME = 1024  # bounds what a move of rows takes besides

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """All samples, and where they came from."""

    rows: Floats  # (samples, width)
    sample_shape: tuple[int, ...]
    """The shape of one sample before it was made a row, as the first file has it."""
    files: dict[str, int]
    """How many samples each file holds, in the order of the rows."""
    sha256: dict[str, str]

    def split(self, seed: int) -> tuple[Indices, Indices]:
        """Return which rows are for training and which for validation, both in order."""
        shuffled = permutation(len(self.rows), seed, epoch=0)  # those of training begin at 1
        validation = int(len(self.rows) * VALIDATION_SHARE)
        return np.sort(shuffled[validation:]), np.sort(shuffled[:validation])

    def take(self, training: Indices, validation: Indices) -> tuple[Floats, Floats]:
        """Return the two parts of a split, the rows of training where all rows were.

        A large data set has room in the memory only once: `rows` are of no use afterwards.
        """
        validation_rows = self.rows[validation]
        for begin in range(0, len(training), ROWS_AT_A_TIME):
            part = training[begin : begin + ROWS_AT_A_TIME]
            # In order, a row only moves to the front, onto one that was moved or is taken.
            self.rows[begin : begin + len(part)] = self.rows[part]
        return self.rows[: len(training)], validation_rows

    def origin(self, row: int) -> tuple[str, int]:
        """Return the file a row came from and its number there, counted from 0."""
        for name, samples in self.files.items():
            if row < samples:
                return name, row
            row -= samples
        raise IndexError(row)


def permutation(length: int, seed: int, epoch: int) -> Indices:
    """Shuffle 0..length-1, always the same way for the same seed and epoch."""
    return np.random.default_rng((seed, epoch)).permutation(length)


def read_dataset(folder: Path, name: str | None = None) -> Dataset:
    """Read the data file `name` of the folder, or all of them in the order of their names.

    Raises UnusableError if there are none, or if they do not make one table of finite numbers.
    """
    rows: list[Floats] = []
    shapes: list[tuple[int, ...]] = []
    sha256: dict[str, str] = {}
    paths = _data_files(folder, name)
    for path in paths:
        with path.open("rb") as file:
            sha256[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
        samples = _read(path)
        rows.append(samples.reshape(len(samples), -1))
        shapes.append(samples.shape)
        if rows[-1].shape[1] != rows[0].shape[1]:
            raise UnusableError(
                f"mixed shapes: {paths[0].name} is {_times(shapes[0])}, "
                f"{path.name} is {_times(shapes[-1])}"
            )
    if (total := sum(map(len, rows))) < MIN_SAMPLES:
        raise UnusableError(f"{total} samples are too few to split, {MIN_SAMPLES} are needed")
    return Dataset(
        rows=np.concatenate(rows) if len(rows) > 1 else rows[0],
        sample_shape=shapes[0][1:],
        files={path.name: len(part) for path, part in zip(paths, rows, strict=True)},
        sha256=sha256,
    )


def _data_files(folder: Path, name: str | None) -> list[Path]:
    if not folder.is_dir():
        raise UnusableError(f"no data: the input folder {folder} does not exist")
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    if name is not None:
        there = ", ".join(path.name for path in found) or "nothing"
        found = [path for path in found if path.name == name]
        if not found:
            raise UnusableError(f"no data: the input folder has no data file {name!r}, but {there}")
    if not found:
        raise UnusableError(f"no data: no {', '.join(SUFFIXES)} file in {folder}")
    for path in found:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UnusableError(f"{path.name} is a link that leads out of the input folder")
    return found


def _read(path: Path) -> Floats:
    """Return the samples of one file, the first axis counting them."""
    name = path.name
    try:
        arrays = [_read_csv(path)] if path.suffix.lower() == ".csv" else _read_numpy(path)
    except UnusableError as error:
        raise UnusableError(f"{name}: {error}") from None
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).partition("\n")[0]
        raise UnusableError(f"{name} cannot be read: {reason}") from None
    for array in arrays:
        if array.dtype.kind not in "fiub":
            raise UnusableError(f"{name} holds {array.dtype}, not real numbers")
        if array.ndim < 2:
            raise UnusableError(f"{name} is {_times(array.shape)}, not a table of samples")
        if array.size == 0:
            raise UnusableError(f"{name} is {_times(array.shape)}, it holds no samples")
        if array.shape[1:] != arrays[0].shape[1:]:
            raise UnusableError(
                f"mixed shapes: {name} holds {_times(arrays[0].shape)} and {_times(array.shape)}"
            )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is told
        if len(arrays) > 1:
            samples = np.concatenate(arrays, dtype=np.float32, casting="unsafe")
        else:  # no copy of what is float32 already
            samples = np.ascontiguousarray(arrays[0], dtype=np.float32)
    finite = np.isfinite(samples).reshape(len(samples), -1).all(axis=1)
    if not finite.all():
        number = np.argmin(finite)
        raise UnusableError(f"{name}: sample {number} (from 0) holds NaN or an infinite number")
    return samples


def _read_numpy(path: Path) -> list[npt.NDArray[Any]]:
    with path.open("rb") as file:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return [loaded]
        names = loaded.files
        chosen = [name for name in names if name.lower() == "x" or name.lower().startswith("x_")]
        if len(names) == 1:
            chosen = names
        if not chosen:
            there = ", ".join(names) or "nothing"
            raise UnusableError(f"no array is called x or begins with x_, there is {there}")
        return [np.asarray(loaded[name]) for name in chosen]  # what is no array comes as bytes


def _read_csv(path: Path) -> Floats:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = next(csv.reader([file.readline()]), [])
        header = bool(first) and not any(map(_is_number, first))
        labels = [
            column
            for column, title in enumerate(first)
            if header and title.strip().lower() in LABEL_COLUMNS
        ]
        file.seek(0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "loadtxt: input contained no data")
            table = np.loadtxt(
                file,
                dtype=np.float32,
                delimiter=",",
                quotechar='"',
                comments=None,
                skiprows=int(header),
                converters=dict.fromkeys(labels, lambda label: 0.0),  # it may be text
                ndmin=2,
            )
    return np.delete(table, labels, axis=1) if labels and len(table) else table


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) if shape else "a single number"
