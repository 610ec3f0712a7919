"""Reads the state files of local attempts; see `launcher.py` for what they are.

Whatever a file holds, an error in it concerns one attempt only.
"""

import json
import os
import re
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from backend.domain.attempt import Attempt, Diagnosis
from backend.domain.execution.usage import Usage, read_usage
from backend.domain.numbers import MAX_SECONDS, is_number
from backend.domain.timestamps import from_text
from backend.files.locks import is_locked
from backend.files.terminal.screen import shown
from backend.files.untrusted import open_file
from backend.launchers.base import Job, Observation, Phase
from backend.launchers.exit_codes import EXITS_FOR_GOOD, diagnose_exit_code, quote_end
from backend.launchers.local import runner

MAX_STATE_BYTES = 2**20  # of one state file: far more than any takes
PROCESSES = Path("/proc")
RUNNER = b"/launchers/local/runner.py\0"  # in the arguments of a runner, before the state folder
TAIL_BYTES = 16 * 1024  # of a log, in which its last line is looked for

# The end of the output of Python, NumPy, PyTorch and C++ programs that got no more memory.
OUT_OF_MEMORY = re.compile(r"\bMemoryError\b|([Cc]an('t|not)|Unable to) allocate|std::bad_alloc")

Stamp = tuple[int, int, int]  # inode, time of modification in ns, size


class Life(Enum):
    """What the processes of an attempt do, as its locks show."""

    WAITING = "waiting"  # its trainer was never started, and nobody is starting it
    LIVING = "living"  # its runner lives, or the trainer of a runner that was killed
    GONE = "gone"  # its trainer has ended
    UNKNOWN = "unknown"  # its locks cannot be tested


def observe(state: Path, life: Life) -> Observation | None:
    """Return the observation of an attempt, or None if it was not submitted completely.

    Raises:
        ValueError: job.json is damaged, so that nobody knows whose attempt it is.
        OSError: the state cannot be read now.
    """
    path = state / "job.json"
    if not path.exists():
        return None
    job = read(path)
    if job is None or not isinstance(job.get("uid"), str) or not job["uid"]:
        raise ValueError("its job.json is damaged")
    if life is Life.UNKNOWN:
        return Observation(job["uid"], Phase.UNKNOWN)
    seen = _observe_job(state, job, life)
    # Jobs of older versions have no image; that of a waiting one has not been executed.
    image = str(job["image"]) if job.get("image") and seen.phase is not Phase.QUEUED else None
    return replace(seen, attempt=Attempt.from_fields(job.get("run")), image=image)


def _observe_job(state: Path, job: Job, life: Life) -> Observation:
    uid = job["uid"]
    if life is not Life.LIVING and (state / "exit.json").exists():
        try:
            return _observe_ended(uid, job, read(state / "exit.json") or {})
        except (KeyError, TypeError, ValueError):
            unknown = Diagnosis(
                "process_lost",
                "The experiment's process has ended, but the record of its end is damaged.",
                "Retry: training continues from the checkpoint.",
            )
            return Observation(uid, Phase.LOST, None, datetime.now(UTC), unknown)
    if life is Life.WAITING:
        return Observation(uid, Phase.QUEUED)
    is_started = (state / "started.json").exists()
    started_at = _started_at(read(state / "started.json"))
    if life is Life.GONE:
        lost = Diagnosis(
            "process_lost",
            "The experiment's process is gone: the machine was restarted, or the process killed.",
            "Retry: training continues from the checkpoint.",
        )
        return Observation(uid, Phase.LOST, started_at, datetime.now(UTC), lost)
    return Observation(uid, Phase.RUNNING if is_started else Phase.QUEUED, started_at)


def _observe_ended(uid: str, job: Job, ended: dict[str, Any]) -> Observation:
    started_at = from_text(ended["started_at"]) if ended["started_at"] else None
    finished_at = from_text(ended["finished_at"])
    if not isinstance(ended["code"], int) and not ended["cancelled"]:
        raise ValueError("it has no exit code")
    seen = Observation(
        uid,
        Phase.CANCELLED if ended["cancelled"] else Phase.FAILED,
        started_at,
        finished_at,
        used=_used(ended, started_at, finished_at),
        memory_limit=read_usage({"memory": ended.get("limit_bytes")}).memory,
    )
    if ended["cancelled"]:
        return seen
    if ended["code"] == 0:
        return replace(seen, phase=Phase.SUCCEEDED)
    log = Path(job["log"])
    last = _last_line(log)
    why = _out_of_memory(ended, last, log) or diagnose_exit_code(ended["code"], last, str(log))
    return replace(seen, diagnosis=why)


