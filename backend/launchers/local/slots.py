"""Starts waiting attempts as slots become free: by priority, then first come first served.

Trials of sweeps wait until nothing else does: a sweep must not hold up what people submit.

In the state folder `.local`:

    queue/<16 digits>-<handle>    an empty file for each attempt that may have to wait, in order
    slot-<number>                 locked by the runner that has this slot
    next                          locked while a runner of version 0.2.0 waits for a slot

A gang takes a slot for each of its workers. Nothing behind it starts before it has all of them,
or it might wait for ever. With more workers than there are slots it takes every slot, and trains
alone.

An entry of the queue is removed once its attempt has begun or ended, not when its runner starts: if
that runner is killed before the trainer begins, the attempt keeps its place and is started again.
Every function must be called with the gate of the state folder locked (LOCK_EX).
"""

import fcntl
import json
import os
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from backend.domain.attempt import Attempt
from backend.domain.execution.priority import Priority
from backend.files.locks import is_locked
from backend.launchers.base import Job
from backend.launchers.local import runner, warm_start
from backend.launchers.local.memory import create_group
from backend.launchers.local.state_files import Life, life_of, read

QUEUE = "queue"
# Open files that a trainer may have: as many as this process when it was started. The web role
# raises its own limit later (`roles.raise_file_limit`).
FILES, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
# The numbers of the queue begin here, for each priority and for trials of sweeps. Older versions
# counted from 0, and from the same number for trials.
BAND = 10**15
FIRST_OF = {Priority.HIGH: 0, Priority.NORMAL: BAND, Priority.LOW: 2 * BAND}
FIRST_TRIAL = 5 * BAND


def is_queue_empty(folder: Path) -> bool:
    """Return whether nothing waits; this needs no lock."""
    return not _entries(folder)


def waiting(folder: Path) -> list[str]:
    """Return the handles of the attempts that wait, the next one first; this needs no lock."""
    return [handle for handle in map(_handle, _entries(folder)) if _is_waiting(folder / handle)]


def enqueue(folder: Path, handle: str, first: int) -> None:
    """Add an attempt to the queue, unless it is in it.

    Args:
        folder: the state folder of all attempts.
        handle: that of the attempt.
        first: where the numbers of its priority begin (`first_number`); it is the last of them.
    """
    entries = _entries(folder)
    if any(_handle(entry) == handle for entry in entries):
        return
    (folder / QUEUE).mkdir(exist_ok=True)
    numbers = [int(entry.partition("-")[0]) for entry in entries]
    number = max([number for number in numbers if number < first + BAND], default=first)
    number = max(number, first) + 1
    (folder / QUEUE / f"{number:016d}-{handle}").touch()


def restore_queue(folder: Path) -> None:
    """Add every waiting attempt that is not in the queue, in the order of their submission.

    Older versions had no queue: the runner of each attempt waited for its slot.
    """
    with os.scandir(folder) as entries:
        states = [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
    waiting = []
    for state in states:
        with suppress(OSError):  # unreadable, or no attempt
            submitted_at = (state / "job.json").stat().st_mtime_ns
            if life_of(state) is Life.WAITING:
                waiting.append((submitted_at, state.name))
    for _, handle in sorted(waiting):
        enqueue(folder, handle, first_number(read(folder / handle / "job.json")))


def first_number(job: Any) -> int:
    """Return where the numbers of the queue begin for a Job."""
    attempt = Attempt.from_fields((job or {}).get("run"))
    if attempt and attempt.sweep_id:
        return FIRST_TRIAL
    return FIRST_OF[Priority((attempt and attempt.priority) or Priority.NORMAL)]


def start_waiting(folder: Path, slots: int, memory: int) -> list[tuple[str, Exception]]:
    """Start waiting attempts until all slots are in use, and remove settled entries.

    Args:
        folder: the state folder of all attempts.
        slots: how many workers may train at the same time.
        memory: how many bytes each may use; 0 for no limit.

    Returns:
        The handles of the attempts that could not be started, each with its error; they keep their
        places and do not hold up the others.
    """
    failures: list[tuple[str, Exception]] = []
    if is_locked(folder / "next"):  # it came before all that are in the queue
        return failures
    free: list[int] = []  # locked by this process
    try:
        for entry in _entries(folder):
            handle = _handle(entry)
            state = folder / handle
            try:
                life = life_of(state)
                job = read(state / "job.json") if life is Life.WAITING else None
                if life is Life.WAITING and job:
                    wanted = min(_workers(job), slots)
                    free += _lock_free_slots(folder, slots, wanted - len(free))
                    if len(free) < wanted:
                        break
                    _start_runner(state, job, free[:wanted], memory)
                    while wanted:
                        os.close(free.pop(0))
                        wanted -= 1
                elif life is not Life.LIVING or runner.has_begun(str(state)):
                    (folder / QUEUE / entry).unlink(missing_ok=True)
            except (OSError, subprocess.SubprocessError, LookupError, TypeError) as error:
                failures.append((handle, error))
    finally:
        for slot in free:
            os.close(slot)
    return failures


def _entries(folder: Path) -> list[str]:
    try:
        names = os.listdir(folder / QUEUE)  # noqa: PTH208  (only the names are needed)
    except FileNotFoundError:
        return []
    return sorted(name for name in names if name.partition("-")[0].isdecimal())


def _is_waiting(state: Path) -> bool:
    """Return whether an attempt in the queue has neither begun nor ended, as far as files tell."""
    return not ((state / "exit.json").exists() or runner.has_begun(str(state)))


def _handle(entry: str) -> str:
    return entry.partition("-")[2]


def _workers(job: Job) -> int:
    attempt = Attempt.from_fields(job.get("run"))
    return (attempt and attempt.nodes) or 1


def _lock_free_slots(folder: Path, slots: int, number: int) -> list[int]:
    """Return the descriptors of the locked files of so many slots; none if fewer are free.

    Slots beyond `slots` may be in use, too, if there were more when their attempts started.
    """
    if number <= 0:
        return []
    in_use = [path for path in folder.glob("slot-*") if is_locked(path)]
    if len(in_use) + number > slots:
        return []
    free = [path for n in range(slots) if (path := folder / f"slot-{n}") not in in_use]
    locked = []
    for path in free[:number]:
        locked.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
        fcntl.flock(locked[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    return locked


def _start_runner(state: Path, job: Job, slots: list[int], memory: int) -> None:
    """Start the runner of a waiting attempt.

    It inherits the locks of its attempt and of its slots, so that they are never free in between.
    Its control group may use the memory of all its slots; without one, each process that of one.
    """
    for name in ("runner.json", "started.json"):  # left by a runner that was killed
        (state / name).unlink(missing_ok=True)
    with (state / "lock").open("a") as lock, (state / "runner.log").open("a") as log:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        warm = str(job.get("warm") or "")  # older versions have stored none
        program = warm_start.__file__ if warm else runner.__file__
        command = [sys.executable, "-I", "-S", program]
        command += [str(state), str(lock.fileno()), ",".join(map(str, slots)), warm]
        group = create_group(state, memory * len(slots)) if memory else ""
        memory *= len(slots) if group else 1
        # The process waited for here forks and exits: the runner is not a child of the server.
        subprocess.run(  # noqa: S603  (our own program and arguments)
            [*command, str(FILES), str(memory), group, job["folder"], job["log"], *job["command"]],
            env=job["environment"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[lock.fileno(), *slots],
            start_new_session=True,
            check=True,
        )


def write_job(state: Path, job: Job) -> None:
    """Write job.json, from which the attempt is started when its turn comes."""
    runner.write(str(state / "job.json"), json.dumps(job))
