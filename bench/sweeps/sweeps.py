"""A sweep of many trials: reading it, and suggesting its next one."""

import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from sqlalchemy import make_url

from backend.experiments.services import build
from backend.settings import Settings
from backend.store import schema
from backend.sweeps.samplers import Method, suggest
from backend.sweeps.service import make_sweeps
from bench.figures import Row
from bench.server import serving
from bench.sweeps.sweep_rows import fill

ROOT = Path(__file__).resolve().parents[2]
TRIALS, QUICK_TRIALS = 1000, 200
ROUNDS = 15
READ_MS, ASK_SECONDS = 20, 0.5
FOLDERS = {"DATA_DIR": "data", "INPUT_DIR": "input", "OUTPUT_DIR": "output"}


def rows(quick: bool) -> Iterator[Row]:
    """Yield the times of `GET /sweeps/{id}`, of its page, and of a suggestion of TPE."""
    trials = QUICK_TRIALS if quick else TRIALS
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: f"{folder}/{place}" for name, place in FOLDERS.items()}
        for place in environment.values():
            Path(place).mkdir()
        shutil.copy(ROOT / "input" / "digits.npz", environment["INPUT_DIR"])
        environment["LAUNCHER"] = "local"
        schema.migrate(make_url(f"sqlite:///{environment['DATA_DIR']}/experiments.sqlite3"))
        settings = Settings.from_environment(environment)
        services = build(settings)
        sweeps = make_sweeps(services, settings)
        plan = fill(services, sweeps, "s", trials)
        history = sweeps.trials(sweeps.get("s"))
        services.close()

        def ask() -> None:
            suggest(plan.space, history, 1, trials + 1, method=Method.TPE, goal=plan.goal)

        command = [sys.executable, "-m", "backend", "web"]
        with serving(command, folder, environment) as (url, _):
            for path, goal in (("sweeps/s", READ_MS), ("ui/sweeps/s", None)):
                milliseconds = 1000 * seconds(partial(read, f"{url}{path}"))
                yield Row(
                    f"`GET /{path}`, {trials:,} trials",
                    f"{milliseconds:.0f} ms",
                    goal=f"<= {goal} ms" if goal else "",
                    met=milliseconds <= goal if goal else None,
                )
    asked = seconds(ask)
    yield Row(
        f"a suggestion of `tpe` after {trials:,} trials, outside any transaction",
        f"{asked:.2f} s",
        goal=f"<= {ASK_SECONDS} s",
        met=asked <= ASK_SECONDS,
    )


def read(url: str) -> None:
    """Read a page."""
    with urllib.request.urlopen(url) as answer:
        answer.read()


def seconds(work: Callable[[], None]) -> float:
    """Return the median time of some work, after a first time that is not measured."""
    work()
    found = []
    for _ in range(ROUNDS):
        before = time.perf_counter()
        work()
        found.append(time.perf_counter() - before)
    return statistics.median(found)


def how() -> str:
    """Return how a sweep is measured."""
    return f"Medians of {ROUNDS} rounds, one request at a time, on SQLite."
