"""Opens what lies beneath a folder whose content is not trusted: no link is followed, none waits.

Every part of a path is opened on its own, from the folder before it (openat(2) with O_NOFOLLOW), so
nothing that is exchanged between a check and the opening can lead elsewhere.
"""

import os
import stat
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

MAX_DEPTH = 16  # folders in one another, each of which is held open
MAX_TIME = 253_402_300_799  # seconds: the end of the year 9999

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


@dataclass(frozen=True)
class Entry:
    """A regular file beneath a folder.

    Attributes:
        path: from that folder, parts joined by `/`.
        size: bytes.
        modified: aware, UTC.
        version: another text as soon as its content may be another.
    """

    path: str
    size: int
    modified: datetime
    version: str


def is_public(part: str) -> bool:
    """Tell whether others may see what has this name.

    Names with a leading dot are temporaries and locks. A backslash is a way out of the folder where
    an archive is unpacked on Windows; control characters and what is no UTF-8 fit in no address.
    """
    odd = {"Cc", "Cs"} & {unicodedata.category(character) for character in part}
    return is_name(part) and not part.startswith(".") and "\\" not in part and not odd


def list_files(root: Path, *parts: str, limit: int) -> tuple[list[Entry], bool]:
    """List the public regular files beneath a folder, sorted by path; links are no files.

    Returns:
        The files, and whether that is all: a folder of more than `limit` entries, or of more than
        MAX_DEPTH folders in one another, is listed in part.
    """
    left = _Left(limit)
    found: list[Entry] = []
    with ExitStack() as stack, suppress(OSError):  # nothing there yet
        folder = stack.enter_context(opened_folder(root))
        for part in parts:
            folder = stack.enter_context(opened_folder(part, within=folder))
        found.extend(_files(folder, "", 0, left))
    return sorted(found, key=lambda entry: entry.path), left.enough


def remove_folder(folder: Path) -> None:
    """Remove a folder and all that lies in it, however deep; links are removed, not followed.

    What lies in a folder within it is moved up, and is removed from there: shutil.rmtree descends,
    and a thousand folders in one another leave it neither stack nor descriptors.

    Raises:
        OSError: there is no such folder, or something in it cannot be removed.
    """
    with opened_folder(folder) as top:
        while names := os.listdir(top):  # noqa: PTH208  (Path takes no descriptor)
            for name in names:
                if not _unlinked(name, top):
                    _lift(name, top)
    folder.rmdir()


def _unlinked(name: str, folder: int) -> bool:
    """Remove what is no folder; say False of a folder."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        return False
    return True


def _lift(name: str, top: int) -> None:
    """Move the folders within a folder into the one above, and remove all else."""
    with opened_folder(name, within=top) as folder:
        for inner in os.listdir(folder):  # noqa: PTH208  (as above)
            if not _unlinked(inner, folder):
                os.rename(inner, uuid.uuid4().hex, src_dir_fd=folder, dst_dir_fd=top)
    os.rmdir(name, dir_fd=top)


def entry_of(path: str, file: os.stat_result) -> Entry:
    """Describe a file. Who wrote it can have set any time: an impossible one is cut."""
    seconds = min(max(file.st_mtime, 0), MAX_TIME)
    version = f"{file.st_ino:x}-{file.st_size:x}-{file.st_mtime_ns:x}"
    return Entry(path, file.st_size, datetime.fromtimestamp(seconds, UTC), version)


@dataclass
class _Left:
    entries: int
    enough: bool = True


def _files(folder: int, prefix: str, depth: int, left: _Left) -> Iterator[Entry]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if left.entries == 0:
                left.enough = False
                return
            left.entries -= 1
            if not is_public(entry.name):
                continue
            path = f"{prefix}{entry.name}"
            with suppress(OSError):  # it may be gone, or have become a link
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    yield entry_of(path, found)
                elif stat.S_ISDIR(found.st_mode) and depth == MAX_DEPTH:
                    left.enough = False
                elif stat.S_ISDIR(found.st_mode):
                    with opened_folder(entry.name, within=folder) as inner:
                        yield from _files(inner, f"{path}/", depth + 1, left)


def write_file(
    directory: int,
    name: str,
    content: Iterable[bytes],
    *,
    unless: Callable[[], bool] = lambda: False,
) -> None:
    """Put a file in place in one step, through no link that a trainer may have planted.

    `unless` is asked when all is written: if it says so, what was there stays.

    Raises:
        OSError: it cannot be written.
    """
    temporary = f".{name}.{uuid.uuid4().hex}"  # process ids are the same in two containers
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o644, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(descriptor)
        if unless():
            os.unlink(temporary, dir_fd=directory)
        else:
            os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        os.unlink(temporary, dir_fd=directory)
        raise
