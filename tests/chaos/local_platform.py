"""The local platform: `serve` on this machine, with SQLite and local processes."""

import json
import os
import random
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.chaos.breaking import Pause, Platform
from tests.chaos.evidence import Hit
from tests.integration import backend_process
from tests.integration.backend_process import children_of, free_address
from tests.integration.waiting import eventually

TRAINER = Path(__file__).with_name("trainer.py")
SLOTS = 3
REFUSED = 2  # exit code
FAULTS = {
    "kill_worker": 3,
    "kill_web": 2,
    "kill_reconciler": 3,
    "kill_serve": 1,
    "kill_everything": 1,
    "terminate_serve": 1,
    "stop_worker": 1,
    "stop_reconciler": 1,
    "kill_runner": 3,
    "kill_trainer": 2,
}


class LocalPlatform(Platform):
    """Any process but the clients' can be killed."""

    faults = FAULTS
    quiet_seconds = 60.0

    def __init__(self, folder: Path, *, neighbours: bool = False) -> None:
        super().__init__(folder)
        if neighbours:
            self.faults = FAULTS | {"wrong_neighbour": 2}
        self._state = self.outputs / ".local"
        self.environ |= {"LOCAL_SLOTS": str(SLOTS), "LOCAL_MEMORY": "256Mi"}
        self.addresses = [free_address()]
        self.program = backend_process.Installation(folder / "program", self.environ, TRAINER)

    def start(self) -> None:
        self._serve = self.program.start("serve", BIND=self.addresses[0]).ready()

    def heal(self) -> None:
        if not self._serve.is_alive:
            eventually(lambda: not self._serve.group())  # orphaned roles end by themselves
            self.start()
        self._serve.ready()

    def close(self) -> None:
        self.program.close()

    def kill_worker(self, draw: random.Random, _pause: Pause) -> bool:
        """Kill one of the two workers of the web role."""
        return send_signal(draw.choice(self._roles()[1]), signal.SIGKILL)

    def kill_web(self, _draw: random.Random, _pause: Pause) -> bool:
        """Kill the main process of the web role; its workers notice."""
        return send_signal(self._roles()[0], signal.SIGKILL)

    def kill_reconciler(self, _draw: random.Random, _pause: Pause) -> bool:
        """Kill the reconcile role."""
        return send_signal(self._roles()[2], signal.SIGKILL)

    def kill_serve(self, _draw: random.Random, _pause: Pause) -> bool:
        """Kill the supervisor alone; a user starts it again."""
        self._serve.kill()
        self.heal()
        return True

    def kill_everything(self, _draw: random.Random, _pause: Pause) -> bool:
        """Kill the supervisor and all its roles at once; a user starts it again."""
        self._serve.kill_all()
        self.heal()
        return True

    def terminate_serve(self, _draw: random.Random, _pause: Pause) -> bool:
        """Send SIGTERM to the supervisor during work; a user starts it again."""
        self._serve.terminate()
        self._serve.exit_code()
        self.heal()
        return True

    def stop_worker(self, draw: random.Random, pause: Pause) -> bool:
        """Stop one worker of the web role for a moment."""
        return hang(draw.choice(self._roles()[1]), pause)

    def stop_reconciler(self, _draw: random.Random, pause: Pause) -> bool:
        """Stop the reconcile role for a moment."""
        return hang(self._roles()[2], pause)

    def kill_runner(self, draw: random.Random, _pause: Pause) -> bool:
        """Kill a runner, which waits for a slot or for its trainer."""
        found = {}
        for pid, command in _commands():
            if "launchers/local/runner.py" in command and str(self._state) in command:
                words = command.split("\0")
                state = next(word for word in words if word.startswith(str(self._state)))
                found[pid] = Path(state) / "job.json"
        if not found:
            return False
        pid = draw.choice(sorted(found))
        run = json.loads(found[pid].read_text())["run"]
        self.hits.append(Hit(run["experiment_id"], run["attempt"], "runner"))
        return send_signal(pid, signal.SIGKILL)

    def kill_trainer(self, draw: random.Random, _pause: Pause) -> bool:
        """Kill a trainer."""
        program = str(self.program.trainer)
        found = sorted(
            pid
            for pid, command in _commands()
            if program in command
            and "launchers/local/runner.py" not in command  # a runner has its trainer as argument
        )
        if not found:
            return False
        pid = draw.choice(found)
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/environ").read_text().split("\0")
            environ = dict(line.split("=", 1) for line in lines if "=" in line)
            if "EXPERIMENT_ID" in environ:
                hit = Hit(environ["EXPERIMENT_ID"], int(environ["ATTEMPT"]), "trainer")
                self.hits.append(hit)
                return send_signal(pid, signal.SIGKILL)
        return False

    def wrong_neighbour(self, _draw: random.Random, _pause: Pause) -> bool:
        """Start a server with another launcher on the same database: it must not start."""
        neighbour = self.program.start(
            "serve", LAUNCHER="kubernetes", AE_MODEL_IMAGE_URL="localhost:5000/none:1"
        )
        try:
            code = neighbour.exit_code()
        except subprocess.TimeoutExpired:
            code = None
        neighbour.kill_all()
        if code != REFUSED:
            self.problems.append(f"a server with another launcher was not refused: {code}")
        return True

    def _roles(self) -> tuple[int, list[int], int]:
        """Wait for all roles; return the ids of web, of its workers, and of reconcile."""
        return eventually(self._find_roles)

    def _find_roles(self) -> tuple[int, list[int], int] | None:
        self._serve.ready()
        web, workers = self._serve.web_processes()
        others = [pid for pid in children_of(self._serve.pid) if pid != web]
        return (web, workers, others[0]) if web and len(workers) == 2 and len(others) == 1 else None


def _commands() -> list[tuple[int, str]]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found.append((int(process.name), (process / "cmdline").read_text(errors="replace")))
    return found


def send_signal(pid: int, number: int) -> bool:
    """Send a signal, and return whether the process was there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def hang(pid: int, pause: Pause) -> bool:
    """Stop a process during `pause`, and return whether it was there all the time."""
    if not send_signal(pid, signal.SIGSTOP):
        return False
    try:
        pause()
    finally:
        is_alive = send_signal(pid, signal.SIGCONT)
    return is_alive
