"""Examines .npy and .npz files by the rules of models/common/numpy_files.py, without NumPy.

Values are read in pieces; pickled objects are never loaded.
"""

import array
import ast
import lzma
import math
import os
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import IO, Any, BinaryIO

from backend.domain.data_sets.content import Array, Column, Content, Fault
from backend.domain.data_sets.fitting import Look
from backend.files.array_files import problem_of
from backend.files.data_sets.csv_layout import Unreadable, shown

MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK"
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ENCRYPTED = 0x1  # a bit of ZipInfo.flag_bits
MAX_RATIO = 500
HARMLESS_BYTES = 256 * 2**20
MAX_HEADER = 10_000  # bytes, as NumPy has it
MAX_ENTRIES = 10_000  # of an archive
MAX_ARRAYS = 50  # that are described
MAX_WIDTH = 4_000_000  # numbers of a sample
MAX_STATISTICS_BYTES = 256 * 2**20  # beyond, the extremes are not worth their time
MAX_VALUES_BYTES = 2**30  # beyond, the values are not read
MAX_COLUMNS = 100  # of a table, that are described
PIECE_BYTES = 2**20
SHOWN_NAMES = 10

_DESCR = re.compile(r"[<>|=]?([a-zA-Z])([0-9]{0,9})")
_SIZES = {"f": (2, 4, 8, 12, 16), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "b": (1,)}
_KINDS = {"f": "float", "i": "int", "u": "uint"}
_CODES = {"f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q"}
_CODES |= {"u1": "B", "u2": "H", "u4": "I", "u8": "Q", "b1": "B"}


@dataclass(frozen=True)
class Header:
    """The header of an array.

    Attributes:
        item: its type as NumPy describes it, without the order of bytes, such as `f4`.
        is_swapped: whether its bytes are in another order than those of this machine.
        is_fortran: whether its first axis varies fastest.
        start: where the values begin.
    """

    shape: tuple[int, ...]
    item: str
    is_swapped: bool
    is_fortran: bool
    start: int

    @property
    def dtype(self) -> str:
        """The name of the type, such as float32."""
        if self.item[0] == "b":
            return "bool"
        kind = _KINDS.get(self.item[0])
        return f"{kind}{8 * int(self.item[1:])}" if kind else self.item

    @property
    def width(self) -> int:
        """The bytes of one number."""
        return int(self.item[1:] or 0)

    @property
    def is_real(self) -> bool:
        """Whether it holds real numbers."""
        return int(self.item[1:] or 0) in _SIZES.get(self.item[0], ())


@dataclass
class _Extremes:
    """The lowest and highest numbers so far: of all, and of each column of a table."""

    low: float | None = None
    high: float | None = None
    columns: list[tuple[float, float] | None] | None = None


def examine_arrays(file: BinaryIO) -> Content:
    """Return what a .npy or .npz file holds, and why no model can read it, if none can."""
    if problem := _claims_too_much(file):
        return Content(fault=Fault(problem))
    try:
        with damage_is_unreadable():
            return _examine(file)
    except Unreadable as error:
        return Content(fault=error.fault)


def look_at_arrays(file: BinaryIO) -> Look:
    """Return what the headers of a .npy or .npz file show."""
    if problem := _claims_too_much(file):
        return Look(fault=Fault(problem))
    try:
        with damage_is_unreadable(), opened_samples(file) as (members, is_archive, names):
            headers = [header for _, header, _ in members]
            _check_shapes(headers)
            labels = any(other.lower() == "y" or other.lower()[:2] == "y_" for other in names)
            return Look(shape=headers[0].shape[1:], has_labels=is_archive and labels)
    except Unreadable as error:
        return Look(fault=error.fault)


def _claims_too_much(file: BinaryIO) -> str | None:
    file.seek(0)
    is_archive = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC  # models do not go by the suffix either
    return problem_of("x.npz" if is_archive else "x.npy", file)


def _examine(file: BinaryIO) -> Content:
    with opened_samples(file) as (members, _, _):
        headers = [header for _, header, _ in members]
        _check_shapes(headers)
        first = headers[0]
        rows = sum(header.shape[0] for header in headers)
        content = Content(
            shape=(rows, *first.shape[1:]),
            dtype=first.dtype,
            arrays=tuple(
                Array(shown(name), header.shape, header.dtype)
                for name, header, _ in members[:MAX_ARRAYS]
            ),
        )
        held = sum(header.width * math.prod(header.shape) for header in headers)
        if held > MAX_VALUES_BYTES:
            return content
        extremes = _Extremes()
        if first.shape[1:] and len(first.shape) == 2 and not any(one.is_fortran for one in headers):
            extremes.columns = [None] * min(first.shape[1], MAX_COLUMNS)
        before = 0
        for _, header, open_member in members:
            with open_member() as member:
                _scan(member, header, extremes, before, is_small=held <= MAX_STATISTICS_BYTES)
            before += header.shape[0]
        return replace(
            content,
            minimum=extremes.low,
            maximum=extremes.high,
            columns=tuple(_columns(extremes)),
        )


