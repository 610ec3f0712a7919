"""The log of an experiment over HTTP: its last lines, and all of it, by its length."""

import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sqlalchemy import insert, make_url

from backend.domain.experiment import Parameters, new_values
from backend.domain.status import Status
from backend.files.outputs import LOG_FOLDER
from backend.store.engine import make_engine
from backend.store.tables import experiment
from bench.figures import Growth, Row
from bench.server import serving

LENGTHS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)  # bytes
QUICK_LENGTHS = LENGTHS[:-1]
KEPT = 10_000_000  # the default of LOG_MAX_BYTES
LINE = b"epoch 12345: loss 0.03125, val_loss 0.03130, 0.02 s".ljust(99) + b"\n"
ROUNDS = 7

Milliseconds = dict[int, tuple[float, float]]  # by length: the last lines, the whole


def rows(quick: bool) -> Iterator[Row]:
    """Yield measurements of the longest log that is kept."""
    tail, whole = measure(QUICK_LENGTHS if quick else LENGTHS)[KEPT]
    log = f"log of {KEPT / 1e6:.0f} MB"
    yield Row(f"last 100 lines of a {log}", f"{tail:.1f} ms")
    yield Row(f"whole {log}", f"{whole:.1f} ms ({KEPT / whole / 1000:.0f} MB/s)")


def growths() -> Iterator[Growth]:
    """Yield how both grow, from the same measurement."""
    figures = measure(LENGTHS)
    series = {
        "?tail=100": [(length, tail) for length, (tail, _) in figures.items()],
        "whole log": [(length, whole) for length, (_, whole) in figures.items()],
    }
    title = "A log: GET /experiments/{id}/logs"
    yield Growth("logs", title, "bytes", "milliseconds", series)


def how() -> str:
    """Return how logs are measured."""
    return f"One client on the loopback, lines of {len(LINE)} bytes, medians of {ROUNDS}."


@cache
def measure(lengths: tuple[int, ...]) -> Milliseconds:
    """Measure logs of these lengths, each of another experiment that has ended."""
    web = [sys.executable, "-m", "backend", "web"]
    with tempfile.TemporaryDirectory() as folder, serving(web, folder) as (url, _):
        engine = make_engine(make_url(f"sqlite:///{folder}/experiments.sqlite3"))
        ended = {"status": Status.SUCCEEDED}
        parameters = Parameters("autoencoder", 0.001, 1, None)
        with engine.begin() as connection:
            rows = [new_values(str(length), parameters) | ended for length in lengths]
            connection.execute(insert(experiment), rows)
        engine.dispose()
        figures = {}
        for length in lengths:
            log = Path(folder, str(length), LOG_FOLDER, "1.log")
            log.parent.mkdir(parents=True)
            log.write_bytes(LINE * (length // len(LINE)))
            whole = f"{url}experiments/{length}/logs"
            figures[length] = milliseconds(f"{whole}?tail=100"), milliseconds(whole)
    return figures


def milliseconds(url: str) -> float:
    """Return the median time of repeated requests of one URL, in milliseconds."""
    times = []
    for _ in range(ROUNDS):
        before = time.perf_counter()
        with urllib.request.urlopen(url) as answer:
            while answer.read(2**20):
                pass
        times.append(time.perf_counter() - before)
    return 1000 * statistics.median(times)
