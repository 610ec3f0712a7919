"""Starts one trainer when a slot is free, ends it when asked, and writes down how it ended.

A program of its own (`local_runner.py STATE LOCK_FD`), of the standard library alone so that it
starts in an instant. Its parent has locked LOCK_FD for it; the lock falls when it ends, however it
ends.
"""

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

CHANGED = "changed"  # in the common folder; grows by a byte whenever a run changes
TRAINING = "training"  # in the run's state; locked by the trainer for as long as it lives
KILL_SECONDS = 10  # from SIGTERM to SIGKILL
SLOT_POLL_SECONDS = 0.2
SPACE_POLL_SECONDS = 1.0
PR_SET_PDEATHSIG = 1  # prctl(2)
EXIT_CANNOT_START = 127  # as a shell says it


class Cancelled(Exception):
    """The run was asked to end."""


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file that a reader sees whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def run(state: Path, lock: int) -> None:
    """Run the job that lies in `state`, from waiting for a slot to `exit.json`.

    `lock` is the descriptor of the locked file; closing it unlocks it.
    """
    signal.signal(signal.SIGTERM, _cancel)
    ended: dict[str, Any] = {"code": None, "cancelled": False, "started_at": None}
    try:
        _write_down(state / "runner.json", {"pid": os.getpid()})
        job = json.loads((state / "job.json").read_text(encoding="utf-8"))
        _check_cancel(state)
        with _wait_for_slot(state.parent, job["slots"]):
            _check_cancel(state)
            _train(job, state, ended)
    except Cancelled:
        ended["cancelled"] = True
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # too late
    _write_down(state / "exit.json", ended | {"finished_at": _now()})
    os.close(lock)  # before we tell: who then looks sees that it has ended
    with suppress(OSError):  # it is seen a little later
        _tell(state.parent)


def _write_down(path: Path, content: dict[str, Any]) -> None:
    """Write a file without which nobody knows how the run is; wait for space if there is none."""
    while True:
        try:
            return write_json(path, content)
        except FileNotFoundError:  # somebody has removed it all: nobody wants to know
            raise
        except OSError:  # a full disk has no room for a word about it either
            time.sleep(SPACE_POLL_SECONDS)


def _train(job: dict[str, Any], state: Path, ended: dict[str, Any]) -> None:
    """Run the trainer, and note in `ended` what became of it."""
    with Path(job["log"]).open("ab") as log, (state / TRAINING).open("a") as training:
        fcntl.flock(training, fcntl.LOCK_EX)
        # Between the start of the trainer and `trainer =` no signal may come.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        ended["started_at"] = _now()
        try:
            trainer = subprocess.Popen(  # noqa: S603  (the command that the server rendered)
                job["command"],
                cwd=job["folder"],
                env=job["environment"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[training.fileno()],
                preexec_fn=_prepare_trainer,
            )
        except OSError as error:
            log.write(f"error: the trainer cannot be started: {error}\n".encode())
            ended["code"] = EXIT_CANNOT_START
            return
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            with suppress(OSError):  # the trainer goes on, and its end says it too
                write_json(state / "started.json", {"at": ended["started_at"], "pid": trainer.pid})
                _tell(state.parent)
            code = _wait(trainer)
        except Cancelled:
            code = _end(trainer)
            # A trainer that was done before the signal reached it has succeeded.
            ended["cancelled"] = code != 0
        ended["code"] = 128 - code if code < 0 else code  # as a shell counts signals


def _cancel(_signal: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough, and the end is written down
    raise Cancelled


def _check_cancel(state: Path) -> None:
    if (state / "cancel").exists():
        raise Cancelled


def _wait_for_slot(folder: Path, slots: int) -> TextIOWrapper:
    """Lock one of the slots; those who wait stand in line at `next`, about first come first."""
    with (folder / "next").open("a") as line:
        fcntl.flock(line, fcntl.LOCK_EX)
        while True:
            for number in range(slots):
                slot = (folder / f"slot-{number}").open("a")
                try:
                    fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    slot.close()
                else:
                    return slot
            time.sleep(SLOT_POLL_SECONDS)


def _wait(trainer: subprocess.Popen[bytes]) -> int:
    """Wait for the trainer's end, and end what it may have left behind."""
    # Not reaped yet, its process id still names its group and nobody else's.
    os.waitid(os.P_PID, trainer.pid, os.WEXITED | os.WNOWAIT)
    with suppress(ProcessLookupError):
        os.killpg(trainer.pid, signal.SIGKILL)
    return trainer.wait()


def _end(trainer: subprocess.Popen[bytes]) -> int:
    with suppress(ProcessLookupError):
        os.killpg(trainer.pid, signal.SIGTERM)
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(trainer.pid, signal.SIGKILL))
    signal.alarm(KILL_SECONDS)
    return _wait(trainer)


def _prepare_trainer() -> None:
    """Let the kernel send SIGTERM to the trainer if this runner is killed (Linux)."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _tell(folder: Path) -> None:
    with (folder / CHANGED).open("ab") as changed:
        changed.write(b".")


def _now() -> str:
    return datetime.now(UTC).isoformat()


if __name__ == "__main__":
    lock_descriptor = int(sys.argv[2])
    os.set_inheritable(lock_descriptor, False)  # the trainer must not hold the lock
    if os.fork():
        os._exit(0)  # init, not the server, is the parent of what goes on
    run(Path(sys.argv[1]), lock_descriptor)