# An array, its header, and how to open it.
Member = tuple[str, Header, Callable[[], AbstractContextManager[IO[bytes]]]]


@contextmanager
def opened_samples(file: BinaryIO) -> Iterator[tuple[list[Member], bool, list[str]]]:
    """Open the arrays of a file that hold samples, for a `with` block.

    Yields:
        Those arrays, whether the file is an archive, and the names of all arrays.

    Raises:
        Unreadable: there are none, or one of them holds something else.
    """
    file.seek(0)
    magic = file.read(len(MAGIC))
    if magic == MAGIC:
        size = os.fstat(file.fileno()).st_size
        file.seek(0)
        header = read_header(file, size)
        yield [("", header, partial(_rewound, file))], False, [""]
        return
    if not magic.startswith(ZIP_MAGIC):
        raise Unreadable("it is no file of NumPy" if magic else "it is empty")
    with zipfile.ZipFile(file) as archive:
        entries, chosen = _chosen(archive)
        members: list[Member] = []
        for name in chosen:
            entry = entries[name]
            _check_entry(name, entry)
            with archive.open(entry) as member:
                if member.read(len(MAGIC)) != MAGIC:
                    raise Unreadable(f"its array {shown(name)} holds no real numbers")
            with archive.open(entry) as member:
                header = read_header(member, entry.file_size)
            members.append((name, header, partial(archive.open, entry)))
        yield members, True, list(entries)


@contextmanager
def _rewound(file: BinaryIO) -> Iterator[BinaryIO]:
    """Read an open file from its beginning for a `with` block, and leave it open."""
    file.seek(0)
    yield file


def _chosen(archive: zipfile.ZipFile) -> tuple[dict[str, zipfile.ZipInfo], list[str]]:
    """Return the members of an archive by name, and the names of those that hold samples."""
    entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
    if len(entries) > MAX_ENTRIES:
        raise Unreadable(f"it holds {len(entries)} arrays, more than {MAX_ENTRIES}")
    chosen = [name for name in entries if name.lower() == "x" or name.lower().startswith("x_")]
    if len(entries) == 1:
        chosen = list(entries)
    if not chosen:
        names = ", ".join(map(shown, list(entries)[:SHOWN_NAMES])) or "none"
        more = ", ..." if len(entries) > SHOWN_NAMES else ""
        raise Unreadable(f"no array's name is x or begins with x_; the arrays are: {names}{more}")
    return entries, chosen


def _check_entry(name: str, entry: zipfile.ZipInfo) -> None:
    name = shown(name)
    if entry.flag_bits & ENCRYPTED:
        raise Unreadable(f"its array {name} is encrypted")
    if entry.compress_type not in COMPRESSIONS:
        raise Unreadable(f"its array {name} has the unknown compression {entry.compress_type}")
    if entry.file_size > max(HARMLESS_BYTES, MAX_RATIO * entry.compress_size):
        raise Unreadable(
            f"its array {name} expands from {entry.compress_size} to {entry.file_size} bytes, more "
            f"than {MAX_RATIO} times"
        )


def read_header(file: IO[bytes], size: int) -> Header:
    """Read the header of an array that has `size` bytes with its header.

    Raises:
        Unreadable: it is damaged, or claims something else than the array holds.
    """
    head = file.read(8)
    length_bytes = 2 if head[6:7] == b"\x01" else 4
    if head[6:7] not in (b"\x01", b"\x02", b"\x03"):
        raise Unreadable("its header is damaged")
    length = int.from_bytes(file.read(length_bytes), "little")
    if length > MAX_HEADER:
        raise Unreadable("its header is damaged")
    start = 8 + length_bytes + length
    shape, descr, is_fortran = _parsed(file.read(length))
    if not isinstance(descr, str):
        raise Unreadable("it holds records of several fields, not real numbers")
    found = _DESCR.fullmatch(descr)
    if found is None:
        raise Unreadable("its header is damaged")
    if found[1] == "O":
        raise Unreadable("it holds Python objects, not numbers")
    other = ">" if sys.byteorder == "little" else "<"
    is_swapped = descr.startswith(other)
    header = Header(shape, found[1] + found[2], is_swapped, is_fortran, start)
    if not header.is_real:
        raise Unreadable(f"it holds {header.dtype}, not real numbers")
    count, held = math.prod(shape), size - start
    if min(shape, default=0) < 0 or count * header.width > held:
        raise Unreadable(f"it claims {count} numbers, the file has {held // header.width}")
    if count * header.width < held:
        raise Unreadable(f"{held - count * header.width} bytes follow its array")
    return header


