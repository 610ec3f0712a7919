"""Trainers that a warm server has forked: they, and who watches them, notice no difference."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import chdir, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from backend.domain.attempt import Program
from backend.domain.catalogue import Entry
from backend.launchers.base import Phase
from backend.launchers.local import warm_start
from backend.launchers.local.launcher import LocalLauncher
from backend.settings import Settings
from tests.integration.launcher_harness import AN_ATTEMPT, kill_local_runs
from tests.integration.waiting import DEADLINE_SECONDS, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="warm trainers need Linux")

ROOT = Path(__file__).parents[3]
INPUT, ENTRY = ROOT / "input", ROOT / "models" / "autoencoder" / "model.yaml"
PRELOAD = ("colorsys", "random")
WITNESS = """
import json, os, random, resource, signal, sys, threading
names = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
seen = {
    "argv": sys.argv, "orig_argv": sys.orig_argv[1:], "path": sys.path, "cwd": os.getcwd(),
    "environment": dict(os.environ), "loader": type(__loader__).__name__,
    "main": sorted(set(vars(sys.modules["__main__"])) - {"__annotations__"}),
    "file": __file__, "name": __name__,
    "signals": [names[name] for name in ("SigBlk", "SigIgn", "SigCgt")],
    "session": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
    "descriptors": {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)},
    "others": sorted(os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))
                     for fd in os.listdir("/proc/self/fd")
                     if int(fd) > 2 and os.path.exists(f"/proc/self/fd/{fd}")),
    "limits": [resource.getrlimit(limit)
               for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_DATA)],
    "umask": os.umask(0o22), "threads": len(os.listdir("/proc/self/task")),
    "output": [sys.stdout.write_through, sys.stdout.encoding, sys.stderr.encoding],
    "parent": open(f"/proc/{os.getppid()}/cmdline").read().split("\\0")[3].split("/")[-1],
}
json.dump(seen, open("seen.json", "w"))
print("forked" if "colorsys" in sys.modules else "started", random.random())
"""
FOLLOWER = """
import os, signal, sys
print("forked" if "colorsys" in sys.modules else "started")
os.mkfifo("orders")
for order in open("orders"):
    sys.exit(int(order))
