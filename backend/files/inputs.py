"""The input folder, which all runs share. They only read it; what lies here is trusted."""

import fcntl
import os
import stat
import time
import uuid
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from backend.domain.exceptions import (
    InputChanged,
    InputEmpty,
    InputExists,
    InputTooLarge,
    InputUnwritable,
    InvalidInputName,
    UnknownDataset,
)
from backend.files.untrusted import Entry, entry_of, is_public, opened_folder

DATA_SUFFIXES = (".npz", ".npy", ".csv")
MAX_NAME_BYTES = 255  # NAME_MAX of Linux file systems
MAX_INPUTS = 10_000  # are listed
UPLOAD = ".upload."  # begins the name of what is not whole yet
STALE_SECONDS = 24 * 3600


class Inputs:
    """The data sets in the input folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> list[str]:
        """Name every data set, sorted; none if the folder cannot be read."""
        try:
            return sorted(path.name for path in self._root.iterdir() if _is_data(path))
        except OSError:
            return []

    def check(self, name: str | None) -> None:
        """Make sure that there is a data set of that name; None stands for all of them.

        Raises:
            UnknownDataset: there is none.
        """
        if name is not None and name not in (names := self.names()):
            raise UnknownDataset(name, names)

    def entries(self) -> list[Entry]:
        """Describe the data sets, sorted by name, the first MAX_INPUTS of them."""
        entries = (self.find(name) for name in self.names())
        return list(islice((entry for entry in entries if entry is not None), MAX_INPUTS))

    def find(self, name: str) -> Entry | None:
        """Describe one data set; None if there is none of that name."""
        file = self.open(name)
        if file is None:
            return None
        with file:
            return entry_of(name, os.fstat(file.fileno()))

    def open(self, name: str) -> BinaryIO | None:
        """Open a data set for reading, unbuffered; None if there is none of that name."""
        if not _is_name(name):
            return None
        try:
            # A link is followed: who can make one here can read all data sets anyway.
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
    ) -> tuple[Entry, bool]:
        """Put a data set in place in one step: whoever reads sees the old one or the new one.

        Args:
            name: a file name with a known ending.
            pieces: its content; what this raises is passed on, and nothing is left behind.
            max_bytes: how long it may be.
            overwrite: whether it may replace another one.
            versions: it has to replace one of these, whatever `overwrite` says.

        Returns:
            The data set as it is now, and whether its name is new.

        Raises:
            InvalidInputName: it cannot have that name.
            InputExists, InputChanged: it may not be replaced.
            InputEmpty, InputTooLarge: it has no content, or too much.
            InputUnwritable: no space, or no right to write.
        """
        if not _is_name(name):
            raise InvalidInputName(name, DATA_SUFFIXES, MAX_NAME_BYTES)
        self._check_replaceable(name, overwrite, versions)
        try:
            self._remove_stale()
            with opened_folder(self._root) as folder, _temporary(folder) as (temporary, file):
                _fill(file, pieces, max_bytes)
                fcntl.flock(folder, fcntl.LOCK_EX)  # of several at once, each is looked at anew
                existing = self._check_replaceable(name, overwrite, versions)
                os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
                os.fsync(folder)
                return entry_of(name, os.fstat(file.fileno())), existing is None
        except OSError as error:
            raise InputUnwritable(error) from error

    def _check_replaceable(
        self, name: str, overwrite: bool, versions: Container[str] | None
    ) -> Entry | None:
        existing = self.find(name)
        if versions is not None and (existing is None or existing.version not in versions):
            raise InputChanged(name)
        if versions is None and existing is not None and not overwrite:
            raise InputExists(name)
        return existing

    def _remove_stale(self) -> None:
        """Remove what was left by a process that was killed while it wrote."""
        for path in self._root.glob(f"{UPLOAD}*"):
            with suppress(FileNotFoundError):
                if path.lstat().st_mtime < time.time() - STALE_SECONDS:
                    path.unlink()


def _is_name(name: str) -> bool:
    fits = is_public(name) and len(name.encode()) <= MAX_NAME_BYTES
    return fits and Path(name).suffix.lower() in DATA_SUFFIXES


def _is_data(path: Path) -> bool:
    return _is_name(path.name) and path.is_file()


@contextmanager
def _temporary(folder: int) -> Iterator[tuple[str, BinaryIO]]:
    """Make a file in an open folder; it is gone at the end unless it was given another name."""
    name = f"{UPLOAD}{uuid.uuid4().hex}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o644, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            yield name, file
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


def _fill(file: BinaryIO, pieces: Iterable[bytes], max_bytes: int) -> None:
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