def _parsed(text: bytes) -> tuple[tuple[int, ...], Any, bool]:
    """Return shape, type and order of axes of a header."""
    try:
        header = ast.literal_eval(text.decode("latin-1").strip())
        shape, descr, is_fortran = header["shape"], header["descr"], header["fortran_order"]
    except (ValueError, SyntaxError, LookupError, TypeError, RecursionError, MemoryError):
        raise Unreadable("its header is damaged") from None
    is_shape = isinstance(shape, tuple) and all(type(length) is int for length in shape)
    if not is_shape or len(shape) > 32 or type(is_fortran) is not bool:
        raise Unreadable("its header is damaged")
    return shape, descr, is_fortran


def _check_shapes(headers: list[Header]) -> None:
    """Check that arrays hold samples of one shape."""
    for header in headers:
        text = shape_text(header.shape)
        if len(header.shape) < 2:
            raise Unreadable(f"it is {text}, not a table of samples")
        if math.prod(header.shape) == 0:
            raise Unreadable(f"it is {text}, it holds no samples")
        if math.prod(header.shape[1:]) > MAX_WIDTH:
            raise Unreadable(f"it is {text}: a sample may have {MAX_WIDTH} numbers at most")
        if header.shape[1:] != headers[0].shape[1:]:
            raise Unreadable(f"mixed shapes: it holds {shape_text(headers[0].shape)} and {text}")


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as messages show it."""
    if len(shape) < 2:
        return f"a list of {shape[0]} numbers" if shape else "a single number"
    return " x ".join(map(str, shape))


def numbers_of(piece: bytes, header: Header) -> Any:
    """Return the numbers in some bytes of an array; None for a type that is not read here."""
    if header.item == "f2":
        order = ">" if header.is_swapped is (sys.byteorder == "little") else "<"
        return struct.unpack(f"{order}{len(piece) // 2}e", piece)
    code = _CODES.get(header.item)
    if code is None:
        return None
    numbers = array.array(code, piece)
    if header.is_swapped:
        numbers.byteswap()
    return numbers


def _scan(
    member: IO[bytes], header: Header, extremes: _Extremes, before: int, *, is_small: bool
) -> None:
    """Read all values, so that damage is found, and add their extremes.

    Raises:
        Unreadable: a number is NaN or infinite.
    """
    member.read(header.start)
    sample = math.prod(header.shape[1:])
    row = sample * header.width
    step = max(1, PIECE_BYTES // row) * row if row <= PIECE_BYTES else header.width * 2**16
    done = 0
    while piece := read_exactly(member, step):
        numbers = numbers_of(piece, header)
        if numbers is not None and len(numbers):
            if header.item[0] == "f" and not math.isfinite(sum(numbers)):
                _check_finite(numbers, header, before, done)
            if is_small:
                _add(extremes, numbers, sample if row <= PIECE_BYTES else 0)
        done += len(piece) // header.width


def read_exactly(member: IO[bytes], size: int) -> bytes:
    """Read exactly `size` bytes, or what is left."""
    pieces = []
    while size and (piece := member.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _check_finite(numbers: Any, header: Header, before: int, done: int) -> None:
    for place, number in enumerate(numbers, done):
        if not math.isfinite(number):
            count = header.shape[0]
            row = place % count if header.is_fortran else place // math.prod(header.shape[1:])
            raise Unreadable(
                f"sample {before + row} (counted from 0) holds NaN or an infinite number"
            )


def _add(extremes: _Extremes, numbers: Any, sample: int) -> None:
    if not sample:
        extremes.columns = None
    columns = extremes.columns
    for column, known in enumerate(columns or ()):
        own = numbers[column::sample]
        low, high = min(own), max(own)
        found = (min(low, known[0]), max(high, known[1])) if known else (low, high)
        columns[column] = found  # type: ignore[index]
    is_complete = columns is not None and len(columns) == sample
    parts = [one for one in columns or () if one] if is_complete else []
    low = min(one[0] for one in parts) if parts else min(numbers)
    high = max(one[1] for one in parts) if parts else max(numbers)
    extremes.low = low if extremes.low is None else min(low, extremes.low)
    extremes.high = high if extremes.high is None else max(high, extremes.high)


def _columns(extremes: _Extremes) -> Iterator[Column]:
    for number, known in enumerate(extremes.columns or ()):
        if known:
            yield Column(f"{number + 1}", "number", known[0], known[1], 0)


@contextmanager
def damage_is_unreadable() -> Iterator[None]:
    """Turn the exceptions by which the decoders report damage into Unreadable."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # the disk, not the content
            raise
        raise Unreadable(f"it is damaged: {error}") from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error) as error:
        raise Unreadable(f"it is damaged: {error or 'it ends too early'}") from None
    except (RuntimeError, NotImplementedError, KeyError, IndexError, OverflowError) as error:
        raise Unreadable(f"it is damaged: {error}") from None
