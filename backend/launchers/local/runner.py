"""Starts one trainer when a slot is free, ends it when asked, and writes down how it ended.

A program of its own:

    runner.py STATE LOCK_FD SLOTS FOLDER LOG COMMAND...

Its environment is the trainer's. Its parent has locked LOCK_FD for it; the lock falls when it ends,
however it ends.

A person waits for the trainer's first line. So only what comes in an instant is imported before the
trainer's start (no pathlib, subprocess, typing, json), and what its end needs while it starts.
"""

import ctypes
import fcntl
import os
import signal
import sys
import time
from contextlib import suppress

CHANGED = "changed"  # in the common folder; grows by a byte whenever a run changes
TRAINING = "training"  # in the run's state; locked by the trainer for as long as it lives
KILL_SECONDS = 10  # from SIGTERM to SIGKILL
SLOT_POLL_SECONDS = 0.2
SPACE_POLL_SECONDS = 1.0
PR_SET_PDEATHSIG = 1  # prctl(2)
EXIT_CANNOT_START = 127  # as a shell says it


class Cancelled(Exception):
    """The run was asked to end."""


def write(path: str, text: str) -> None:
    """Write a file that a reader sees whole or not at all."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def run(state: str, lock: int, slots: int, folder: str, log: str, command: list[str]) -> None:
    """Run the trainer's command, from waiting for a slot to `exit.json`.

    Args:
        state: the run's folder under `.local`.
        lock: the descriptor of the locked file; closing it unlocks it.
        slots: how many trainers there may be at once.
        folder: where the trainer is started.
        log: the file that its output is appended to.
        command: the trainer's.
    """
    signal.signal(signal.SIGTERM, _cancel)
    common = os.path.dirname(state)
    ended = _Outcome()
    try:
        _write_down(os.path.join(state, "runner.json"), f'{{"pid": {os.getpid()}}}')
        _check_cancel(state)
        slot = _wait_for_slot(common, slots)
        try:
            _check_cancel(state)
            _train(state, folder, log, command, ended)
        finally:
            os.close(slot)
    except Cancelled:
        ended.cancelled = True
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # too late
    _write_down(os.path.join(state, "exit.json"), ended.as_json())
    os.close(lock)  # before we tell: who then looks sees that it has ended
    with suppress(OSError):  # it is seen a little later
        _tell(common)


class _Outcome:
    """What became of the trainer."""

    code: int | None = None
    cancelled = False
    started_at: float | None = None  # seconds since 1970

    def as_json(self) -> str:
        """Write it as the launcher reads it; it ends now."""
        import json  # not before the trainer's start

        started_at = None if self.started_at is None else _iso(self.started_at)
        ended = {"code": self.code, "cancelled": self.cancelled, "started_at": started_at}
        return json.dumps(ended | {"finished_at": _iso(time.time())})


def _write_down(path: str, text: str) -> None:
    """Write a file without which nobody knows how the run is; wait for space if there is none."""
    while True:
        try:
            return write(path, text)
        except FileNotFoundError:  # somebody has removed it all: nobody wants to know
            raise
        except OSError:  # a full disk has no room for a word about it either
            time.sleep(SPACE_POLL_SECONDS)


def _train(state: str, folder: str, log: str, command: list[str], ended: _Outcome) -> None:
    """Run the trainer, and note in `ended` what became of it."""
    output = _open(log)
    training = _open(os.path.join(state, TRAINING))
    fcntl.flock(training, fcntl.LOCK_EX)
    # Between the start of the trainer and the `try` no signal may come.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    ended.started_at = time.time()
    trainer = os.fork()
    if not trainer:
        _become_trainer(command, folder, output, training)
    os.close(output)
    os.close(training)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        with suppress(OSError):  # the trainer goes on, and its end says it too
            at = _iso(ended.started_at)
            write(os.path.join(state, "started.json"), f'{{"at": "{at}", "pid": {trainer}}}')
            _tell(os.path.dirname(state))
        code = _wait(trainer)
    except Cancelled:
        code = _end(trainer)
        # A trainer that was done before the signal reached it has succeeded.
        ended.cancelled = code != 0
    ended.code = 128 - code if code < 0 else code  # as a shell counts signals


def _become_trainer(command: list[str], folder: str, output: int, training: int) -> None:
    """Go on as the trainer, in a session of its own; `training` stays locked for as long."""
    try:
        for number in (signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores the two
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        if sys.platform == "linux":  # SIGTERM from the kernel if this runner is killed
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.set_inheritable(training, True)
        os.chdir(folder)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        os.execve(command[0], command, os.environ)  # noqa: S606  (the command that the server rendered)
    except OSError as error:
        os.write(output, f"error: the trainer cannot be started: {error}\n".encode())
    finally:
        os._exit(EXIT_CANNOT_START)


def _cancel(_signal: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough, and the end is written down
    raise Cancelled


def _check_cancel(state: str) -> None:
    if os.path.exists(os.path.join(state, "cancel")):
        raise Cancelled


def _wait_for_slot(folder: str, slots: int) -> int:
    """Lock one of the slots; those who wait stand in line at `next`, about first come first."""
    line = _open(os.path.join(folder, "next"))
    try:
        fcntl.flock(line, fcntl.LOCK_EX)
        while True:
            for number in range(slots):
                slot = _open(os.path.join(folder, f"slot-{number}"))
                try:
                    fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(slot)
                else:
                    return slot
            time.sleep(SLOT_POLL_SECONDS)
    finally:
        os.close(line)


def _open(path: str) -> int:
    """Open a file to append to or to lock."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)


def _wait(trainer: int) -> int:
    """Wait for the trainer's end, and end what it may have left behind.

    Returns:
        Its exit code, or the negative number of the signal that ended it.
    """
    # Not reaped yet, its process id still names its group and nobody else's.
    os.waitid(os.P_PID, trainer, os.WEXITED | os.WNOWAIT)
    with suppress(ProcessLookupError):
        os.killpg(trainer, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(trainer, 0)[1])


def _end(trainer: int) -> int:
    _signal_group(trainer, signal.SIGTERM)
    signal.signal(signal.SIGALRM, lambda *_: _signal_group(trainer, signal.SIGKILL))
    signal.alarm(KILL_SECONDS)
    return _wait(trainer)


def _signal_group(trainer: int, number: int) -> None:
    """Send a signal to all of the trainer's group, or to the trainer if it has made none yet."""
    try:
        os.killpg(trainer, number)
    except ProcessLookupError:
        with suppress(ProcessLookupError):
            os.kill(trainer, number)


def _tell(folder: str) -> None:
    with open(os.path.join(folder, CHANGED), "ab") as changed:
        changed.write(b".")


def _iso(seconds: float) -> str:
    from datetime import UTC, datetime  # not before the trainer's start

    return datetime.fromtimestamp(seconds, UTC).isoformat()


if __name__ == "__main__":
    lock_descriptor = int(sys.argv[2])
    os.set_inheritable(lock_descriptor, False)  # the trainer must not hold the lock
    if os.fork():
        os._exit(0)  # init, not the server, is the parent of what goes on
    run(sys.argv[1], lock_descriptor, int(sys.argv[3]), sys.argv[4], sys.argv[5], sys.argv[6:])