def _used(ended: dict[str, Any], started_at: datetime | None, finished_at: datetime) -> Usage:
    """Return the mean use of processors, and the memory of the largest process.

    Both are at most the peaks, and all that is known of an attempt that was too short for a sample.
    A runner of an older version has left neither.
    """
    seconds = (finished_at - started_at).total_seconds() if started_at else 0.0
    cpu, cpu_seconds = None, ended.get("cpu_seconds")
    if is_number(cpu_seconds, 0, MAX_SECONDS) and seconds > 0:
        cpu = round(cpu_seconds / seconds, 3)
    return read_usage({"cpu": cpu, "memory": ended.get("peak_bytes")})


def _out_of_memory(ended: dict[str, Any], last_line: str, log: Path) -> Diagnosis | None:
    """Return the diagnosis of a trainer that got no more memory, or None if it did."""
    if ended.get("out_of_memory") is True:
        message = "The trainer needed more memory than LOCAL_MEMORY allows and was killed."
    elif ended["code"] not in EXITS_FOR_GOOD and OUT_OF_MEMORY.search(last_line):
        message = f"The trainer got no more memory: {quote_end(last_line)}"
    else:
        return None
    remedy = f"Train on less data, or raise LOCAL_MEMORY. Its log: {log}."
    return Diagnosis("out_of_memory", f"{message.rstrip('.')}.", remedy)


def _started_at(started: dict[str, Any] | None) -> datetime | None:
    """Return the start time in started.json, or None if that is missing or damaged."""
    try:
        return from_text(started["at"]) if started else None
    except (KeyError, TypeError, ValueError):
        return None


def _last_line(log: Path) -> str:
    """Return the last line of a log that is not blank; "" if the trainer replaced the file."""
    file = open_file(log.parent.parent, (log.parent.name, log.name))
    if file is None:
        return ""
    try:
        with file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).split(b"\n")
    except OSError:
        return ""
    seen = (shown(line).decode(errors="replace") for line in reversed(lines))
    return next((line for line in seen if line.strip()), "")


def life_of(state: Path) -> Life:
    """Return what the processes of an attempt do.

    Only while the gate is locked does a waiting attempt keep waiting.

    Raises:
        OSError: its locks cannot be tested.
    """
    if is_locked(state / "lock"):
        return Life.LIVING
    if (state / "exit.json").exists():
        return Life.GONE
    if is_locked(state / runner.TRAINING):
        return Life.LIVING
    return Life.GONE if runner.has_begun(str(state)) else Life.WAITING


def life_if_readable(state: Path) -> Life:
    """Return what the processes of an attempt do, or UNKNOWN if its locks cannot be tested."""
    try:
        return life_of(state)
    except OSError:
        return Life.UNKNOWN


def living_runners(folder: Path) -> dict[str, int]:
    """Return the process ids of runners by handle, of all attempts in the state folder (Linux).

    They are found by their arguments: the folder may have been removed.
    """
    found = {}
    for process in PROCESSES.glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            _, program, argument = (process / "cmdline").read_bytes().partition(RUNNER)
            state = Path(os.fsdecode(argument.partition(b"\0")[0]))
            if program and state.parent == folder:
                found[state.name] = int(process.name)
    return found


def stamp_of(path: Path) -> Stamp | None:
    """Return what tells two versions of a file apart, for which its time alone is too coarse."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def pid_in(path: Path) -> int | None:
    """Return the process id in a state file, or None if that is missing or damaged."""
    pid = (read(path) or {}).get("pid")
    return pid if type(pid) is int and 1 < pid < 2**31 else None  # kill(-1) ends all processes


def read(path: Path) -> dict[str, Any] | None:
    """Return the content of a state file, or None if it is missing or damaged.

    Raises:
        OSError: it cannot be read now.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # it may be a FIFO
        with os.fdopen(descriptor, "rb") as file:
            content = json.loads(file.read(MAX_STATE_BYTES))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
