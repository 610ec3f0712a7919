"""Reads, writes and removes files in a folder whose content is not trusted; links are not followed.

Each part of a path is opened relative to the folder before it (openat(2) with O_NOFOLLOW), so a
part that is replaced between a check and the opening cannot lead out of the folder.
"""

import errno
import fcntl
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

MAX_DEPTH = 16  # nested folders, each of which is held open
MAX_TIME = 253_402_300_799  # seconds since 1970: the end of the year 9999

_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC  # a link that the owner of a root has set
_FOLDER = _ROOT | os.O_NOFOLLOW
# O_NONBLOCK: opening a FIFO must not block.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def opened_folder(folder: Path | str, *, within: int | None = None) -> Iterator[int]:
    """Open a folder by its path, or by its name in the open folder `within`, for a `with` block.

    Raises:
        OSError: there is no such folder, or it is a link.
    """
    yield from _opened(folder, _FOLDER, within)


@contextmanager
def opened_root(root: Path) -> Iterator[int]:
    """Open a folder that is trusted, for a `with` block; it may be a link.

    Raises:
        OSError: there is no such folder.
    """
    yield from _opened(root, _ROOT, None)


def _opened(folder: Path | str, flags: int, within: int | None) -> Iterator[int]:
    descriptor = os.open(folder, flags, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_file(root: Path, parts: Sequence[str]) -> BinaryIO | None:
    """Open a regular file for reading, unbuffered; return None if it cannot be opened.

    Args:
        root: a folder, which is trusted and may be a link.
        parts: the path from there to the file, which is not trusted.
    """
    if not parts or not all(map(is_plain_name, parts)):
        return None
    try:
        folder = os.open(root, _ROOT)
    except OSError:
        return None
    try:
        for part in parts[:-1]:
            outer, folder = folder, os.open(part, _FOLDER, dir_fd=folder)
            os.close(outer)
        return _open_regular(parts[-1], folder)
    except (OSError, UnicodeEncodeError):  # the latter for a lone surrogate
        return None
    finally:
        os.close(folder)


def is_plain_name(part: str) -> bool:
    """Return whether `part` is a plain file name, not a path."""
    return part not in ("", ".", "..") and not {"/", "\0"} & set(part)


def _open_regular(name: str, folder: int) -> BinaryIO | None:
    """Open a file for reading, unbuffered; return None if it is not a regular file."""
    descriptor = os.open(name, _FILE, dir_fd=folder)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb", buffering=0)
    os.close(descriptor)
    return None


@dataclass(frozen=True)
class Entry:
    """A regular file in a folder or in one of its subfolders.

    Attributes:
        path: relative to that folder, parts joined by `/`.
        size: bytes.
        modified: aware, UTC.
        version: changes whenever the content may have changed.
    """

    path: str
    size: int
    modified: datetime
    version: str


def is_public(part: str) -> bool:
    """Return whether a file or folder of this name is shown to clients.

    Names with a leading dot are temporary files and locks. A backslash leads out of the folder when
    an archive is unpacked on Windows. Control characters and lone surrogates are invalid in URLs.
    """
    odd = {"Cc", "Cs"} & {unicodedata.category(character) for character in part}
    return is_plain_name(part) and not part.startswith(".") and "\\" not in part and not odd


def list_files(root: Path, *parts: str, limit: int) -> tuple[list[Entry], bool]:
    """Return the public regular files of a folder and its subfolders, sorted by path.

    Returns:
        The files, and whether the list is complete: it is not if there are more than `limit`
        entries, or more than MAX_DEPTH nested folders.
    """
    budget = _Budget(limit)
    found: list[Entry] = []
    with ExitStack() as stack, suppress(OSError):  # the folder may not exist yet
        folder = stack.enter_context(opened_root(root))
        for part in parts:
            folder = stack.enter_context(opened_folder(part, within=folder))
        found.extend(_walk(folder, "", 0, budget))
    return sorted(found, key=lambda entry: entry.path), budget.complete


def remove_folder(folder: Path) -> None:
    """Remove a folder and everything in it; links are removed, not followed.

    Folders in a subfolder are moved up and removed from there. shutil.rmtree descends into them
    instead, and fails on a thousand nested folders for want of stack or file descriptors.
    Rights that the owner of a folder took from itself (`chmod 000`) are restored first.

    Raises:
        FileNotFoundError: there is no such folder.
        OSError: something in it cannot be removed; its `filename` is the path of what is left,
            relative to the folder that `folder` is in.
    """
    path = left = folder.name
    try:
        _restore_rights(folder)
        with opened_folder(folder) as top:
            while names := os.listdir(top):  # noqa: PTH208  (Path takes no descriptor)
                for name in names:
                    left = f"{path}/{name}"
                    if not _unlink(name, top):
                        _dissolve(name, top)
        left = path
        folder.rmdir()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, left) from error


