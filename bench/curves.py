"""The poll of a long curve, without HTTP.

Processor time, so that other work on the machine counts less.
"""

import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import orjson

from backend.files.curves import Curves
from backend.files.outputs import METRICS_FILE, Outputs
from bench.figures import Growth, Row

EPOCHS = 100_000
NEW_EPOCHS = 10  # between two polls
LENGTHS = (1000, 10_000, 100_000, 1_000_000)
ROUNDS = 9
GOAL_MILLISECONDS = 20


class Run:
    """A run of three metrics, whose curve grows."""

    def __init__(self, folder: str, epochs: int) -> None:
        """Write so many epochs."""
        self._file = Path(folder, "run", METRICS_FILE)
        self._file.parent.mkdir()
        self._chance = random.Random(0)
        self._epochs = 0
        self.write(epochs)
        self.results = Curves(Outputs(Path(folder)))

    def write(self, epochs: int = NEW_EPOCHS) -> None:
        """Write so many more epochs."""
        with self._file.open("a") as out:
            for epoch in range(self._epochs + 1, self._epochs + 1 + epochs):
                row = {name: self._chance.random() for name in ("loss", "val_loss", "seconds")}
                out.write(json.dumps({"epoch": epoch} | row) + "\n")
        self._epochs += epochs

    def poll(self, **options: int) -> bytes:
        """Read the curve as the route does."""
        curve = self.results.read("run", **options)
        return orjson.dumps([curve.epochs, curve.series])


def rows(quick: bool) -> Iterator[Row]:
    """Measure one line after the other; `quick` takes no less, it is quick."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(folder, EPOCHS)

        def row(what: str, figure: float) -> Row:
            goal, met = f"< {GOAL_MILLISECONDS} ms", figure < GOAL_MILLISECONDS
            return Row(f"{EPOCHS:,} epochs, {what}", f"{figure:.1f} ms", goal=goal, met=met)

        yield row("500 points, first poll", milliseconds(lambda: run.poll(max_points=500), 1))
        later = partial(run.poll, max_points=500)
        yield row("500 points, 10 epochs later", milliseconds(later, before=run.write))
        new = partial(run.poll, since_epoch=EPOCHS)
        yield row("only what is new", milliseconds(new, before=run.write))
        yield row("unchanged (304)", milliseconds(lambda: run.results.version("run")))
        yield Row(f"{EPOCHS:,} epochs, whole", f"{milliseconds(run.poll):.1f} ms")


def growths() -> Iterator[Growth]:
    """Measure polls of shorter and longer curves."""
    series: dict[str, list[tuple[float, float]]] = {
        "500 points, first poll": [],
        "500 points, 10 epochs later": [],
        "whole": [],
    }
    first, later, whole = series.values()
    for length in LENGTHS:
        with tempfile.TemporaryDirectory() as folder:
            run = Run(folder, length)
            poll = partial(run.poll, max_points=500)
            first.append((length, milliseconds(poll, 1)))
            later.append((length, milliseconds(poll, before=run.write)))
            whole.append((length, milliseconds(run.poll, 3)))
    title = "A run's curve: GET /experiments/{id}/metrics"
    yield Growth("metrics", title, "epochs, of three metrics", "milliseconds of processor", series)


def how() -> str:
    """Say how it is measured."""
    return f"Processor time without HTTP, medians of {ROUNDS}; a first poll happens once."


def milliseconds(
    work: Callable[[], object], rounds: int = ROUNDS, before: Callable[[], None] = lambda: None
) -> float:
    """Give the median processor time of some rounds, each after `before`."""
    times = []
    for _ in range(rounds):
        before()
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return 1000 * statistics.median(times)
