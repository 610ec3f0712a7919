"""Runs the workers of a gang as processes of this machine, and ends all of them with the first.

This is a separate program, which `runner.py` starts as the trainer of the attempt:

    gang_runner.py NODES LOG... COMMAND...

There is a LOG for each worker but that with rank 0, which prints to the output of this program. The
workers are in the session of this program, in its control group, and keep its lock: what the runner
does to the trainer, it does to all of them.

Exit code: 0 if every worker has succeeded, otherwise that of the worker to blame. The last line of
the output then says which one that was, unless it is rank 0, which has printed why itself.
"""

import ctypes
import os
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from backend.launchers.local import runner
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import runner

ADDRESS = "127.0.0.1"
EXIT_PEER_LOST = 69  # as launchers/exit_codes.py: another worker is to blame
PEER_SECONDS = 2  # in which the worker to blame ends after one that has lost it
TAIL_BYTES = 4096  # of a log, in which its last line is looked for
MAX_QUOTE = 300  # characters


class Gang:
    """The workers: their process ids and how they have ended.

    Attributes:
        running: the rank of each worker that has not ended, by its process id.
        blamed: rank and exit code of the worker to blame, once there is one.
    """

    def __init__(self) -> None:
        """Begin without any worker."""
        self.running: dict[int, int] = {}
        self.blamed: tuple[int, int] | None = None
        self._signalled = 0  # the last signal that was sent to all

    def start(self, rank: int, command: tuple[str, ...], log: int | None) -> None:
        """Start a worker, which prints to the open file `log`; SIGTERM is blocked."""
        process = os.fork()
        if not process:
            _become(rank, command, log)
        self.running[process] = rank

    def wait(self) -> None:
        """Wait until every worker has ended; end the others once one has failed."""
        signal.signal(signal.SIGTERM, self._pass_on)
        signal.signal(signal.SIGALRM, self._press)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        while self.running:
            process, status = os.wait()
            rank = self.running.pop(process, None)
            if rank is not None:
                self._note(rank, os.waitstatus_to_exitcode(status))

    def _note(self, rank: int, code: int) -> None:
        """Take down the end of a worker; a negative code is the signal that ended it."""
        code = 128 - code if code < 0 else code
        if not code:
            return
        is_first = self.blamed is None
        if is_first or (self.blamed and self.blamed[1] == EXIT_PEER_LOST and not self._signalled):
            self.blamed = rank, code
        if not self._signalled and code == EXIT_PEER_LOST:
            signal.alarm(PEER_SECONDS)
        elif not self._signalled:  # otherwise they have been asked to stop, and may take their time
            self._press()

    def _press(self, *_: object) -> None:
        """Ask the others to stop; kill them if they have been asked before."""
        self._send(signal.SIGKILL if self._signalled else signal.SIGTERM)
        signal.alarm(runner.KILL_SECONDS)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        """Ask the workers to stop because this program is asked to: it is cancelled.

        The runner does so, too, and kills those that do not stop; but not if it was killed itself.
        """
        self._send(number)

    def _send(self, number: int) -> None:
        self._signalled = number
        for process in list(self.running):
            with suppress(ProcessLookupError):
                os.kill(process, number)


def _become(rank: int, command: tuple[str, ...], log: int | None) -> NoReturn:
    """Replace this process by a worker."""
    try:
        for number in (signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):  # as the runner does
            signal.signal(number, signal.SIG_DFL)
        if sys.platform == "linux":  # as the runner: the kernel sends it if this program is killed
            ctypes.CDLL(None).prctl(runner.PR_SET_PDEATHSIG, signal.SIGTERM)
        if log is not None:
            os.dup2(log, 1)
            os.dup2(log, 2)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        os.execve(command[0], command, os.environ | {"NODE_RANK": str(rank)})  # noqa: S606  (as the runner)
    except (OSError, ValueError) as error:
        os.write(2, f"error: the trainer cannot be started: {error}\n".encode())
    finally:
        os._exit(runner.EXIT_CANNOT_START)


def _free_port() -> int:
    """Return a port that nothing uses now."""
    with socket.socket() as listener:
        listener.bind((ADDRESS, 0))
        port: int = listener.getsockname()[1]
        return port


def _last_line(log: str) -> str:
    """Return the end of the last line of a log that is not blank."""
    try:
        file = os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # the trainer has replaced it
        return ""
    try:
        begin = max(0, os.fstat(file).st_size - TAIL_BYTES)
        lines = os.pread(file, TAIL_BYTES, begin).decode(errors="replace").splitlines()
    except OSError:
        return ""
    finally:
        os.close(file)
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return last[-MAX_QUOTE:]


def main(nodes: str, *rest: str) -> int:
    """Run the workers, and return the exit code."""
    count = int(nodes)
    logs, command = rest[: count - 1], rest[count - 1 :]
    os.environ |= {"MASTER_ADDR": ADDRESS, "MASTER_PORT": str(_free_port()), "NNODES": nodes}
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    gang = Gang()
    for rank in range(count):
        log = runner.open_log(logs[rank - 1]) if rank else None
        gang.start(rank, command, log)
        if log is not None:
            os.close(log)
    gang.wait()
    if gang.blamed is None:
        return 0
    rank, code = gang.blamed
    if rank:
        why = _last_line(logs[rank - 1]) or f"it printed nothing to {logs[rank - 1]}"
        print(f"error: worker {rank} exited with code {code}: {why}", flush=True)
    return code


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:]))
