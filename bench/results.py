"""Results: the poll of a long curve, and pages of a long list, without HTTP.

    python -m bench.results

Processor time, so that other work on the machine counts less.
"""

import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import orjson
from sqlalchemy import URL, create_engine, insert

from backend.outputs import METRICS_FILE, Outputs
from backend.results import Results
from backend.store.pages import Selection
from backend.store.queries import Store
from backend.store.tables import experiment

EPOCHS = 100_000
EXPERIMENTS = 100_000
ROUNDS = 9
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)

Row = tuple[str, str, str]


def rows(quick: bool) -> Iterator[Row]:
    """Measure one line after the other."""
    with tempfile.TemporaryDirectory() as folder:
        yield from curve_rows(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        yield from list_rows(Path(folder), EXPERIMENTS // 10 if quick else EXPERIMENTS)


def curve_rows(folder: Path) -> Iterator[Row]:
    """Measure polls of a curve of three metrics."""
    (folder / "run").mkdir()
    chance = random.Random(0)
    file = folder / "run" / METRICS_FILE

    def write(first: int, number: int) -> None:
        with file.open("a") as out:
            for epoch in range(first, first + number):
                row = {name: chance.random() for name in ("loss", "val_loss", "seconds")}
                out.write(json.dumps({"epoch": epoch} | row) + "\n")

    write(1, EPOCHS)
    results = Results(Outputs(folder))
    epochs = iter(range(EPOCHS + 1, EPOCHS + 1 + 100 * ROUNDS, 10))

    def poll(**options: int) -> bytes:
        curve = results.curve("run", **options)
        return orjson.dumps([curve.epochs, curve.series])

    def poll_new(**options: int) -> Callable[[], bytes]:
        def measured() -> bytes:
            write(next(epochs), 10)
            return poll(**options)

        return measured

    what = f"metrics of a run of {EPOCHS:,} epochs"
    yield f"{what}, 500 points, first poll", milliseconds(lambda: poll(max_points=500), 1), ""
    later = milliseconds(poll_new(max_points=500))
    yield f"{what}, 500 points, 10 epochs later", later, "< 20 ms"
    new = milliseconds(poll_new(since_epoch=EPOCHS))
    yield f"{what}, only what is new", new, "< 20 ms"
    yield f"{what}, unchanged (304)", milliseconds(lambda: results.version("run")), "< 20 ms"
    yield f"{what}, whole", milliseconds(poll), ""


def list_rows(folder: Path, number: int) -> Iterator[Row]:
    """Measure pages of a list in SQLite."""
    url = URL.create("sqlite", database=str(folder / "experiments.sqlite3"))
    store = Store(url)
    store.prepare()
    with create_engine(url).begin() as connection:
        connection.execute(insert(experiment), [values(one) for one in range(number)])
    for sort, statuses in (("-created_at", []), ("-updated_at", ["running", "failed"])):
        selection = Selection(sort=sort, statuses=statuses)
        of = f" of {' and '.join(statuses)}" if statuses else ""
        figure = milliseconds(partial(store.page, limit=100, selection=selection))
        yield f"100 of {number:,} experiments by `{sort}`{of}", figure, ""
    store.close()


def values(number: int) -> dict[str, object]:
    """Make up an experiment."""
    at = BEGIN + timedelta(seconds=number)
    return {
        "experiment_id": f"run {number}",
        "uid": f"{number:032}",
        "model": "autoencoder",
        "learning_rate": 0.001,
        "epoch": 20,
        "status": "failed" if number % 10 == 0 else "succeeded",
        "attempt": 1,
        "job": f"autoencoder-{number}",
        "created_at": at,
        "updated_at": at + timedelta(seconds=number * 7919 % 100_000),
    }


def milliseconds(work: Callable[[], object], rounds: int = ROUNDS) -> str:
    """Give the median processor time of some rounds."""
    times = []
    for _ in range(rounds):
        before = time.process_time()
        work()
        times.append(time.process_time() - before)
    return f"{1000 * statistics.median(times):.1f} ms"


if __name__ == "__main__":
    for row in rows(quick=False):
        print(f"{row[0]:<70} {row[1]:<12} goal {row[2]}", flush=True)
