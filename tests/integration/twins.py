"""The two launchers, each with a hand that makes its runs do what a test needs.

Both have the same methods: `launcher()`, `run(...)`, `start`, `say`, `end`, `remove`, `starts`.
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
from backend.settings import Settings
from tests.integration.waiting import eventually

TRAINER = Path(__file__).parents[1] / "fakes" / "trainer.py"
AN_ATTEMPT = Attempt("실험 1", "uid-1", "autoencoder", 0.001, 20, None, 1)


class Twin:
    """What both have."""

    def __init__(self):
        self._launchers = []

    def launcher(self):
        """Make a launcher as a process of its own would have it."""
        self._launchers.append(self._make())
        return self._launchers[-1]

    def submitted(self, **changes):
        """Submit a run, and give it."""
        attempt = replace(AN_ATTEMPT, **changes)
        launcher = self.launcher()
        launcher.submit(launcher.render(attempt))
        return attempt

    def close(self):
        for launcher in self._launchers:
            launcher.close()


class LocalTwin(Twin):
    """Runs of this machine. The one slot is taken by the test until a run may start."""

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
        return self.settings.output_dir / attempt.experiment_id

    def start(self, attempt):
        """Let it train, and wait until it does."""
        self._slot.close()
        self.tell(attempt, "")

    def say(self, attempt, text):
        self.tell(attempt, f"print {text}")
        log = self.folder(attempt) / "logs" / f"{attempt.number}.log"
        eventually(lambda: text in log.read_text())

    def end(self, attempt, code, last_words=""):
        if last_words:
            self.say(attempt, last_words)
        self.tell(attempt, f"exit {code}")
        eventually((self.state / attempt.handle / "exit.json").exists)

    def remove(self, attempt):
        """Leave no trace of an ended run."""
        shutil.rmtree(self.state / attempt.handle)

    def starts(self, attempt):
        """Say how often the trainer was started."""
        with suppress(FileNotFoundError):
            return len((self.folder(attempt) / "starts").read_text().split())
        return 0

    def tell(self, attempt, order):
        """Give an order to the trainer once it listens."""
        pipe = eventually(lambda: _open_pipe(self.folder(attempt) / "orders"))
        with os.fdopen(pipe, "w") as orders:
            orders.write(f"{order}\n")

    def close(self):
        super().close()
        self._slot.close()
        kill_local_runs(self.settings.output_dir)


class KubernetesTwin(Twin):
    """Runs of the API server that tests play the controllers of."""

    def __init__(self, environ, api):
        super().__init__()
        self.settings = Settings.from_environment(environ | {"LAUNCHER": "kubernetes"})
        self.api = api
        self._pods = {}

    def _make(self):
        return KubernetesLauncher(self.settings)

    def start(self, attempt):
        self._pods[attempt] = self.api.run(attempt.handle)

    def say(self, attempt, text):
        self.api.write_log(self._pods[attempt], text)

    def end(self, attempt, code, last_words=""):
        self.api.finish(self._pods[attempt], code, last_words)

    def remove(self, attempt):
        self.api.remove_job(attempt.handle)

    def starts(self, attempt):
        return list(self.api.jobs()).count(attempt.handle)


def processes_of(folder):
    """Find the runners, trainers and their children that work in a folder (Linux)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            if f"{folder}/" in command or (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
    return found


def kill_local_runs(output_dir):
    """End the runners, trainers and their children that a test has left behind."""
    while pids := processes_of(output_dir):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _open_pipe(path):
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENXIO:  # nobody reads yet
            return None
        raise
