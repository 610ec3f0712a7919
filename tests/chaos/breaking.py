"""The platform under test, and the injection of the planned faults into it."""

import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.chaos.clients import Clients
from tests.chaos.evidence import Hit
from tests.chaos.plan import Plan
from tests.integration import backend_process

PAUSE_STEPS, PAUSE_SECONDS = 3, 3.0  # duration of a hang: whichever passes first
TRIES, TRY_SECONDS = 20, 0.5  # until a fault finds a target

Pause = Callable[[], None]


class Platform(ABC):
    """The program with its database and launcher, and methods that inject faults into them.

    Attributes:
        faults: weights by kind; each kind is the name of a method.
        addresses: where the program serves HTTP.
        outputs: the output folder.
        program: starts the program's roles.
        quiet_seconds: how long experiments may take to end after the last fault.
        hits: the attempts that a fault has struck.
        problems: what a fault has found to be wrong by itself.
    """

    faults: dict[str, int]
    quiet_seconds: float
    program: backend_process.Installation

    def __init__(self, folder: Path) -> None:
        for name in ("input", "output", "data"):
            (folder / name).mkdir()
        self.environ = {
            "DATA_DIR": str(folder / "data"),
            "INPUT_DIR": str(folder / "input"),
            "OUTPUT_DIR": str(folder / "output"),
        }
        self.addresses: list[str] = []
        self.outputs = folder / "output"
        self.hits: list[Hit] = []
        self.problems: list[str] = []

    @abstractmethod
    def start(self) -> None:
        """Start everything, and wait until the program serves."""

    @abstractmethod
    def heal(self) -> None:
        """Start again whatever a user would have started."""

    @abstractmethod
    def close(self) -> None:
        """Stop and remove everything."""

    def jobs(self) -> dict[str, int] | None:
        """Return the number of Jobs ever created by name, or None if there are no Jobs."""
        return None

    def differences(self) -> list[str]:
        """Return the differences of database, folders and Jobs that the program itself finds."""
        process = self.program.start("rebuild --check")
        process.exit_code()
        *differences, count = process.stdout.splitlines() or [process.stderr]
        return differences if count.startswith(f"{len(differences)} ") else [count]


class Breaker:
    """Injects the plan's faults while the clients work.

    Attributes:
        injected: the number of faults by kind that have found a target.
    """

    def __init__(self, plan: Plan, platform: Platform, clients: Clients) -> None:
        self._plan, self._platform, self._clients = plan, platform, clients
        self.injected: Counter[str] = Counter()

    def run(self) -> None:
        """Inject one fault after the other, each at its step."""
        for number, fault in enumerate(self._plan.faults):
            self._clients.wait_for(fault.at)
            draw = random.Random(f"{self._plan.seed} {number}")
            inject = getattr(self._platform, fault.kind)
            for _ in range(TRIES):
                if inject(draw, self._pause):
                    self.injected[fault.kind] += 1
                    break
                self._clients.wait_for(self._clients.done + 1, TRY_SECONDS)

    def _pause(self) -> None:
        self._clients.wait_for(self._clients.done + PAUSE_STEPS, PAUSE_SECONDS)
