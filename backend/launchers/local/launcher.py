"""The launcher that runs each attempt as a process of this machine.

An attempt waits in a queue of files until it has a slot, and a gang one for each worker
(`slots.py`). Then it gets a runner
(`runner.py`), a process in its own session, so that a restart of the server neither ends nor loses
it. The state of an attempt is in `OUTPUT_DIR/.local/<handle>/`, where any process can read it:

    job.json     the rendered Job
    lock         locked while the runner lives
    training     created before the trainer starts; locked while it lives, even without its runner
    runner.json  the process id of the runner
    cancel       exists once the attempt was asked to stop
    started.json the start time and the process id of the trainer
    exit.json    the outcome

An experiment id cannot begin with a dot, so no experiment has a folder named `.local`.
"""

import errno
import fcntl
import logging
import os
import shutil
import signal
import stat
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from backend.domain.attempt import Attempt, Diagnosis
from backend.domain.execution.usage import Usage
from backend.files.catalogue.entries import catalogue_files
from backend.files.locks import is_locked
from backend.files.log_files import log_stem
from backend.launchers.base import (
    Job,
    LauncherRefused,
    LauncherUnavailable,
    Observation,
    Phase,
    output_missing,
)
from backend.launchers.local import gang_runner, runner, slots
from backend.launchers.local.memory import default_limit, remove_group
from backend.launchers.local.processors import default_slots
from backend.launchers.local.programs import LocalPrograms, inherited
from backend.launchers.local.state_files import (
    Life,
    Stamp,
    life_if_readable,
    life_of,
    living_runners,
    observe,
    pid_in,
    read,
    stamp_of,
)
from backend.launchers.local.usage import LocalUsage
from backend.settings import Settings

POLL_SECONDS = 0.1
BUSY_POLL_SECONDS = 0.02  # while an attempt lives, whose slot another may wait for

log = logging.getLogger(__name__)


