"""The program as users start it: `python -m backend ROLE`."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from tests.integration.launcher_harness import TRAINER, kill_local_runs
from tests.integration.waiting import DEADLINE_SECONDS, eventually
from tests.ports import free_address

ROOT = Path(__file__).parents[2]
MISTAKE = re.compile(r"^(TypeError|AttributeError|NameError|UnboundLocalError)\b", re.MULTILINE)
OURS = (  # prefixes of variables that a test must not inherit
    "DB_",
    "LOCAL_",
    "JOB_",
    "BIND",
    "LAUNCHER",
    "DATA_DIR",
    "INPUT_",
    "OUTPUT_",
    "HEALTH_",
    "MODELS_",
)


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    content: bytes

    @property
    def json(self):
        return json.loads(self.content)


class Installation:
    """A folder with the program, whose trainer obeys the test instead of training a model."""

    def __init__(self, folder, environ, trainer=TRAINER, umask=-1):
        self._environ, self._umask = environ, umask
        self._output_dir = Path(environ["OUTPUT_DIR"])
        self._folder = folder
        self._processes = []
        self.trainer = folder / "models" / "autoencoder" / "train.py"
        self.trainer.parent.mkdir(parents=True)
        self.trainer.symlink_to(trainer)
        (folder / "backend").symlink_to(ROOT / "backend")

    def start(self, role, **variables):
        """Start a role (and its options) with further variables.

        `BIND` is a free address unless it is given.
        """
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
        environ = inherited | self._environ | {"BIND": free_address()} | variables
        number = len(self._processes)
        self._processes.append(Backend(role, environ, self._folder, number, self._umask))
        return self._processes[-1]

    def close(self):
        """Kill everything, and fail if a process wrote a traceback of a programming error."""
        for process in self._processes:
            process.kill_all()
        kill_local_runs(self._output_dir)
        for process in self._processes:
            assert not MISTAKE.search(process.stderr), process.stderr


class Backend:
    """One started program, in a process group of its own, as in a terminal."""

    def __init__(self, role, environ, folder, number, umask=-1):
        self.environ = environ
        self.address = environ["BIND"]
        self._stdout, self._stderr = folder / f"{number}.stdout", folder / f"{number}.stderr"
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "backend", *role.split()],
                cwd=folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                umask=umask,
            )

    @property
    def stdout(self):
        return self._stdout.read_text()

    @property
    def stderr(self):
        return self._stderr.read_text()

    @property
    def pid(self):
        return self._process.pid

    @property
    def is_alive(self):
        return self._process.poll() is None

    def ready(self):
        """Wait until it is ready, and return it."""
        eventually(lambda: self.answers("/readyz"))
        return self

    def answers(self, path):
        """Return whether a GET is answered with 200."""
        assert self.is_alive, self.stderr
        try:
            return self.ask(path).status == 200
        except (urllib.error.URLError, ConnectionError):
            return False

    def ask(self, path, form=None):
        """GET `path`, or POST a form to it, and return the answer."""
        data = urlencode(form).encode() if form else None
        try:
            with urllib.request.urlopen(
                f"http://{self.address}{quote(path)}", data, timeout=DEADLINE_SECONDS
            ) as response:
                return Answer(response.status, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read())

    def reaches(self, experiment_id, status):
        """Wait until an experiment has a status, and return the experiment."""

        def found():
            experiment = self.ask(f"/experiments/{experiment_id}").json
            return experiment["status"] == status and experiment

        return eventually(found)

    def press_ctrl_c(self):
        """Send SIGINT to the whole process group, as a terminal does."""
        os.killpg(self._process.pid, signal.SIGINT)

    def terminate(self):
        """Send SIGTERM to the first process alone, as a supervisor does."""
        self._process.terminate()

    def exit_code(self):
        """Wait for the end of the program, and return its exit code."""
        return self._process.wait(DEADLINE_SECONDS)

    def web_processes(self):
        """Return the process ids of the web role under `serve` and of its workers."""
        assert self.is_alive, self.stderr
        found = [child for child in children_of(self._process.pid) if children_of(child)]
        web = found[0] if found else None
        return web, children_of(web)

    def reconciler(self):
        """Return the process id of the reconcile role under `serve`."""
        (pid,) = [child for child in children_of(self._process.pid) if not children_of(child)]
        return pid

    def group(self):
        """Return the processes that are left of it (Linux)."""
        stats = [_stat(process) for process in Path("/proc").glob("[0-9]*")]
        # After the name in brackets: state, parent, process group.
        return [one for one in stats if one and int(one[2]) == self._process.pid and one[0] != "Z"]

    def kill(self):
        """Kill the first process alone."""
        self._process.kill()
        self._process.wait()

    def kill_all(self):
        """Kill every process that is left of it."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def children_of(pid):
    """Return the ids of the child processes of a process (Linux)."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except FileNotFoundError:
        return []


def _stat(process):
    with suppress(OSError):
        return (process / "stat").read_text().rpartition(")")[2].split()
    return None
