"""Polls of a long curve, without HTTP.

Measured in processor time, on which other work on the machine has less influence.
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

NAME = "digits"
EPOCHS = 100_000
NEW_EPOCHS = 10  # between two polls
LENGTHS = (1000, 10_000, 100_000, 1_000_000)
ROUNDS = 9
GOAL_MILLISECONDS = 20


class GrowingCurve:
    """The curve of an experiment with three metrics, to which epochs are appended.

    Attributes:
        curves: The service that reads it.
    """

    def __init__(self, folder: str, epochs: int) -> None:
        """Create the curve in an empty folder, with this number of epochs."""
        self._file = Path(folder, NAME, METRICS_FILE)
        self._file.parent.mkdir()
        self._random = random.Random(0)
        self._epochs = 0
        self.write(epochs)
        self.curves = Curves(Outputs(Path(folder)))

    def write(self, epochs: int = NEW_EPOCHS) -> None:
        """Append this number of epochs."""
        with self._file.open("a") as out:
            for epoch in range(self._epochs + 1, self._epochs + 1 + epochs):
                row = {name: self._random.random() for name in ("loss", "val_loss", "seconds")}
                out.write(json.dumps({"epoch": epoch} | row) + "\n")
        self._epochs += epochs

    def poll(self, *, since_epoch: int = -1, max_points: int | None = None) -> bytes:
        """Read and serialise the curve as the route does."""
        curve = self.curves.read(NAME, since_epoch=since_epoch, max_points=max_points)
        return orjson.dumps([curve.epochs, curve.series])


def rows(quick: bool) -> Iterator[Row]:
    """Yield the measurements; they are fast even without `quick`."""
    with tempfile.TemporaryDirectory() as folder:
        curve = GrowingCurve(folder, EPOCHS)

        def row(what: str, figure: float) -> Row:
            goal, met = f"< {GOAL_MILLISECONDS} ms", figure < GOAL_MILLISECONDS
            return Row(f"{EPOCHS:,} epochs, {what}", f"{figure:.1f} ms", goal=goal, met=met)

        poll = partial(curve.poll, max_points=500)
        yield row("500 points, first poll", milliseconds(poll, 1))
        yield row("500 points, 10 epochs later", milliseconds(poll, before=curve.write))
        new = partial(curve.poll, since_epoch=EPOCHS)
        yield row("only new epochs", milliseconds(new, before=curve.write))
        yield row("unchanged (304)", milliseconds(lambda: curve.curves.version(NAME)))
        yield Row(f"{EPOCHS:,} epochs, every point", f"{milliseconds(curve.poll):.1f} ms")


def growths() -> Iterator[Growth]:
    """Yield the cost of polls by the length of the curve."""
    series: dict[str, list[tuple[float, float]]] = {
        "500 points, first poll": [],
        "500 points, 10 epochs later": [],
        "every point": [],
    }
    first, later, every = series.values()
    for length in LENGTHS:
        with tempfile.TemporaryDirectory() as folder:
            curve = GrowingCurve(folder, length)
            poll = partial(curve.poll, max_points=500)
            first.append((length, milliseconds(poll, 1)))
            later.append((length, milliseconds(poll, before=curve.write)))
            every.append((length, milliseconds(curve.poll, 3)))
    title = "A curve: GET /experiments/{id}/metrics"
    yield Growth("curves", title, "epochs of three metrics", "milliseconds of CPU time", series)


def how() -> str:
    """Return how curves are measured."""
    return f"CPU time without HTTP, medians of {ROUNDS}; the first poll is measured once."


def milliseconds(
    work: Callable[[], object], rounds: int = ROUNDS, before: Callable[[], None] = lambda: None
) -> float:
    """Return the median CPU time of some rounds in milliseconds, each after a call of `before`."""
    times = []
    for _ in range(rounds):
        before()
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return 1000 * statistics.median(times)
