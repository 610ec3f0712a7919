"""What both houses share: faults that strike at the planned steps, and what they struck."""

import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.chaos.clients import Clients
from tests.chaos.evidence import Hit
from tests.chaos.plan import Plan
from tests.integration import backend_process

PAUSE_STEPS, PAUSE_SECONDS = 3, 3.0  # for how long something hangs
TRIES, TRY_SECONDS = 20, 0.5  # until there is something of that kind to strike

Pause = Callable[[], None]


class House(ABC):
    """The program with everything around it, and the hands that break it.

    Attributes:
        faults: weights by kind; for each a method of that name.
        addresses: where it serves HTTP.
        outputs: the output folder.
        program: starts the program's roles.
        quiet_seconds: within which every run has to end after the last fault.
        hits: which attempts a fault has struck.
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

    @abstractmethod
    def start(self) -> None:
        """Start everything, and wait until it serves."""

    @abstractmethod
    def heal(self) -> None:
        """Make sure that everything runs that a user would have started."""

    @abstractmethod
    def close(self) -> None:
        """Leave nothing behind."""

    def jobs(self) -> dict[str, int] | None:
        """Say how many Jobs of each name were ever created; None where there are no Jobs."""
        return None

    def differences(self) -> list[str]:
        """Ask the program itself where its database, the folders and the Jobs differ."""
        asked = self.program.start("rebuild --check")
        asked.exit_code()
        *differences, count = asked.stdout.splitlines() or [asked.stderr]
        return differences if count.startswith(f"{len(differences)} ") else [count]


class Breaker:
    """Follows the plan's faults while the clients work."""

    def __init__(self, plan: Plan, house: House, clients: Clients) -> None:
        self._plan, self._house, self._clients = plan, house, clients
        self.broken: Counter[str] = Counter()

    def run(self) -> None:
        """Break one thing after the other, each when so many steps have been done."""
        for number, fault in enumerate(self._plan.faults):
            self._clients.wait_for(fault.at)
            draw = random.Random(f"{self._plan.seed} {number}")
            strike = getattr(self._house, fault.kind)
            for _ in range(TRIES):
                if strike(draw, self._pause):
                    self.broken[fault.kind] += 1
                    break
                self._clients.wait_for(self._clients.done + 1, TRY_SECONDS)

    def _pause(self) -> None:
        self._clients.wait_for(self._clients.done + PAUSE_STEPS, PAUSE_SECONDS)
