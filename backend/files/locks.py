"""Locks between processes: a private one, and whether one is held.

A lock on a folder or file that other users can read is theirs to take, too (flock(2)).
"""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

POLL_SECONDS = 0.02


class LockBusy(Exception):
    """The lock was not free in time."""


@contextmanager
def private_lock(folder: int, seconds: float) -> Iterator[None]:
    """Hold the lock of an open folder, one for each user, for a `with` block.

    Args:
        folder: the descriptor of the folder, in which a file of mode 0600 lies meanwhile.
        seconds: how long to wait for the lock.

    Raises:
        LockBusy: it was not free in time.
        OSError: the file cannot be used: another user may have created it.
    """
    name = f".lock-{os.geteuid()}"
    deadline = time.monotonic() + seconds
    while (descriptor := _try_lock(name, folder)) is None:
        if time.monotonic() > deadline:
            raise LockBusy
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Return whether another process holds the lock of a file; a missing one is not locked.

    Raises:
        OSError: the file is a link, or its lock cannot be tested.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _try_lock(name: str, folder: int) -> int | None:
    """Return the descriptor of the locked file of that name, or None if it is not free."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        file = os.fstat(descriptor)
        if not stat.S_ISREG(file.st_mode) or file.st_uid != os.geteuid() or file.st_mode & 0o077:
            raise PermissionError(errno.EPERM, f"the lock {name} is not this server's")
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last owner may have removed it between the opening and the lock.
            if os.path.samestat(os.stat(name, dir_fd=folder), file):
                locked, descriptor = descriptor, -1
                return locked
        return None
    finally:
        if descriptor >= 0:
            os.close(descriptor)
