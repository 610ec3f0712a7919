"""Lets one of several reconcilers work while the others wait.

It saves work and keeps logs readable. No correctness rests on it: every change is a
compare-and-set, so two that work at once do no harm.
"""

import fcntl
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from backend.launchers.base import LauncherUnavailable
from backend.settings import Settings

RETRY_SECONDS = 2.0  # between tries to become the leader, and between renewals
LOCK = "reconcile.lock"  # in DATA_DIR

log = logging.getLogger(__name__)


class Seat(Protocol):
    """What only one process at a time can hold."""

    def try_hold(self) -> bool:
        """Take the seat, or keep it; return whether this process holds it.

        Raises:
            LauncherUnavailable: that cannot be known now.
        """

    def release(self) -> None:
        """Release the seat, so that another process need not wait for its expiry."""


class FreeSeat:
    """The seat of a reconciler that shares its work with nobody."""

    def try_hold(self) -> bool:
        """Return that it is held."""
        return True

    def release(self) -> None:
        """Do nothing."""


class FileSeat:
    """A lock on a file, which the kernel releases when the process ends."""

    def __init__(self, path: Path) -> None:
        """Use the lock of a file, which is created."""
        self._path = path
        self._descriptor: int | None = None
        self._is_unusable = False

    def try_hold(self) -> bool:
        """Lock the file unless another process has; work without a lock where there is none."""
        if self._descriptor is not None or self._is_unusable:
            return True
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            return self._do_without(error)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as error:  # some network file systems have no locks
            os.close(descriptor)
            return self._do_without(error)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Unlock the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _do_without(self, error: OSError) -> bool:
        log.warning("Several reconcilers would all work: %s cannot be locked: %s", LOCK, error)
        self._is_unusable = True
        return True


def make_seat(settings: Settings) -> Seat:
    """Return the seat that the reconcilers of `settings` compete for."""
    if settings.launcher == "local":
        return FileSeat(settings.data_dir / LOCK)
    if not settings.reconcile_lease:
        return FreeSeat()
    from backend.launchers.kubernetes.lease import Lease

    return Lease(settings)


class Leadership:
    """Waits for the seat, and keeps it."""

    def __init__(self, seat: Seat, report: Callable[[str | None], None] = lambda _: None) -> None:
        """Compete for `seat`.

        Args:
            seat: what the leader holds.
            report: called while waiting, with what prevents it from becoming the leader, or None
                if nothing but the present leader does.
        """
        self._seat, self._report = seat, report
        self._trouble: str | None = None

    def wait(self, stopped: threading.Event) -> bool:
        """Wait until this process leads; return whether it does, or was stopped before."""
        is_first = True
        while not stopped.is_set():
            if self._try_hold(otherwise=False):
                log.info("This reconciler leads.")
                return True
            self._report(self._trouble)
            if is_first and not self._trouble:
                log.info("Another reconciler leads; waiting to replace it.")
                is_first = False
            stopped.wait(RETRY_SECONDS)
        return False

    def keep(self, stopped: threading.Event, lost: Callable[[], None]) -> None:
        """Renew the seat until `stopped`; call `lost` and return if another process holds it.

        While nobody can tell who holds it, this process goes on: if the API server is away, the
        logs, webhooks and sweeps are still to be looked after.
        """
        while not stopped.wait(RETRY_SECONDS):
            if not self._try_hold(otherwise=True):
                log.error("Another reconciler has become the leader: this one was out of touch.")
                lost()
                return
        self._seat.release()

    def _try_hold(self, *, otherwise: bool) -> bool:
        """Return whether the seat is held, or `otherwise` if that cannot be known."""
        try:
            is_held = self._seat.try_hold()
        except (LauncherUnavailable, OSError) as error:
            if str(error) != self._trouble:
                log.warning("It is not known which reconciler leads: %s", error)
            self._trouble = str(error)
            return otherwise
        self._trouble = None
        return is_held
