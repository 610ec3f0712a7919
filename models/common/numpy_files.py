"""Reads arrays of numbers from .npy and .npz files. Uses NumPy alone.

The files may be damaged or made to do harm. What an array claims to be is compared with the size of
its file, and with the memory that this process may use, before any of it is read. Pickled objects
are never loaded.
"""

import lzma
import math
import os
import resource
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from common.exceptions import UnusableError
from common.precision import Array

ZIP_MAGIC = b"PK"
COMPRESSIONS = {
    zipfile.ZIP_STORED,
    zipfile.ZIP_DEFLATED,
    zipfile.ZIP_BZIP2,
    zipfile.ZIP_LZMA,
}
ENCRYPTED = 0x1  # a bit of ZipInfo.flag_bits
MAX_RATIO = 500  # of an array to its compressed bytes; samples have at most about 100
HARMLESS_BYTES = 256 * 1024 * 1024  # an array that may have any ratio
MAX_HEADER = 10_000  # bytes, as NumPy has it
MAX_ENTRIES = 10_000  # of an archive
MAX_WIDTH = 4_000_000  # numbers; the network of a wider sample needs over 16 GB
SHOWN_NAMES = 10
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def read_arrays(path: Path) -> list[Array]:
    """Return the arrays of a file that hold samples.

    Raises:
        ValueError: The file is damaged, locked, or no file of NumPy.
        UnusableError: It holds other things than samples, or more than fits into memory.
    """
    with path.open("rb") as file, _damage_is_value_error():
        magic = file.read(len(npy.MAGIC_PREFIX))
        file.seek(0)
        if magic == npy.MAGIC_PREFIX:
            return [_read_array(file, os.fstat(file.fileno()).st_size)]
        if not magic.startswith(ZIP_MAGIC):
            raise ValueError("it is no file of NumPy" if magic else "it is empty")
        with zipfile.ZipFile(file) as archive:
            return _read_archive(archive)


@contextmanager
def _damage_is_value_error() -> Iterator[None]:
    """Turn the exceptions by which the decoders report damage into a ValueError."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # the disk, not the content
            raise
        raise ValueError(f"it is damaged: {error}") from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise ValueError(f"it is damaged: {error or 'it ends too early'}") from None
    except (RuntimeError, NotImplementedError, KeyError, IndexError, OverflowError) as error:
        raise ValueError(f"it is damaged: {error}") from None


def _read_archive(archive: zipfile.ZipFile) -> list[Array]:
    """Return the arrays of an archive that hold samples.

    Raises:
        ValueError: An array cannot be read.
        UnusableError: No array holds samples, or they do not fit into memory.
    """
    entries, chosen = _samples(archive)
    for name in chosen:
        _check_entry(name, entries[name])
    _check_memory(sum(entries[name].file_size for name in chosen))
    arrays = []
    for name in chosen:
        entry = entries[name]
        with archive.open(entry) as file:
            if file.read(len(npy.MAGIC_PREFIX)) != npy.MAGIC_PREFIX:
                raise UnusableError(f"holds {np.dtype(f'S{entry.file_size}')}, not real numbers")
        with archive.open(entry) as file:
            arrays.append(_read_array(file, entry.file_size))
    return arrays


def is_archive(path: Path) -> bool:
    """Return whether a file begins as an archive does."""
    with path.open("rb") as file:
        return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC


def read_labels(path: Path, target: str) -> list[str]:
    """Return the labels in an archive: the array `target` for `x`, `target_train` for `x_train`.

    Raises:
        ValueError: An array cannot be read.
        UnusableError: An array of samples has no array of labels.
    """
    with path.open("rb") as file, _damage_is_value_error(), zipfile.ZipFile(file) as archive:
        entries, chosen = _samples(archive)
        names = {name: target + name[1:] if name[:1] in "xX" else target for name in chosen}
        if missing := [name for name in names.values() if name not in entries]:
            raise UnusableError(f"it has no array {missing[0]!r}; {_available(entries)}")
        for name in names.values():
            _check_entry(name, entries[name])
        labels = list[str]()
        for name in names.values():
            with archive.open(entries[name]) as member:
                array = _read_array(member, entries[name].file_size, kinds="fiubU")
            labels += label_texts(name, array)
        return labels


def label_texts(name: str, array: Array) -> list[str]:
    """Return the labels in an array of one dimension, called `name` in messages.

    Raises:
        UnusableError: A label is missing, or there is more than one for a sample.
    """
    if array.size != len(array):
        raise UnusableError(f"{name} holds more than one label for a sample")
    texts = [str(label).strip() for label in array.reshape(-1).tolist()]
    for sample, text in enumerate(texts):
        if text in ("", "nan"):
            raise UnusableError(f"{name}: sample {sample} (counted from 0) has no label")
    return texts


def _samples(archive: zipfile.ZipFile) -> tuple[dict[str, zipfile.ZipInfo], list[str]]:
    """Return the members of an archive by name, and the names of those that hold samples.

    Raises:
        UnusableError: None of them holds samples.
    """
    entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
    if len(entries) > MAX_ENTRIES:
        raise UnusableError(f"it holds {len(entries)} arrays, more than {MAX_ENTRIES}")
    chosen = [name for name in entries if name.lower() == "x" or name.lower().startswith("x_")]
    if len(entries) == 1:
        chosen = list(entries)
    if not chosen:
        raise UnusableError(f"no array's name is x or begins with x_; {_available(entries)}")
    return entries, chosen


def _available(entries: dict[str, zipfile.ZipInfo]) -> str:
    """Return the names of arrays for a message."""
    names = ", ".join(list(entries)[:SHOWN_NAMES]) or "none"
    return f"the arrays are: {names}{', ...' if len(entries) > SHOWN_NAMES else ''}"


def _check_entry(name: str, entry: zipfile.ZipInfo) -> None:
    """Check that a member of an archive can be read.

    Raises:
        ValueError: It is encrypted, or compressed by an unknown method.
        UnusableError: It expands much more than samples do.
    """
    if entry.flag_bits & ENCRYPTED:
        raise ValueError(f"its array {name} is encrypted")
    if entry.compress_type not in COMPRESSIONS:
        raise ValueError(f"its array {name} has the unknown compression {entry.compress_type}")
    if entry.file_size > max(HARMLESS_BYTES, MAX_RATIO * entry.compress_size):
        raise UnusableError(
            f"its array {name} expands from {entry.compress_size} to {entry.file_size} bytes, more "
            f"than {MAX_RATIO} times"
        )


def _read_array(file: IO[bytes], size: int, kinds: str = "fiub") -> Array:
    """Return the array in a .npy file of `size` bytes, whose dtype has one of these kinds.

    Raises:
        ValueError: Its header is damaged, or claims another size than the file has.
        UnusableError: It does not hold such values, or does not fit into memory.
    """
    shape, dtype = _header(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, not numbers")
    if dtype.kind not in kinds:
        text = "records of several fields" if dtype.names else str(dtype)
        raise UnusableError(f"holds {text}, not real numbers")
    count = math.prod(shape)
    held = size - file.tell()
    if min(shape, default=0) < 0 or count * dtype.itemsize > held:
        raise ValueError(f"it claims {count} numbers, the file has {held // dtype.itemsize}")
    if count * dtype.itemsize < held:
        raise ValueError(f"{held - count * dtype.itemsize} bytes follow its array")
    _check_memory(held)
    file.seek(0)
    array: Array = npy.read_array(file, allow_pickle=False)
    file.read(1)  # the end of a member of an archive, at which its checksum is compared
    return array


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read the header of a .npy file and return the shape and the dtype.

    Raises:
        ValueError: It is damaged.
    """
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file, max_header_size=MAX_HEADER)
    except (OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError):
        raise
    except Exception:  # NumPy evaluates the header as Python, which fails in many ways
        raise ValueError("its header is damaged") from None
    return shape, dtype