"""
HOW = "import sys; print('forked' if 'colorsys' in sys.modules else 'started')\n"


class Machine:
    """A model whose trainer is a script, and a launcher."""

    def __init__(self, environ, tmp_path):
        folder = tmp_path / "models" / "own"
        folder.mkdir(parents=True)
        self.script = folder / "train.py"
        self.settings = Settings.from_environment(
            environ | {"MODELS_DIR": str(tmp_path / "models"), "LOCAL_SLOTS": "8"}
        )
        self.launcher = LocalLauncher(self.settings)
        self.state = self.settings.output_dir / ".local"
        self.count = 0
        self.started = []

    def submit(self, script=None, preload=PRELOAD):
        """Submit a new attempt of this script."""
        if script:
            self.script.write_text(script)
        self.count += 1
        attempt = replace(
            AN_ATTEMPT,
            experiment_id=f"run-{self.count}",
            uid=f"uid-{self.count}",
            model="own",
            program=Program(preload=preload),
        )
        self.launcher.submit(self.launcher.render(attempt))
        return attempt

    def phase(self, attempt):
        return self.launcher.observe()[attempt.handle].phase

    def reaches(self, attempt, phase):
        eventually(lambda: self.phase(attempt) is phase)
        return self.launcher.observe()[attempt.handle]

    def ended(self, attempt):
        eventually(lambda: self.launcher.observe()[attempt.handle].finished_at)
        return self.launcher.observe()[attempt.handle]

    def folder(self, attempt):
        return self.settings.output_dir / attempt.experiment_id

    def log(self, attempt):
        with suppress(FileNotFoundError):
            return (self.folder(attempt) / "logs" / "1.log").read_text()
        return ""

    def order(self, attempt, text):
        eventually((self.folder(attempt) / "orders").exists)
        (self.folder(attempt) / "orders").write_text(f"{text}\n")

    def pid(self, attempt, file):
        return json.loads((self.state / attempt.handle / file).read_text())["pid"]

    def servers(self):
        """Return the process ids of the servers that live."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                is_ours = (process / "cwd").readlink() == self.state
                if is_ours and warm_start.SERVER in (process / "cmdline").read_text():
                    found.append(int(process.name))
        return found

    def start_server(self, modules, module_folder, idle_seconds=60):
        """Start a server that finds its modules in a folder of the test."""
        attempt = replace(AN_ATTEMPT, model="own", program=Program(preload=tuple(modules)))
        key, _, _ = self.launcher.render(attempt)["warm"].partition(" ")
        self.launcher.observe()  # makes the state folder
        path = self.state / f"warm-{key}"
        with socket.socket(socket.AF_UNIX) as listener, path.with_suffix(".log").open("w") as log:
            with chdir(self.state):  # a longer path may exceed sun_path
                listener.bind(path.name)
            listener.listen()
            listener.set_inheritable(True)
            command = [sys.executable, "-u", warm_start.SERVER, path.name, str(listener.fileno())]
            server = subprocess.Popen(
                [*command, str(idle_seconds), *modules],
                cwd=self.state,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(module_folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )
        self.started.append(server)
        return server

    def close(self):
        for server in self.started:
            server.kill()
            server.wait()
        kill_local_runs(self.settings.output_dir)


@pytest.fixture
def machine(environ, tmp_path):
    machine = Machine(environ, tmp_path)
    yield machine
    machine.close()


def test_trainer_finds_what_a_started_one_finds(machine):
    started, forked = machine.submit(WITNESS, preload=()), machine.submit()
    seen = []
    for attempt in (started, forked):
        assert machine.ended(attempt).phase is Phase.SUCCEEDED, machine.log(attempt)
        text = (machine.folder(attempt) / "seen.json").read_text()
        seen.append(
            json.loads(text.replace(attempt.handle, "HANDLE").replace(attempt.experiment_id, "ID"))
        )
    logs = [machine.log(attempt).split() for attempt in (started, forked)]

    assert [how for how, _ in logs] == ["started", "forked"]
    assert seen[0] == seen[1]
    assert seen[1]["parent"] == "runner.py"
    assert seen[1]["threads"] == 1


def test_each_trainer_has_random_numbers_of_its_own(machine):
    attempts = [machine.submit(WITNESS) for _ in range(3)]
    for attempt in attempts:
        machine.ended(attempt)

    assert len({machine.log(attempt) for attempt in attempts}) == 3


@pytest.mark.parametrize(
    "script",
    [
        "sys.exit(7)",
        "sys.exit('a reason')",
        "sys.exit()",
        "raise ValueError('broken')",
        "raise KeyboardInterrupt",
        "import os; os._exit(3)",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "import atexit; atexit.register(print, 'at the end'); print('first')",
        "import threading; threading.Timer(0.01, print, ['later']).start()",
        "this is no Python",
    ],
)
def test_end_is_that_of_a_started_trainer(machine, script):
    attempts = [machine.submit(f"import sys\n{script}\n", preload) for preload in ((), PRELOAD)]
    ends = [machine.ended(attempt) for attempt in attempts]
    exits = [json.loads((machine.state / one.handle / "exit.json").read_text()) for one in attempts]
    logs = [machine.log(attempt) for attempt in attempts]

    assert [end.phase for end in ends] == [ends[0].phase] * 2
    assert [one["code"] for one in exits] == [exits[0]["code"]] * 2
    assert logs == [logs[0]] * 2
    assert exits[0]["code"] is not None
    eventually(machine.servers)


def test_one_server_for_attempts_at_the_same_time(machine):
    attempts = [machine.submit(FOLLOWER) for _ in range(6)]
    for attempt in attempts:
        machine.reaches(attempt, Phase.RUNNING)
        eventually(lambda attempt=attempt: machine.log(attempt) == "forked\n")

    assert len(machine.servers()) == 1
    for code, attempt in enumerate(attempts):
        machine.order(attempt, code)
    codes = [machine.ended(attempt).diagnosis for attempt in attempts]
    assert codes[0] is None
    assert all(f"code {code}:" in why.message for code, why in enumerate(codes) if code > 2)


def test_killed_server_loses_no_trainer(machine):
    attempt = machine.submit(FOLLOWER)
    machine.reaches(attempt, Phase.RUNNING)
    eventually(lambda: machine.log(attempt))
    for server in machine.servers():
        os.kill(server, signal.SIGKILL)
    eventually(lambda: not machine.servers())

    other = LocalLauncher(machine.settings)  # a server that was restarted
    assert other.observe()[attempt.handle].phase is Phase.RUNNING
    machine.order(attempt, 9)
    assert "code 9" in machine.ended(attempt).diagnosis.message
    following = machine.submit("print('colorsys' in __import__('sys').modules)")
    assert machine.ended(following).phase is Phase.SUCCEEDED
    assert machine.log(following) == "True\n"
    assert len(machine.servers()) == 1


def test_cancelled_trainer_gets_sigterm(machine):
    attempt = machine.submit(
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('asked'), sys.exit(143)))\n"
        "print('ready')\nsignal.pause()\n"
    )
    eventually(lambda: machine.log(attempt) == "ready\n")
    eventually((machine.state / attempt.handle / "runner.json").exists)
    machine.launcher.cancel(attempt.handle)

    assert machine.ended(attempt).phase is Phase.CANCELLED
    assert machine.log(attempt) == "ready\nasked\n"


