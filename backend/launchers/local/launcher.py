"""Runs as processes of this machine.

Each run has a runner (`runner.py`), a process of a session of its own, so that a restart of
the server neither ends nor loses it. What is known of a run lies in `OUTPUT_DIR/.local/<handle>/`:

    job.json     what to start
    lock         locked for as long as the runner lives
    training     locked for as long as the trainer lives, even if its runner was killed
    runner.json  the runner's process id
    cancel       there when the run was asked to end
    started.json when the trainer was started, and its process id
    exit.json    how it ended

so that any process can see how every run is. An experiment id cannot begin with a dot: no run's
folder has that name.
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
from backend.launchers.base import Job, LauncherRefused, LauncherUnavailable, Observation, Phase
from backend.launchers.exit_codes import exit_code, quote
from backend.launchers.local import runner
from backend.settings import Settings

_BACKEND = Path(__file__).parents[2]
# The wheel puts the models inside the package; in a checkout they are beside it.
_MODELS = (_BACKEND if (_BACKEND / "models").is_dir() else _BACKEND.parent) / "models"
TRAINER = _MODELS / "autoencoder" / "train.py"
POLL_SECONDS = 0.1
TAIL_BYTES = 2000

# What a trainer may need of this process's environment. Not the rest: it holds secrets.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_PASSED_ON_PREFIXES = ("OMP_", "MKL_", "CUDA_", "NVIDIA_")


Stamp = tuple[int, int, int]


class LocalLauncher:
    """Starts each run as a process, at most `settings.local_slots` at once."""

    log_source = None

    def __init__(self, settings: Settings, trainer: Path = TRAINER) -> None:
        self._settings = settings
        self._trainer = trainer
        self._state = settings.output_dir / ".local"
        self._ended: dict[str, tuple[Stamp, Observation]] = {}  # by handle, as of exit.json's stamp
        self._seen_change: Stamp | None = None
        self._made = False
        self._closed = threading.Event()

    def render(self, attempt: Attempt) -> Job:
        """Make the command, environment and paths of a run, without starting it."""
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
        """Start the runner, unless it lives or has ended already."""
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
        """Look at every run's files, or at those of some runs."""
        with self._gate(fcntl.LOCK_SH):
            there = [entry.name for entry in os.scandir(self._state) if entry.is_dir()]
            handles = there if handles is None else [name for name in there if name in handles]
            live = {handle for handle in handles if _is_alive(self._state / handle)}
        observations, ended = {}, {}
        for handle in handles:
            state = self._state / handle
            stamp = None if handle in live else _stamp(state / "exit.json")
            before, known = self._ended.get(handle, (None, None))
            seen = known if stamp and stamp == before else _observe(state, alive=handle in live)
            if seen is None:
                continue
            if stamp and seen.finished_at:
                ended[handle] = stamp, seen
            observations[handle] = seen
        self._ended = ended
        return observations

    def changes(self, timeout: float) -> frozenset[str] | None:
        """Wait until a runner has written to the file `changed` since the last call.

        Any run may have changed then, and without it: a runner that was killed writes nothing.
        """
        marker = self._state / runner.CHANGED
        deadline = time.monotonic() + timeout
        while (stamp := _stamp(marker)) == self._seen_change and time.monotonic() < deadline:
            if self._closed.wait(POLL_SECONDS):
                break
        self._seen_change = stamp
        return None

    def cancel(self, handle: str) -> None:
        """Ask the runner to end the run: SIGTERM, and SIGKILL if that does not help.

        A trainer whose runner was killed had its SIGTERM then: it is killed.
        """
        state = self._state / handle
        if not state.is_dir():
            return
        with self._gate(fcntl.LOCK_SH):
            (state / "cancel").touch()  # for a runner that cannot take the signal yet
            runner = _read(state / "runner.json")
            if runner and _is_locked(state / "lock"):
                os.kill(runner["pid"], signal.SIGTERM)
            elif (trainer := _read(state / "started.json")) and _is_alive(state):
                with suppress(ProcessLookupError):
                    os.killpg(trainer["pid"], signal.SIGKILL)

    def delete_job(self, attempt: Attempt) -> None:
        """Remove what is known of a run that has ended; its results stay."""
        state = self._state / attempt.handle
        with self._gate(fcntl.LOCK_EX):
            if (_read(state / "job.json") or {}).get("uid") != attempt.uid:
                return
            if not _is_alive(state):
                shutil.rmtree(state, ignore_errors=True)
                return
        self.cancel(attempt.handle)

    def close(self) -> None:
        """End a wait for changes. Runs go on."""
        self._closed.set()

    @contextmanager
    def _gate(self, operation: int) -> Iterator[None]:
        """Keep those who only look at locks apart from those who take them.

        Raises:
            LauncherUnavailable: the folder cannot be used now: it is full, or gone with its disk.
        """
        try:
            if not self._made:  # once: if it is gone later, its disk is gone, and no run has ended
                self._state.mkdir(exist_ok=True)
                self._made = True
            with (self._state / "gate").open("a") as gate:
                fcntl.flock(gate, operation)
                yield
        except (OSError, subprocess.CalledProcessError) as error:
            raise LauncherUnavailable(
                Diagnosis(
                    "cannot_start",
                    f"This machine cannot start the run: {error}",
                    "Check the free space and the rights of OUTPUT_DIR. The run then starts.",
                )
            ) from error

    def _start(self, state: Path, job: Job) -> None:
        state.mkdir(exist_ok=True)
        if (state / "exit.json").exists():
            if (_read(state / "job.json") or {}).get("uid") == job["uid"]:
                return
            shutil.rmtree(state)  # of a run that was forgotten since
            state.mkdir()
        with (state / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # a runner lives
                if (_read(state / "job.json") or {}).get("uid") != job["uid"]:
                    raise _name_taken(str(job["handle"])) from None
                return
            if _is_locked(state / runner.TRAINING):  # of a runner that was killed
                return
            for name in ("runner.json", "started.json", "cancel"):  # of a runner that was killed
                (state / name).unlink(missing_ok=True)
            Path(job["log"]).parent.mkdir(parents=True, exist_ok=True)
            runner.write(str(state / "job.json"), json.dumps(job))
            with (state / "runner.log").open("a") as log:
                # The runner inherits the lock: there is no moment at which nobody holds it. It
                # goes on in a child of the process that we wait for, so it is no child of ours.
                subprocess.run(  # noqa: S603  (our own program, arguments of our own making)
                    [
                        *(sys.executable, "-I", "-S", runner.__file__),
                        *(str(state), str(lock.fileno()), str(job["slots"])),
                        *(job["folder"], job["log"], *job["command"]),
                    ],
                    env=job["environment"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[lock.fileno()],
                    start_new_session=True,
                    check=True,
                )


def _inherited() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }


def _observe(state: Path, *, alive: bool) -> Observation | None:
    job, runner = _read(state / "job.json"), _read(state / "runner.json")
    if job is None or not (alive or runner):
        return None
    seen = _observe_job(state, job, alive=alive)
    return replace(seen, attempt=Attempt.from_fields(job.get("run")))


def _observe_job(state: Path, job: Job, *, alive: bool) -> Observation:
    uid = job["uid"]
    if not alive and (ended := _read(state / "exit.json")):
        return _end(uid, job, ended)
    started = _read(state / "started.json")
    started_at = datetime.fromisoformat(started["at"]) if started else None
    if not alive:
        lost = Diagnosis(
            "process_lost",
            "The run's process is gone: the machine was restarted, or somebody killed it.",
            "Retry: it goes on from its checkpoint.",
        )
        return Observation(uid, Phase.LOST, started_at, datetime.now(UTC), lost)
    return Observation(uid, Phase.RUNNING if started else Phase.QUEUED, started_at)


def _name_taken(handle: str) -> LauncherUnavailable:
    return LauncherUnavailable(
        Diagnosis(
            "job_name_taken",
            f"An older run {handle} is still going on, of an experiment that was forgotten since.",
            "End its process. This run then starts by itself.",
        )
    )


def _end(uid: str, job: Job, ended: dict[str, Any]) -> Observation:
    started_at = datetime.fromisoformat(ended["started_at"]) if ended["started_at"] else None
    finished_at = datetime.fromisoformat(ended["finished_at"])
    if ended["cancelled"]:
        return Observation(uid, Phase.CANCELLED, started_at, finished_at)
    if ended["code"] == 0:
        return Observation(uid, Phase.SUCCEEDED, started_at, finished_at)
    log = Path(job["log"])
    why = exit_code(ended["code"], quote(_last_line(log)), str(log))
    return Observation(uid, Phase.FAILED, started_at, finished_at, why)


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line.strip()), "")


def _is_alive(state: Path) -> bool:
    """Tell whether the runner lives, or the trainer of one that was killed."""
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
    """Tell two versions of a file apart; its time alone is too coarse for that."""
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
