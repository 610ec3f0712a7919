"""The launcher that runs each attempt as a process of this machine.

Each attempt has a runner (`runner.py`), a process in its own session, so that a restart of the
server neither ends nor loses it. The state of an attempt is in `OUTPUT_DIR/.local/<handle>/`, where
any process can read it:

    job.json     the rendered Job
    lock         locked while the runner lives
    training     locked while the trainer lives, even if its runner was killed
    runner.json  the process id of the runner
    cancel       exists once the attempt was asked to stop
    started.json the start time and the process id of the trainer
    exit.json    the outcome

An experiment id cannot begin with a dot, so no experiment has a folder named `.local`.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backend.domain.attempt import Attempt, Diagnosis
from backend.files.terminal import shown
from backend.launchers.base import Job, LauncherRefused, LauncherUnavailable, Observation, Phase
from backend.launchers.exit_codes import diagnose_exit_code
from backend.launchers.local import runner
from backend.settings import Settings

_BACKEND = Path(__file__).parents[2]
# The wheel puts the models inside the package; in a checkout they are beside it.
_MODELS = (_BACKEND if (_BACKEND / "models").is_dir() else _BACKEND.parent) / "models"
TRAINER = _MODELS / "autoencoder" / "train.py"
POLL_SECONDS = 0.1
TAIL_BYTES = 16 * 1024  # of a log, in which its last line is looked for

# The variables of this process that a trainer gets. The others may be secrets.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_PASSED_ON_PREFIXES = ("OMP_", "MKL_", "CUDA_", "NVIDIA_")

Stamp = tuple[int, int, int]  # inode, time of modification in ns, size


class LocalLauncher:
    """Runs each attempt as a process; at most `settings.local_slots` train at the same time."""

    log_source = None  # the runner writes the log into the output folder

    def __init__(self, settings: Settings, trainer: Path = TRAINER) -> None:
        self._settings = settings
        self._trainer = trainer
        self._state = settings.output_dir / ".local"
        # Observations of ended attempts by handle, with the stamp of the exit.json they are from.
        self._ended: dict[str, tuple[Stamp, Observation]] = {}
        self._last_change: Stamp | None = None
        self._state_exists = False
        self._closed = threading.Event()

    def render(self, attempt: Attempt) -> Job:
        """Return the command, environment and paths of an attempt, without starting it."""
        folder = self._settings.output_dir / attempt.experiment_id
        return {
            "handle": attempt.handle,
            "uid": attempt.uid,
            "run": attempt.to_fields(),
            "command": [sys.executable, "-u", str(self._trainer)],
            "environment": _inherited()
            | attempt.environment(input_dir=str(self._settings.input_dir), output_dir=str(folder)),
            "folder": str(folder),
            "log": str(folder / "logs" / f"{attempt.number}.log"),
            "slots": self._settings.local_slots,
        }

    def submit(self, job: Job) -> str:
        """Start a runner, unless the attempt has one or has ended, and return the handle."""
        handle = str(job["handle"])
        if not self._trainer.is_file():
            raise LauncherRefused(
                Diagnosis(
                    "trainer_missing",
                    f"There is no trainer at {self._trainer}.",
                    "Run the server from a complete checkout.",
                )
            )
        with self._gate(fcntl.LOCK_EX):
            self._start(self._state / handle, job)
        return handle

    def observe(self, handles: Collection[str] | None = None) -> Mapping[str, Observation]:
        """Return the observations of these attempts, or of all, from their state files."""
        with self._gate(fcntl.LOCK_SH):
            known = [entry.name for entry in os.scandir(self._state) if entry.is_dir()]
            handles = known if handles is None else [name for name in known if name in handles]
            live = {handle for handle in handles if _is_alive(self._state / handle)}
        observations, ended = {}, {}
        for handle in handles:
            state = self._state / handle
            stamp = None if handle in live else _stamp(state / "exit.json")
            cached_stamp, cached = self._ended.get(handle, (None, None))
            if stamp and stamp == cached_stamp:
                seen = cached
            else:
                seen = _observe(state, alive=handle in live)
            if seen is None:
                continue
            if stamp and seen.finished_at:
                ended[handle] = stamp, seen
            observations[handle] = seen
        self._ended = ended
        return observations

    def changes(self, timeout: float) -> frozenset[str] | None:
        """Wait until a runner has written to the file `changed` since the last call.

        Returns:
            Always None: the file does not say which attempt has changed, and a runner that was
            killed writes nothing.
        """
        marker = self._state / runner.CHANGED
        deadline = time.monotonic() + timeout
        while (stamp := _stamp(marker)) == self._last_change and time.monotonic() < deadline:
            if self._closed.wait(POLL_SECONDS):
                break
        self._last_change = stamp
        return None

    def cancel(self, handle: str) -> None:
        """Send SIGTERM to the runner, which stops its trainer with SIGTERM, later SIGKILL.

        If the runner was killed, its trainer got SIGTERM then, and gets SIGKILL now.
        """
        state = self._state / handle
        if not state.is_dir():
            return
        with self._gate(fcntl.LOCK_SH):
            (state / "cancel").touch()  # for a runner that does not handle the signal yet
            runner_file = _read(state / "runner.json")
            if runner_file and _is_locked(state / "lock"):
                os.kill(runner_file["pid"], signal.SIGTERM)
                return
            started = _read(state / "started.json")
            if started and _is_alive(state):
                with suppress(ProcessLookupError):
                    os.killpg(started["pid"], signal.SIGKILL)

    def delete_job(self, attempt: Attempt) -> None:
        """Remove the state of an attempt that has ended; its output folder stays."""
        state = self._state / attempt.handle
        with self._gate(fcntl.LOCK_EX):
            if (_read(state / "job.json") or {}).get("uid") != attempt.uid:
                return
            if not _is_alive(state):
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
            # Only once: if the folder is missing later, so is its disk, and a new, empty folder
            # would mean that all attempts are gone.
            if not self._state_exists:
                self._state.mkdir(exist_ok=True)
                self._state_exists = True
            with (self._state / "gate").open("a") as gate:
                fcntl.flock(gate, operation)
                yield
        except (OSError, subprocess.CalledProcessError) as error:
            raise LauncherUnavailable(
                Diagnosis(
                    "cannot_start",
                    f"This machine cannot start the experiment: {error}",
                    "Check the free space and the permissions of OUTPUT_DIR. The experiment then "
                    "starts by itself.",
                )
            ) from error

    def _start(self, state: Path, job: Job) -> None:
        state.mkdir(exist_ok=True)
        if (state / "exit.json").exists():
            if (_read(state / "job.json") or {}).get("uid") == job["uid"]:
                return
            shutil.rmtree(state)  # of an experiment that was deleted
            state.mkdir()
        with (state / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # it has a runner
                if (_read(state / "job.json") or {}).get("uid") != job["uid"]:
                    raise _name_taken(str(job["handle"])) from None
                return
            if _is_locked(state / runner.TRAINING):  # it outlived its runner, which was killed
                return
            for name in ("runner.json", "started.json", "cancel"):  # left by a killed runner
                (state / name).unlink(missing_ok=True)
            Path(job["log"]).parent.mkdir(parents=True, exist_ok=True)
            runner.write(str(state / "job.json"), json.dumps(job))
            with (state / "runner.log").open("a") as log:
                # The runner inherits the lock, so that it is never free in between. The process
                # waited for here forks and exits: the runner is not a child of the server.
                subprocess.run(  # noqa: S603  (our own program and arguments)
                    _runner_command(state, lock.fileno(), job),
                    env=job["environment"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[lock.fileno()],
                    start_new_session=True,
                    check=True,
                )


def _runner_command(state: Path, lock: int, job: Job) -> list[str]:
    command = [sys.executable, "-I", "-S", runner.__file__]
    command += [str(state), str(lock), str(job["slots"]), job["folder"], job["log"]]
    return command + list(job["command"])


def _inherited() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }


def _observe(state: Path, *, alive: bool) -> Observation | None:
    job, runner_file = _read(state / "job.json"), _read(state / "runner.json")
    if job is None or not (alive or runner_file):
        return None
    seen = _observe_job(state, job, alive=alive)
    return replace(seen, attempt=Attempt.from_fields(job.get("run")))


def _observe_job(state: Path, job: Job, *, alive: bool) -> Observation:
    uid = job["uid"]
    ended = None if alive else _read(state / "exit.json")
    if ended:
        return _observe_ended(uid, job, ended)
    started = _read(state / "started.json")
    started_at = datetime.fromisoformat(started["at"]) if started else None
    if not alive:
        lost = Diagnosis(
            "process_lost",
            "The experiment's process is gone: the machine was restarted, or the process killed.",
            "Retry: training continues from the checkpoint.",
        )
        return Observation(uid, Phase.LOST, started_at, datetime.now(UTC), lost)
    return Observation(uid, Phase.RUNNING if started else Phase.QUEUED, started_at)


def _name_taken(handle: str) -> LauncherUnavailable:
    return LauncherUnavailable(
        Diagnosis(
            "job_name_taken",
            f"An older process {handle} is still running, of an experiment that was deleted.",
            "End that process. This experiment then starts by itself.",
        )
    )


def _observe_ended(uid: str, job: Job, ended: dict[str, Any]) -> Observation:
    started_at = datetime.fromisoformat(ended["started_at"]) if ended["started_at"] else None
    finished_at = datetime.fromisoformat(ended["finished_at"])
    if ended["cancelled"]:
        return Observation(uid, Phase.CANCELLED, started_at, finished_at)
    if ended["code"] == 0:
        return Observation(uid, Phase.SUCCEEDED, started_at, finished_at)
    log = Path(job["log"])
    why = diagnose_exit_code(ended["code"], _last_line(log), str(log))
    return Observation(uid, Phase.FAILED, started_at, finished_at, why)


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).split(b"\n")
    except OSError:
        return ""
    seen = (shown(line).decode(errors="replace") for line in reversed(lines))
    return next((line for line in seen if line.strip()), "")


def _is_alive(state: Path) -> bool:
    """Return whether the runner lives, or the trainer of a runner that was killed."""
    if _is_locked(state / "lock"):
        return True
    return not (state / "exit.json").exists() and _is_locked(state / runner.TRAINING)


def _is_locked(lock: Path) -> bool:
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _stamp(path: Path) -> Stamp | None:
    """Return what tells two versions of a file apart, for which its time alone is too coarse."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return content