def test_trainer_of_a_killed_runner_gets_sigterm(machine):
    attempt = machine.submit(
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('asked')))\n"
        "print('ready')\nsignal.pause()\n"
    )
    eventually(lambda: machine.log(attempt) == "ready\n")
    eventually((machine.state / attempt.handle / "started.json").exists)
    os.kill(machine.pid(attempt, "runner.json"), signal.SIGKILL)

    machine.reaches(attempt, Phase.LOST)
    assert machine.log(attempt) == "ready\nasked\n"


@pytest.mark.parametrize(
    "module",
    [
        "raise ImportError('no')",
        "import os; os._exit(1)",
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
    ],
)
def test_server_that_cannot_serve_costs_a_cold_start(machine, tmp_path, module):
    (tmp_path / "broken_module.py").write_text(module)
    server = machine.start_server(["broken_module"], tmp_path)
    attempt = machine.submit(HOW, ("broken_module",))
    assert machine.ended(attempt).phase is Phase.SUCCEEDED
    server.wait(DEADLINE_SECONDS)
    assert machine.log(attempt) == "started\n"


def test_missing_module_costs_a_cold_start(machine):
    attempt = machine.submit(HOW, ("no_such_module",))

    assert machine.ended(attempt).phase is Phase.SUCCEEDED
    assert machine.log(attempt) == "started\n"
    (log,) = machine.state.glob("warm-*.log")
    assert "No module named 'no_such_module'" in log.read_text()


def test_changed_module_is_imported_again(machine, tmp_path):
    """A library was upgraded while a server had its old version."""
    module = tmp_path / "colorsys.py"
    module.write_text("version = 1")
    script = (
        "import sys; print(sys.modules['colorsys'].version if 'colorsys' in sys.modules else 0)"
    )
    server = machine.start_server(["colorsys"], tmp_path)
    first = machine.submit(script, ("colorsys",))
    machine.ended(first)
    module.write_text("version = 22")
    second = machine.submit(script, ("colorsys",))
    machine.ended(second)
    server.wait(DEADLINE_SECONDS)

    assert [machine.log(attempt) for attempt in (first, second)] == ["1\n", "0\n"]


