"""Checks what the arrays of an uploaded .npz or .npy file claim, without reading the arrays.

Only claims that no trainer could use are refused; files of another format are not judged.
"""

import ast
import math
import os
import re
import struct
import zipfile
from contextlib import suppress
from typing import BinaryIO

MAX_RATIO = 500  # bytes that a byte of an archive may expand to; real samples stay far below
HARMLESS_BYTES = 256 * 2**20  # of expanded content, whatever its ratio is
MAX_DIRECTORY_BYTES = 2**20  # of an archive: thousands of arrays
MAX_HEADER_BYTES = 64 * 1024  # of a .npy file
NPY_MAGIC = b"\x93NUMPY"
ITEM = re.compile(r"[<>|=]?([fiubcSVU])(\d{1,9})")  # such as "<f8", as numpy describes a type
END_OF_DIRECTORY = b"PK\5\6"
END_BYTES = 22 + 65535  # of an archive, in which the end of its directory is looked for


def problem_of(name: str, file: BinaryIO) -> str | None:
    """Return what is wrong with the sizes that a file claims, as a clause; None if nothing is.

    Args:
        name: its name, whose suffix names the format.
        file: its content, readable from any position.
    """
    size = os.fstat(file.fileno()).st_size
    # Damaged files are not judged here: the trainer says what is wrong with them.
    with suppress(ValueError, SyntaxError, LookupError, RecursionError, MemoryError, OverflowError):
        if name.lower().endswith(".npz"):
            return _problem_of_archive(file, size)
        if name.lower().endswith(".npy"):
            return _problem_of_array(file, size)
    return None


def _problem_of_archive(file: BinaryIO, size: int) -> str | None:
    file.seek(max(0, size - END_BYTES))
    end = file.read(END_BYTES)
    start = end.rfind(END_OF_DIRECTORY)
    if start < 0 or len(end) < start + 22:
        return None
    (directory_bytes,) = struct.unpack_from("<L", end, start + 12)
    if directory_bytes > MAX_DIRECTORY_BYTES:
        return f"its list of arrays has {directory_bytes} bytes, more than {MAX_DIRECTORY_BYTES}"
    try:
        with zipfile.ZipFile(file) as archive:
            expanded = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, struct.error):
        return None
    if expanded > max(HARMLESS_BYTES, MAX_RATIO * size):
        return f"its {size} bytes expand to {expanded}, more than {MAX_RATIO} times"
    return None


def _problem_of_array(file: BinaryIO, size: int) -> str | None:
    file.seek(0)
    head = file.read(12)
    if not head.startswith(NPY_MAGIC) or len(head) < 12:
        return None
    is_short = head[6] == 1  # versions 2 and 3 have a longer length
    start = 10 if is_short else 12
    length = int.from_bytes(head[8:start], "little")
    if length > MAX_HEADER_BYTES:
        return f"its header has {length} bytes, more than {MAX_HEADER_BYTES}"
    file.seek(start)
    header = ast.literal_eval(file.read(length).decode("latin-1").strip())
    item = ITEM.fullmatch(str(header["descr"]))
    shape = header["shape"]
    if item is None or not all(type(length) is int for length in shape):
        return None
    width = int(item[2]) * (4 if item[1] == "U" else 1)
    claimed, held = width * math.prod(shape), size - start - length
    if min(shape, default=0) < 0 or claimed > held:
        return f"it claims an array of shape {tuple(shape)!s:.100}, which is more than it holds"
    return None
