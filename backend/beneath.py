"""Opens what lies beneath a folder whose content is not trusted: no link is followed, none waits.

Every part of a path is opened on its own, from the folder before it (openat(2) with O_NOFOLLOW), so
nothing that is exchanged between a check and the opening can lead elsewhere.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO that somebody planted must not hold us.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def opened_folder(folder: Path | str, *, within: int | None = None) -> Iterator[int]:
    """Open a folder that is no link, by its path or by its name in the open folder `within`.

    Raises:
        OSError: there is no such folder, or it is a link.
    """
    descriptor = os.open(folder, _FOLDER, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_file(root: Path, parts: Sequence[str]) -> BinaryIO | None:
    """Open a regular file for reading, unbuffered; None if there is none that may be read.

    `root` is trusted, `parts` (the names on the way to the file) are not.
    """
    if not parts or not all(map(is_name, parts)):
        return None
    try:
        folder = os.open(root, _FOLDER)
    except OSError:
        return None
    try:
        for part in parts[:-1]:
            outer, folder = folder, os.open(part, _FOLDER, dir_fd=folder)
            os.close(outer)
        return _open_regular(parts[-1], folder)
    except (OSError, UnicodeEncodeError):  # the latter: a name that no file can have
        return None
    finally:
        os.close(folder)


def is_name(part: str) -> bool:
    """Tell whether a text names one thing in a folder, and not the way out of it."""
    return part not in ("", ".", "..") and not {"/", "\0"} & set(part)


def _open_regular(name: str, folder: int) -> BinaryIO | None:
    descriptor = os.open(name, _FILE, dir_fd=folder)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb", buffering=0)
    os.close(descriptor)
    return None