def test_server_without_an_attempt_leaves(machine, tmp_path):
    server = machine.start_server(["colorsys"], tmp_path, idle_seconds=0)
    assert server.wait(DEADLINE_SECONDS) == 0
    assert list(machine.state.glob("warm-*")) == []


def test_server_leaves_with_its_state_folder(machine, tmp_path):
    server = machine.start_server(["colorsys"], tmp_path)
    shutil.rmtree(machine.state)
    assert server.wait(DEADLINE_SECONDS) == 0


def test_cancelled_while_the_server_imports(machine, tmp_path):
    """The import never ends; the attempt does at once."""
    os.mkfifo(tmp_path / "never")
    (tmp_path / "slow_module.py").write_text(f"open({str(tmp_path / 'never')!r}).read()")
    machine.start_server(["slow_module"], tmp_path)
    attempt = machine.submit(HOW, ("slow_module",))
    assert machine.phase(attempt) is Phase.QUEUED
    machine.launcher.cancel(attempt.handle)

    assert machine.ended(attempt).phase is Phase.CANCELLED
    assert machine.log(attempt) == ""


def test_killed_while_the_server_imports(machine, tmp_path):
    """What waited for the server is killed: the attempt is started again, once."""
    os.mkfifo(tmp_path / "import")
    (tmp_path / "slow_module.py").write_text(f"open({str(tmp_path / 'import')!r}).read()")
    script = "open('starts', 'a').write('x')"
    machine.start_server(["slow_module"], tmp_path)
    attempt = machine.submit(script, ("slow_module",))
    (client,) = eventually(lambda: clients_of(attempt.handle))
    os.kill(client, signal.SIGKILL)
    eventually(lambda: not clients_of(attempt.handle))
    machine.launcher.changes(0)
    eventually(lambda: clients_of(attempt.handle))
    release = threading.Thread(target=(tmp_path / "import").write_text, args=[""])
    release.start()
    assert machine.ended(attempt).phase is Phase.SUCCEEDED
    release.join()
    assert (machine.folder(attempt) / "starts").read_text() == "x"


def test_number_of_servers_is_limited(machine):
    modules = ["colorsys", "bisect", "heapq", "cmd", "code", "calendar"]
    attempts = [machine.submit(HOW, (module,)) for module in modules]
    for attempt in attempts:
        assert machine.ended(attempt).phase is Phase.SUCCEEDED

    assert len(machine.servers()) == warm_start.MOST_SERVERS


def test_pytorch_computes_the_same_losses(environ):
    """The model of the catalogue, as its entry describes it."""
    settings = Settings.from_environment(environ | {"INPUT_DIR": str(INPUT)})
    launcher = LocalLauncher(settings)
    entry = Entry.from_document("autoencoder", yaml.safe_load(ENTRY.read_text()))
    losses = []
    try:
        for name, preload in (("cold", ()), ("warm", entry.preload)):
            program = replace(entry.program(None), preload=preload)
            attempt = replace(AN_ATTEMPT, experiment_id=name, epoch=3, program=program)
            launcher.submit(launcher.render(attempt))
            eventually(lambda attempt=attempt: launcher.observe()[attempt.handle].finished_at)
            lines = (settings.output_dir / name / "metrics.jsonl").read_text().splitlines()
            losses.append([json.loads(line) | {"seconds": None} for line in lines])
        (server,) = (settings.output_dir / ".local").glob("warm-*.log")
        assert server.read_text() == ""
    finally:
        kill_local_runs(settings.output_dir)

    assert len(losses[0]) == 3
    assert losses[0] == losses[1]


def clients_of(handle):
    """Return the process ids of those who wait for a server on behalf of an attempt."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_text()
            if warm_start.__file__ in command and handle in command:
                found.append(int(process.name))
    return found