def _check_memory(size: int) -> None:
    """Check that arrays of `size` bytes fit into the memory that this process may use.

    Raises:
        UnusableError: They do not.
    """
    usable = usable_memory()
    if size > usable:
        raise UnusableError(
            f"its arrays need {size} bytes of memory, more than the {usable} there are"
        )


def usable_memory() -> int:
    """Return how many bytes of memory this process may use: by the machine, cgroup and rlimits."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in CGROUP_LIMITS:
        try:
            limits.append(int(Path(name).read_text()))
        except (OSError, ValueError):  # another version of cgroups, or the limit is "max"
            continue
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    return min(limits)


def check_samples(name: str, arrays: list[Array]) -> None:
    """Check that the arrays of a file hold samples of one shape.

    Raises:
        UnusableError: They do not.
    """
    for array in arrays:
        if array.dtype.kind not in "fiub":
            raise UnusableError(f"{name} holds {array.dtype}, not real numbers")
        if array.ndim < 2:
            raise UnusableError(f"{name} is {shape_text(array.shape)}, not a table of samples")
        if array.size == 0:
            raise UnusableError(f"{name} is {shape_text(array.shape)}, it holds no samples")
        if math.prod(array.shape[1:]) > MAX_WIDTH:
            raise UnusableError(
                f"{name} is {shape_text(array.shape)}: a sample may have {MAX_WIDTH} numbers at "
                "most"
            )
        if array.shape[1:] != arrays[0].shape[1:]:
            raise UnusableError(
                f"mixed shapes: {name} holds {shape_text(arrays[0].shape)} "
                f"and {shape_text(array.shape)}"
            )


def check_width(first: str, expected: tuple[int, ...], name: str, shape: tuple[int, ...]) -> None:
    """Check that samples of the file `name` have as many numbers as those of the first file.

    Raises:
        UnusableError: They have not.
    """
    if math.prod(shape[1:]) != math.prod(expected[1:]):
        raise UnusableError(
            f"mixed shapes: {first} is {shape_text(expected)}, {name} is {shape_text(shape)}"
        )


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as messages show it."""
    if len(shape) < 2:
        return f"a list of {shape[0]} numbers" if shape else "a single number"
    return " x ".join(map(str, shape))
