"""The two launchers, each with controls that make its trainers do what a test needs.

Both harnesses have the same methods: `launcher`, `submitted`, `start`, `say`, `end`, `remove`,
`starts`.
"""

import errno
import fcntl
import os
import shutil
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from backend.domain.attempt import Attempt
from backend.launchers.kubernetes.launcher import KubernetesLauncher
from backend.launchers.local.launcher import LocalLauncher
from backend.launchers.local.memory import remove_group
from backend.launchers.local.state_files import living_runners
from backend.settings import Settings
from tests.integration.waiting import eventually

TRAINER = Path(__file__).parents[1] / "fakes" / "trainer.py"
AN_ATTEMPT = Attempt("실험 1", "uid-1", "autoencoder", 0.001, 20, None, 1)


class LauncherHarness:
    """What both harnesses have in common."""

    def __init__(self):
        self._launchers = []

    def launcher(self):
        """Return a new launcher, as another process would have it."""
        self._launchers.append(self._make())
        return self._launchers[-1]

    def submitted(self, **changes):
        """Submit `AN_ATTEMPT` with `changes`, and return the attempt."""
        attempt = replace(AN_ATTEMPT, **changes)
        launcher = self.launcher()
        launcher.submit(launcher.render(attempt))
        return attempt

    def close(self):
        """Close every launcher that was made."""
        for launcher in self._launchers:
            launcher.close()


class LocalHarness(LauncherHarness):
    """Processes of this machine. The test holds the only slot until it starts an attempt."""

    def __init__(self, environ):
        super().__init__()
        self.settings = Settings.from_environment(environ | {"LAUNCHER": "local"})
        self.state = self.settings.output_dir / ".local"
        self.state.mkdir(exist_ok=True)
        self._slot = (self.state / "slot-0").open("a")
        fcntl.flock(self._slot, fcntl.LOCK_EX)

    def _make(self):
        return LocalLauncher(self.settings, trainer=TRAINER)

    def folder(self, attempt):
        """Return the output folder of an attempt."""
        return self.settings.output_dir / attempt.experiment_id

    def start(self, attempt):
        """Free the slot, and wait until the trainer accepts orders."""
        self.free_slot()
        self.order(attempt, "")

    def free_slot(self):
        """Release the slot that the test holds, and start what waits for it."""
        self._slot.close()
        self.fill_slots()

    def fill_slots(self):
        """Start waiting attempts if slots are free, as the reconciler does."""
        self.launcher().changes(0)

    def say(self, attempt, text):
        """Make the trainer print `text`, and wait until it is in the log."""
        self.order(attempt, f"print {text}")
        log = self.folder(attempt) / "logs" / f"{attempt.number}.log"
        eventually(lambda: text in log.read_text())

    def end(self, attempt, code, last_words=""):
        """Make the trainer exit with `code`, and wait until the launcher can know it."""
        if last_words:
            self.say(attempt, last_words)
        self.order(attempt, f"exit {code}")
        eventually((self.state / attempt.handle / "exit.json").exists)

    def remove(self, attempt):
        """Remove every trace of an attempt that has ended, once its runner has, too."""
        eventually(lambda: attempt.handle not in living_runners(self.state))
        shutil.rmtree(self.state / attempt.handle)

    def starts(self, attempt):
        """Return how often the trainer was started."""
        with suppress(FileNotFoundError):
            return len((self.folder(attempt) / "starts").read_text().split())
        return 0

    def order(self, attempt, text):
        """Send an order to the trainer as soon as it listens; see tests/fakes/trainer.py."""
        pipe = eventually(lambda: _open_pipe(self.folder(attempt) / "orders"))
        with os.fdopen(pipe, "w") as orders:
            orders.write(f"{text}\n")

    def close(self):
        """Close every launcher, and kill what still runs."""
        super().close()
        self._slot.close()
        kill_local_runs(self.settings.output_dir)


class KubernetesHarness(LauncherHarness):
    """Jobs of the fake API server; the test plays the controllers."""

    def __init__(self, environ, api):
        super().__init__()
        self.settings = Settings.from_environment(environ | {"LAUNCHER": "kubernetes"})
        self.api = api
        self._pods = {}

    def _make(self):
        return KubernetesLauncher(self.settings)

    def start(self, attempt):
        """Make a pod of the Job run."""
        self._pods[attempt] = self.api.run(attempt.handle)

    def say(self, attempt, text):
        """Append `text` to the log of the pod."""
        self.api.write_log(self._pods[attempt], text)

    def end(self, attempt, code, last_words=""):
        """End the pod and its Job."""
        self.api.finish(self._pods[attempt], code, last_words)

    def remove(self, attempt):
        """Remove the Job with its pods, as its time-to-live does."""
        self.api.remove_job(attempt.handle)

    def starts(self, attempt):
        """Return how many Jobs there are of this attempt."""
        return list(self.api.jobs()).count(attempt.handle)


def processes_of(folder):
    """Return the ids of the runners, trainers and their children that work in `folder` (Linux)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            if f"{folder}/" in command or (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
    return found


def kill_local_runs(output_dir):
    """Kill the runners, trainers and their children that a test has left behind."""
    while pids := processes_of(output_dir):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    for state in (Path(output_dir) / ".local").glob("*"):
        remove_group(state)


def _open_pipe(path):
    """Return a descriptor that writes to the pipe at `path`, None while nobody reads it."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
