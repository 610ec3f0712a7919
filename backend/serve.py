"""Web and reconcile together on one machine, each a process that is restarted if it is killed."""

import logging
import multiprocessing.connection
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from types import FrameType

from backend import roles
from backend.children import fork
from backend.launchers import make_launcher
from backend.launchers.base import Phase
from backend.settings import Settings

RESTART_SECONDS = 60.0  # to release an address; longer than the longest shutdown (gunicorn_config)
POLL_SECONDS = 0.5

Role = Callable[[Settings], int | None]

ROLES: dict[str, Role] = {"web": roles.web, "reconcile": roles.reconcile}
ADDRESSES = {"web": "BIND", "reconcile": "HEALTH_BIND"}

log = logging.getLogger(__name__)


def serve(
    settings: Settings, run: Callable[[Callable[[], int | None]], int], *, command: str
) -> int:
    """Serve until Ctrl-C or SIGTERM; attempts that are running continue.

    Args:
        settings: the environment.
        run: calls a role, prints what prevents its start, and returns its exit code.
        command: what to type to start again.

    Returns:
        The exit code of a role that ended by itself, or 0 after a signal.
    """
    roles.preload(settings)
    roles.check_addresses(settings, *ADDRESSES.values())
    supervisor = _Supervisor(settings, run)
    code = supervisor.supervise()
    _report_running(settings, command)
    return code


class _Supervisor:
    def __init__(self, settings: Settings, run: Callable[[Callable[[], int | None]], int]) -> None:
        self._settings, self._run = settings, run
        self._stopping = False
        self._processes: dict[str, BaseProcess] = {}
        self._killed: dict[str, float] = {}  # roles to restart, and until when they may wait

    def supervise(self) -> int:
        self._processes = {name: self._start(name) for name in ROLES}
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        code = 0
        while not self._stopping:
            sentinels = [process.sentinel for process in self._processes.values()]
            multiprocessing.connection.wait(sentinels, timeout=POLL_SECONDS)
            code = self._reap()
            self._restart()
        for process in self._processes.values():
            if process.is_alive():
                process.terminate()
        for process in self._processes.values():
            process.join()
        return code

    def _reap(self) -> int:
        """Note which roles were killed; stop, and return its exit code, if one ended by itself."""
        for name, process in list(self._processes.items()):
            if self._stopping or process.exitcode is None:
                continue
            if process.exitcode >= 0:  # it has printed the reason
                self._stopping = True
                return process.exitcode
            log.warning("%s was killed by signal %s: restarting it", name, -process.exitcode)
            del self._processes[name]
            self._killed[name] = time.monotonic() + RESTART_SECONDS
        return 0

    def _restart(self) -> None:
        """Start each killed role whose address is free, or has been in use for too long."""
        for name, deadline in list(self._killed.items()):
            if self._stopping:
                return
            if self._is_free(name) or time.monotonic() > deadline:
                del self._killed[name]
                self._processes[name] = self._start(name)

    def _start(self, name: str) -> BaseProcess:
        return fork(name, lambda: self._run(lambda: ROLES[name](self._settings)))

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _is_free(self, name: str) -> bool:
        try:
            roles.check_addresses(self._settings, ADDRESSES[name])
        except roles.CannotStart:
            return False
        return True


def _report_running(settings: Settings, command: str) -> None:
    if settings.launcher != "local":
        return
    phases = [seen.phase for seen in make_launcher(settings).observe().values()]
    if number := phases.count(Phase.RUNNING):
        print(
            f"Stopped serving. Training of {number} experiment(s) continues; to follow it, start "
            f"again: {command}"
        )
    if number := phases.count(Phase.QUEUED):
        print(f"{number} experiment(s) wait for a slot until you start again: {command}")