def _restore_rights(folder: Path | str, *, within: int | None = None) -> None:
    """Grant the owner all rights to a folder, without following a link; only the owner can."""
    path_only = getattr(os, "O_PATH", 0)  # of Linux: needs no rights to the folder itself
    flags = path_only | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(OSError):  # whatever needs the rights then fails, and says why
        descriptor = os.open(folder, flags, dir_fd=within)
        try:
            if os.fstat(descriptor).st_mode & stat.S_IRWXU != stat.S_IRWXU:
                # fchmod(2) refuses a descriptor of O_PATH.
                target = f"/proc/self/fd/{descriptor}" if path_only else descriptor
                os.chmod(target, stat.S_IRWXU)  # noqa: PTH101  (Path takes no descriptor)
        finally:
            os.close(descriptor)


def _unlink(name: str, folder: int) -> bool:
    """Remove a file or link; return False if it is a folder."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        return False
    return True


def _dissolve(name: str, top: int) -> None:
    """Remove a subfolder of `top` after moving its own subfolders to `top`."""
    _restore_rights(name, within=top)
    with opened_folder(name, within=top) as folder:
        for inner in os.listdir(folder):  # noqa: PTH208  (as above)
            if not _unlink(inner, folder):
                _restore_rights(inner, within=folder)  # a move writes to the folder that is moved
                os.rename(inner, uuid.uuid4().hex, src_dir_fd=folder, dst_dir_fd=top)
    os.rmdir(name, dir_fd=top)


def entry_of(path: str, file: os.stat_result) -> Entry:
    """Return the entry of a file; its time, which a trainer can set, is cut to a valid one."""
    seconds = min(max(file.st_mtime, 0), MAX_TIME)
    version = f"{file.st_ino:x}-{file.st_size:x}-{file.st_mtime_ns:x}"
    return Entry(path, file.st_size, datetime.fromtimestamp(seconds, UTC), version)


@dataclass
class _Budget:
    """How many entries may still be listed, and whether that was enough so far."""

    entries: int
    complete: bool = True


def _walk(folder: int, prefix: str, depth: int, budget: _Budget) -> Iterator[Entry]:
    """Yield the public regular files of an open folder and its subfolders."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if budget.entries == 0:
                budget.complete = False
                return
            budget.entries -= 1
            if not is_public(entry.name):
                continue
            path = f"{prefix}{entry.name}"
            with suppress(OSError):  # it may have been removed, or replaced by a link
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    yield entry_of(path, found)
                elif stat.S_ISDIR(found.st_mode) and depth == MAX_DEPTH:
                    budget.complete = False
                elif stat.S_ISDIR(found.st_mode):
                    with opened_folder(entry.name, within=folder) as inner:
                        yield from _walk(inner, f"{path}/", depth + 1, budget)


def make_folder(name: str, *, within: int) -> None:
    """Create a folder in the open folder `within`; a file or link of that name is removed.

    Raises:
        OSError: it cannot be created.
    """
    try:
        os.mkdir(name, dir_fd=within)
    except FileExistsError:
        existing = os.stat(name, dir_fd=within, follow_symlinks=False)
        if not stat.S_ISDIR(existing.st_mode):
            os.unlink(name, dir_fd=within)
            os.mkdir(name, dir_fd=within)


def append_to_file(directory: int, name: str, content: bytes) -> int:
    """Append to a file of an open folder, which is created if it is missing.

    It is not flushed to the disk, so a crash of the machine may lose what was appended last.

    Returns:
        The size of the file, in bytes.

    Raises:
        OSError: it cannot be written, or is a link, no regular file, or has a second name.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o644, dir_fd=directory)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
        os.write(descriptor, content)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def write_file(
    directory: int,
    name: str,
    content: Iterable[bytes],
    *,
    unless: Callable[[], bool] = lambda: False,
) -> None:
    """Write a file of an open folder atomically, without following a link of that name.

    Until that is done, others can see that its writer lives; see `writings`.

    Args:
        directory: the descriptor of the folder.
        name: the name of the file.
        content: its pieces.
        unless: called after the last piece; if it returns true, the file is left as it was.

    Raises:
        OSError: it cannot be written.
    """
    temporary = f".{name}.{uuid.uuid4().hex}"  # process ids may be equal in two containers
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o644, dir_fd=directory)
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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


def writings(directory: int, name: str) -> dict[str, bool]:
    """Return the temporary files of `write_file` for that name, and whether their writers live.

    Those of killed processes stay.

    Raises:
        OSError: the folder cannot be read.
    """
    names = os.listdir(directory)
    return {one: _is_locked(directory, one) for one in names if one.startswith(f".{name}.")}


def _is_locked(directory: int, name: str) -> bool:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except OSError:  # it has just been written, or is no file
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