class LocalLauncher:
    """Runs each attempt as a process; as many train at the same time as there are slots."""

    log_source = None  # the runner writes the log into the output folder

    def __init__(self, settings: Settings, trainer: Path | None = None) -> None:
        self._settings = settings
        self._programs = LocalPrograms(catalogue_files(settings).folder_of, trainer)
        self._state = settings.output_dir / ".local"
        self._slots = settings.local_slots or default_slots()
        self._usage = LocalUsage(self._state)
        # Observations of ended attempts by handle, with the stamp of the exit.json they are from.
        self._ended: dict[str, tuple[Stamp, Observation]] = {}
        self._last_change: Stamp | None = None
        self._living: set[str] | None = None  # handles in the last observation of all attempts
        self._damaged: set[str] = set()  # handles of attempts whose state was logged as damaged
        self._device: int | None = None  # of the file system of OUTPUT_DIR
        self._failing: set[str] = set()  # handles of attempts whose failed start was logged
        self._is_queue_restored = False
        self._closed = threading.Event()

    def render(self, attempt: Attempt) -> Job:
        """Return the command, environment and paths of an attempt, without starting it."""
        folder = self._settings.output_dir / attempt.experiment_id
        program = self._programs.find(attempt)
        logs = [
            str(folder / "logs" / f"{log_stem(attempt.number, rank)}.log")
            for rank in range(attempt.nodes or 1)
        ]
        command, warm = list(program.command), program.warm
        if attempt.nodes:
            gang = [gang_runner.__file__, str(attempt.nodes), *logs[1:]]
            command, warm = [sys.executable, "-I", "-S", *gang, *command], ""
        return {
            "handle": attempt.handle,
            "uid": attempt.uid,
            "run": attempt.to_fields(),
            "command": command,
            "trainer": program.trainer,
            "image": program.image,
            "warm": warm,
            "environment": inherited()
            | attempt.environment(input_dir=str(self._settings.input_dir), output_dir=str(folder)),
            "folder": str(folder),
            "log": logs[0],
        }

    def submit(self, job: Job) -> str:
        """Put an attempt in the queue, unless it has begun, and start it if a slot is free."""
        handle = str(job["handle"])
        if not Path(job["trainer"]).is_file():
            raise LauncherRefused(
                Diagnosis(
                    "trainer_missing",
                    f"There is no trainer at {job['trainer']}.",
                    "Correct the command in the model's entry, or run the server from a complete "
                    "checkout.",
                )
            )
        with self._gate(fcntl.LOCK_EX):
            self._enqueue(self._state / handle, job)
            self._start_waiting()
        return handle

    def observe(self, handles: Collection[str] | None = None) -> Mapping[str, Observation]:
        """Return the observations of these attempts, or of all, from their state files."""
        with self._gate(fcntl.LOCK_SH):
            entries = os.scandir(self._state)
            known = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            is_whole = handles is None
            handles = known if handles is None else [name for name in known if name in handles]
            lives = {handle: life_if_readable(self._state / handle) for handle in handles}
        observations = self._observe_stateless(known, lives) if is_whole else {}
        ended = {}
        for handle in handles:
            state = self._state / handle
            life = lives[handle]
            stamp = None if life is Life.LIVING else stamp_of(state / "exit.json")
            cached_stamp, cached = self._ended.get(handle, (None, None))
            seen = cached if stamp and stamp == cached_stamp else self._observe_one(state, life)
            if seen is None:
                continue
            if stamp and seen.finished_at:
                ended[handle] = stamp, seen
            observations[handle] = seen
        self._ended = ended
        return observations

    def _observe_stateless(
        self, known: Collection[str], lives: Mapping[str, Life]
    ) -> dict[str, Observation]:
        """Return an observation of each attempt whose runner lives, but has no state.

        OUTPUT_DIR was moved or removed, and made again: nothing else is known of the attempt.
        """
        runners = {}
        if self._living is None or not self._living.issubset(known):
            runners = living_runners(self._state)
        stateless = runners.keys() - set(known)
        self._living = stateless | {name for name, life in lives.items() if life is Life.LIVING}
        return {handle: Observation("", Phase.UNKNOWN) for handle in stateless}

    def _observe_one(self, state: Path, life: Life) -> Observation | None:
        """Return the observation of one attempt; log it if its state is damaged or unreadable."""
        try:
            seen = observe(state, life)
        except (OSError, ValueError) as error:
            if state.name not in self._damaged:
                log.warning("The state of the Job %s cannot be used: %s", state.name, error)
            self._damaged.add(state.name)
            # If its process is gone, too, there is nothing to wait for.
            is_lost = life in (Life.GONE, Life.WAITING) and isinstance(error, ValueError)
            return None if is_lost else Observation("", Phase.UNKNOWN)
        self._damaged.discard(state.name)
        return seen

    def changes(self, timeout: float) -> frozenset[str] | None:
        """Wait until a runner has written to the file `changed` since the last call.

        Attempts that wait for a slot are started before and after that: the reconciler, which
        calls this, is what starts them if no slot was free when they were submitted.

        Returns:
            Always None: the file does not say which attempt has changed, and a runner that was
            killed writes nothing.
        """
        marker = self._state / runner.CHANGED
        deadline = time.monotonic() + timeout
        self._fill_slots()
        pause = BUSY_POLL_SECONDS if self._living else POLL_SECONDS
        while (stamp := stamp_of(marker)) == self._last_change and time.monotonic() < deadline:
            if self._closed.wait(pause):
                return None
        self._last_change = stamp
        self._fill_slots()
        return None

    def _fill_slots(self) -> None:
        with suppress(LauncherUnavailable, OSError):  # the next observation fails, too
            if self._is_queue_restored and slots.is_queue_empty(self._state):
                return
            with self._gate(fcntl.LOCK_EX):
                if not self._is_queue_restored:
                    slots.restore_queue(self._state)
                    self._is_queue_restored = True
                self._start_waiting()

    def _start_waiting(self) -> None:
        memory = self._settings.local_memory
        if memory is None:
            memory = default_limit(self._slots)
        failures = dict(slots.start_waiting(self._state, self._slots, memory))
        for handle in failures.keys() - self._failing:
            log.warning("The Job %s cannot be started now: %s", handle, failures[handle])
        self._failing = set(failures)

    def waiting(self, handle: str) -> list[str]:
        """Return the queue if the attempt is in it; empty, too, if it cannot be read now."""
        with suppress(OSError):
            waiting = slots.waiting(self._state)
            return waiting if handle in waiting else []
        return []

    def usage(self, handles: Collection[str]) -> Mapping[str, Usage]:
        """Return what these attempts use now, of those that have a process."""
        return self._usage.read(handles)

    def cancel(self, handle: str) -> None:
        """Send SIGTERM to the runner, which stops its trainer with SIGTERM, later SIGKILL.

        If the runner was killed, its trainer got SIGTERM then, and gets SIGKILL now. An attempt
        that waits for a slot ends at once.
        """
        state = self._state / handle
        if not state.is_dir():
            if pid := living_runners(self._state).get(handle):
                os.kill(pid, signal.SIGTERM)
            return
        with self._gate(fcntl.LOCK_EX):
            (state / "cancel").touch()  # for a runner that does not handle the signal yet
            if life_of(state) is Life.WAITING:
                outcome = runner.Outcome()
                outcome.cancelled = True
                runner.write(str(state / "exit.json"), outcome.as_json())
                runner.report_change(str(self._state))
                return
            runner_pid = pid_in(state / "runner.json")
            has_runner = is_locked(state / "lock")
            if runner_pid and has_runner:
                os.kill(runner_pid, signal.SIGTERM)
                return
            trainer_pid = pid_in(state / "started.json")
            if trainer_pid and life_of(state) is Life.LIVING:
                with suppress(ProcessLookupError):
                    os.killpg(trainer_pid, signal.SIGTERM if has_runner else signal.SIGKILL)

    def delete_job(self, attempt: Attempt) -> None:
        """Remove the state of an attempt that has ended; its output folder stays."""
        state = self._state / attempt.handle
        with self._gate(fcntl.LOCK_EX):
            if (read(state / "job.json") or {}).get("uid") != attempt.uid:
                return
            if life_of(state) is Life.GONE:
                remove_group(state)
                shutil.rmtree(state, ignore_errors=True)
                return
        self.cancel(attempt.handle)

    def close(self) -> None:
        """End a wait for changes. Attempts keep running."""
        self._closed.set()

    @contextmanager
    def _gate(self, operation: int) -> Iterator[None]:
        """Separate callers that test locks (LOCK_SH) from those that take them (LOCK_EX).

        Testing a lock takes it for a moment, in which a runner could not be started.

        Raises:
            LauncherUnavailable: the folder cannot be used: its disk is full or gone.
        """
        try:
            try:
                self._device = self._state.stat().st_dev
            except FileNotFoundError:
                self._make_state()
            with (self._state / "gate").open("a") as gate:
                fcntl.flock(gate, operation)
                yield
        except OSError as error:
            raise LauncherUnavailable(
                Diagnosis(
                    "cannot_start",
                    f"This machine cannot start the experiment: {error}",
                    "Check the free space and the permissions of OUTPUT_DIR. The experiment then "
                    "starts by itself.",
                )
            ) from error

    def _make_state(self) -> None:
        """Make the folder of all attempts; it is missing at first, or because it was removed.

        Raises:
            LauncherUnavailable: OUTPUT_DIR is missing.
            OSError: its disk is missing: a new, empty folder would mean that all attempts are gone.
        """
        try:
            device = self._settings.output_dir.stat().st_dev
        except FileNotFoundError as error:
            raise LauncherUnavailable(
                output_missing("The server then continues by itself.")
            ) from error
        if self._device not in (None, device):
            raise OSError(errno.ENODEV, "the disk of OUTPUT_DIR is missing")
        self._state.mkdir(exist_ok=True)

    def _enqueue(self, state: Path, job: Job) -> None:
        """Make an attempt wait for a slot, unless it waits, has begun or has ended."""
        state.mkdir(exist_ok=True)
        is_same = (read(state / "job.json") or {}).get("uid") == job["uid"]
        life = life_of(state)
        if life is Life.LIVING and not is_same:
            raise _name_taken(str(job["handle"]))
        if life is Life.LIVING or (is_same and (state / "exit.json").exists()):
            return
        if not is_same or life is Life.GONE:  # of a deleted experiment, or a runner was killed
            shutil.rmtree(state)
            state.mkdir()
        logs = Path(job["log"]).parent
        with suppress(FileNotFoundError):  # an earlier attempt may have replaced it
            if not stat.S_ISDIR(logs.lstat().st_mode):
                logs.unlink()
        logs.mkdir(parents=True, exist_ok=True)
        # First: a complete Job is in the queue.
        slots.enqueue(self._state, str(job["handle"]), slots.first_number(job))
        slots.write_job(state, job)


def _name_taken(handle: str) -> LauncherUnavailable:
    return LauncherUnavailable(
        Diagnosis(
            "job_name_taken",
            f"An older process {handle} is still running, of an experiment that was deleted.",
            "End that process. This experiment then starts by itself.",
        )
    )
