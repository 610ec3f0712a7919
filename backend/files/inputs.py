"""The input folder, which holds the data sets of all experiments; its content is trusted."""

import fcntl
import os
import stat
import time
import uuid
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from backend.domain.exceptions import (
    InputBusy,
    InputChanged,
    InputEmpty,
    InputExists,
    InputTooLarge,
    InputUnusable,
    InputUnwritable,
    InvalidInputName,
    UnknownDataset,
)
from backend.domain.identifiers import canonical, invisible_character
from backend.files import array_files
from backend.files.locks import LockBusy, is_locked, private_lock
from backend.files.untrusted import Entry, entry_of, is_public, opened_root

DATA_SUFFIXES = (".npz", ".npy", ".csv")
MAX_NAME_BYTES = 255  # NAME_MAX of Linux file systems
MAX_INPUTS = 10_000  # in the list of data sets
UPLOAD = ".upload."  # begins the name of an incomplete upload
STALE_SECONDS = 600  # without a write, after which an incomplete upload is removed
LOCK_SECONDS = 5.0  # to wait for another upload that is just being completed


class Inputs:
    """The data sets in the input folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def list_names(self) -> list[str]:
        """Return the names of all data sets, sorted; none if the folder cannot be read."""
        try:
            return sorted(path.name for path in self._root.iterdir() if _is_data(path))
        except OSError:
            return []

    def stored_name(self, name: str) -> str:
        """Return the name of the data set that is called `name` in one of the forms of Unicode.

        A name that no data set has is returned as new data sets are named.
        """
        if name.isascii():
            return name
        names = self.list_names()
        if name in names:
            return name
        form = canonical(name)
        return next((other for other in names if canonical(other) == form), form)

    def check(self, chosen: Sequence[str]) -> None:
        """Check that there are data sets of these names.

        Raises:
            UnknownDataset: some are missing; it names all of those.
        """
        if not chosen:
            return
        names = self.list_names()
        missing = [name for name in chosen if name not in names]
        if missing:
            raise UnknownDataset(", ".join(missing), names)

    def list_entries(self) -> list[Entry]:
        """Return the first MAX_INPUTS data sets, sorted by name."""
        entries = (self.find(name) for name in self.list_names())
        return list(islice((entry for entry in entries if entry is not None), MAX_INPUTS))

    def find(self, name: str) -> Entry | None:
        """Return a data set, or None if there is none of this name."""
        file = self.open(name)
        if file is None:
            return None
        with file:
            return self.entry(name, file)

    def entry(self, name: str, file: BinaryIO) -> Entry:
        """Return the data set of this name, whose file is open."""
        return entry_of(name, os.fstat(file.fileno()))

    def open(self, name: str) -> BinaryIO | None:
        """Open a data set for reading, unbuffered; return None if there is none of this name.

        The name may be in another form of Unicode than that of the file.
        """
        file = self._open(name)
        return file if file or name.isascii() else self._open(self.stored_name(name))

    def _open(self, name: str) -> BinaryIO | None:
        if not _is_name(name):
            return None
        try:
            # Links are followed: only the owner of the folder can create them.
            descriptor = os.open(self._root / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return os.fdopen(descriptor, "rb", buffering=0)
        os.close(descriptor)
        return None

    def write(
        self,
        name: str,
        pieces: Iterable[bytes],
        *,
        max_bytes: int,
        overwrite: bool = False,
        versions: Container[str] | None = None,
        check: Callable[[str, BinaryIO, int], None] = lambda _name, _file, _size: None,
    ) -> tuple[Entry, bool]:
        """Write a data set atomically.

        Args:
            name: a file name with one of DATA_SUFFIXES, stored in the form NFC.
            pieces: the content; if reading it raises, nothing is written.
            max_bytes: the maximum size.
            overwrite: whether an existing data set may be replaced.
            versions: if given, the existing data set must have one of these versions, whatever
                `overwrite` is.
            check: called with the name, the complete file and its size; if it raises, nothing is
                changed.

        Returns:
            The data set, and whether its name is new.

        Raises:
            InvalidInputName: the name is not allowed.
            InputExists, InputChanged: the existing data set must not be replaced.
            InputEmpty, InputTooLarge: the content is empty or too large.
            InputUnusable: it claims sizes that no trainer could use.
            InputBusy: another process holds the lock of the folder.
            InputUnwritable: no space, or no permission to write.
        """
        name = self.stored_name(name)
        odd = invisible_character(name) and not self.find(name)  # older versions accepted them
        if odd or not _is_name(name):
            raise InvalidInputName(name, DATA_SUFFIXES, MAX_NAME_BYTES)
        self._check_replaceable(name, overwrite, versions)
        try:
            self._remove_stale()
            with opened_root(self._root) as folder, _temporary(folder) as (temporary, file):
                _fill(file, pieces, max_bytes)
                if problem := array_files.problem_of(name, file):
                    raise InputUnusable(name, problem)
                check(name, file, os.fstat(file.fileno()).st_size)
                with private_lock(folder, LOCK_SECONDS):
                    # Checked again, as another upload may have won.
                    existing = self._check_replaceable(name, overwrite, versions)
                    os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
                os.fsync(folder)
                return entry_of(name, os.fstat(file.fileno())), existing is None
        except LockBusy as error:
            raise InputBusy from error
        except OSError as error:
            raise InputUnwritable(error) from error

    def remove(self, name: str) -> bool:
        """Remove a data set; return False if there is none of this name.

        Raises:
            InputBusy: another process holds the lock of the folder.
            InputUnwritable: no permission to write.
        """
        if not _is_name(name):
            return False
        try:
            with opened_root(self._root) as folder, private_lock(folder, LOCK_SECONDS):
                os.unlink(name, dir_fd=folder)
                os.fsync(folder)
        except FileNotFoundError:
            return False
        except LockBusy as error:
            raise InputBusy from error
        except OSError as error:
            raise InputUnwritable(error) from error
        return True

    def _check_replaceable(
        self, name: str, overwrite: bool, versions: Container[str] | None
    ) -> Entry | None:
        """Return the existing data set, or raise if it must not be replaced; see `write`."""
        existing = self.find(name)
        if versions is not None and (existing is None or existing.version not in versions):
            raise InputChanged(name)
        if versions is None and existing is not None and not overwrite:
            raise InputExists(name)
        return existing

    def _remove_stale(self) -> None:
        """Remove the uploads of processes that were killed: an upload locks its file."""
        for path in self._root.glob(f"{UPLOAD}*"):
            with suppress(OSError):
                # Uploads on other machines may have locks that are not seen here, and clocks that
                # differ; they write all the time.
                is_old = abs(time.time() - path.lstat().st_mtime) > STALE_SECONDS
                if is_old and not is_locked(path):
                    path.unlink()


def _is_name(name: str) -> bool:
    """Return whether a data set may have this name."""
    fits = is_public(name) and len(name.encode()) <= MAX_NAME_BYTES
    return fits and Path(name).suffix.lower() in DATA_SUFFIXES


def _is_data(path: Path) -> bool:
    return _is_name(path.name) and path.is_file()


@contextmanager
def _temporary(folder: int) -> Iterator[tuple[str, BinaryIO]]:
    """Create a file in an open folder for a `with` block; then remove it, unless it was renamed."""
    name = f"{UPLOAD}{uuid.uuid4().hex}"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o644, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "w+b", buffering=0) as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield name, file
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


def _fill(file: BinaryIO, pieces: Iterable[bytes], max_bytes: int) -> None:
    """Write the content of a data set and sync it.

    Raises:
        InputEmpty, InputTooLarge: it is empty, or larger than `max_bytes`.
    """
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > max_bytes:
            raise InputTooLarge(max_bytes)
        rest = memoryview(piece)
        while rest:
            rest = rest[file.write(rest) :]
    if not size:
        raise InputEmpty
    os.fsync(file.fileno())
