"""The list of many experiments: compared with the bare driver, and as it grows."""

import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import URL, create_engine, make_url, text

from backend.domain.selection import Cursor
from backend.store.queries import Store
from backend.web.schemas.fields import cursor_text
from bench.databases import mysql
from bench.figures import Growth, Row
from bench.server import requests_per_second, serving

EXPERIMENTS = 1_000_000
NUMBERS = (1000, 10_000, 100_000, 1_000_000)
BATCH = 50_000  # experiments added in one transaction
ROUNDS = 5
REQUESTS = 30
GOAL = 0.8
SORTED_GOAL = 1.3  # times the cost of the newest experiments
BEGIN = datetime(2024, 1, 1, 0, 0, 0, 123456, UTC)
OUR_COMMAND = [sys.executable, "-m", "backend", "web"]
RAW_COMMAND = [
    *(
        sys.executable,
        "-m",
        "gunicorn",
        "--config",
        "gunicorn.conf.py",
        "bench.pages.raw_listing:app",
    ),
]
# One in ten has failed; the order of `updated_at` differs from that of `created_at`.
FILL = """
INSERT INTO experiment (experiment_id, uid, model, learning_rate, epoch, status, attempt, job,
    reason, message, remedy, created_at, updated_at, started_at, finished_at)
WITH RECURSIVE numbers(i) AS (SELECT :begin UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :end)
SELECT {name}, {uid}, 'autoencoder', 0.001, 20,
    CASE i % 10 WHEN 0 THEN 'failed' WHEN 1 THEN 'cancelled' ELSE 'succeeded' END, 1, {job},
    CASE i % 10 WHEN 0 THEN 'out_of_memory' END,
    CASE i % 10 WHEN 0 THEN 'The experiment needed more memory than it may have.' END,
    CASE i % 10 WHEN 0 THEN 'Raise JOB_MEMORY, or choose a smaller data set.' END,
    {created}, {updated}, {created}, {updated}
FROM numbers"""
CREATED, UPDATED = "i", "i + 60 + i * 7919 % 100000"  # seconds after BEGIN
MYSQL = {
    "name": "CONCAT('run-', i)",
    "uid": "LPAD(HEX(i), 32, '0')",
    "job": "CONCAT('autoencoder-run-', i, '-1')",
    **{
        column: f"TIMESTAMP '{BEGIN:%Y-%m-%d %H:%M:%S.%f}' + INTERVAL ({seconds}) SECOND"
        for column, seconds in (("created", CREATED), ("updated", UPDATED))
    },
}
SQLITE = {
    "name": "'run-' || i",
    "uid": "printf('%032x', i)",
    "job": "'autoencoder-run-' || i || '-1'",
    **{
        column: "strftime('%Y-%m-%d %H:%M:%S', "
        f"{int(BEGIN.timestamp())} + {seconds}, 'unixepoch') || '{BEGIN:.%f}'"
        for column, seconds in (("created", CREATED), ("updated", UPDATED))
    },
}


def rows(quick: bool) -> Iterator[Row]:
    """Yield measurements of a long list on each available database, or the first one if quick."""
    number = EXPERIMENTS // 50 if quick else EXPERIMENTS
    names = [*(["mysql"] if "LAB" in os.environ else []), "sqlite"]
    for name in names[:1] if quick else names:
        with database(name) as url:
            fill(url, 0, number)
            yield from _against_raw(name, url, number, quick=quick)
            yield from _sorted(name, url, number, quick=quick)


def _against_raw(name: str, url: URL, number: int, *, quick: bool) -> Iterator[Row]:
    environment = {"DB_URL": url.render_as_string(hide_password=False)}
    with (
        serving(OUR_COMMAND, environment=environment) as (ours, _),
        serving(RAW_COMMAND, environment=environment) as (raw, _),
    ):
        addresses = {
            "raw": raw,
            "first": f"{ours}model?limit=100",
            "middle": f"{ours}model?limit=100&after={after(number // 2)}",
            "last": f"{ours}model?limit=100&after={after(100)}",
        }
        rates: dict[str, list[float]] = {page: [] for page in addresses}
        for _ in range(1 if quick else ROUNDS):
            for page, address in addresses.items():
                rates[page].append(requests_per_second(address, quick=quick))
    for page, limit in (("first", "raw"), ("middle", "first"), ("last", "first")):
        ratio = statistics.median(a / b for a, b in zip(rates[page], rates[limit], strict=True))
        against = "raw driver and orjson" if limit == "raw" else "our first page"
        yield Row(
            f"100 of {number:,} experiments, {page} page, {name}",
            f"{statistics.median(rates[page]):,.0f} requests/s",
            f"{statistics.median(rates[limit]):,.0f} requests/s, {against}",
            ratio,
            *((f">= {GOAL}", ratio >= GOAL) if name == "mysql" or limit == "first" else ()),
        )


def _sorted(name: str, url: URL, number: int, *, quick: bool) -> Iterator[Row]:
    """Yield the cost of a page that is sorted by a metric, relative to the newest experiments."""
    fill_metrics(url)
    environment = {"DB_URL": url.render_as_string(hide_password=False)}
    with serving(OUR_COMMAND, environment=environment) as (ours, _):
        addresses = {
            "newest first": f"{ours}experiments?limit=100",
            "by a metric": f"{ours}experiments?limit=100&sort=metrics.val_loss.min",
            "by a metric, filtered": f"{ours}experiments?limit=100&sort=metrics.val_loss.min"
            "&where=learning_rate%3C0.01",
            "by a parameter": f"{ours}experiments?limit=100&sort=learning_rate",
        }
        costs: dict[str, list[float]] = {page: [] for page in addresses}
        for _ in range(1 if quick else ROUNDS):
            for page, address in addresses.items():
                costs[page].append(milliseconds(address))
    newest = costs.pop("newest first")
    for page, times in costs.items():
        ratio = statistics.median(a / b for a, b in zip(times, newest, strict=True))
        yield Row(
            f"100 of {number:,} experiments, {page}, {name}",
            f"{statistics.median(times):.2f} ms",
            f"{statistics.median(newest):.2f} ms, newest first",
            ratio,
            f"<= {SORTED_GOAL}",
            ratio <= SORTED_GOAL,
        )


def growths() -> Iterator[Growth]:
    """Yield the cost of pages by the length of the list, on MySQL if available."""
    name = "mysql" if "LAB" in os.environ else "sqlite"
    series: dict[str, list[tuple[float, float]]] = {}
    filled = 0
    with database(name) as url:
        for number in NUMBERS:
            fill(url, filled, number)
            filled = number
            environment = {"DB_URL": url.render_as_string(hide_password=False)}
            with serving(OUR_COMMAND, environment=environment) as (ours, _):
                for label, path in _paths(number).items():
                    cost = milliseconds(f"{ours}{path}")
                    series.setdefault(label, []).append((number, cost))
    title = f"Pages of the list, {name}"
    yield Growth("listing", title, "experiments", "milliseconds per request", series)


def _paths(number: int) -> dict[str, str]:
    """Return the paths whose cost is plotted, by label."""
    return {
        "GET /model": "model",
        "last page": f"model?after={after(100)}",
        "one status": "experiments?status=failed",
        "two statuses, by updated_at": "experiments?status=failed,cancelled&sort=-updated_at",
        "q without a match": "experiments?q=nothing",
        "GET /ui": "ui",
    }


def how() -> str:
    """Return how the list is measured."""
    return (
        "The raw driver is a WSGI function under the same gunicorn: one statement with the default "
        "driver, rows to dicts, orjson; it takes no parameters and checks nothing. We can be "
        "faster, because we do not use the driver's conversion of times, which is a regular "
        f"expression. Medians of {ROUNDS} alternating rounds; in the plot, of {REQUESTS} requests "
        "one after the other."
    )


@contextmanager
def database(name: str) -> Iterator[URL]:
    """Provide an empty database with our tables, `mysql` or `sqlite`."""
    with ExitStack() as stack:
        if name == "mysql":
            url = make_url(stack.enter_context(mysql("bench_listing")))
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            url = URL.create("sqlite", database=f"{folder}/experiments.sqlite3")
        store = Store(url)
        store.prepare()
        store.close()
        yield url


def fill(url: URL, begin: int, end: int) -> None:
    """Insert the experiments `begin` to `end` (exclusive), created a second apart."""
    is_server = url.get_backend_name() != "sqlite"
    statement = text(FILL.format(**(MYSQL if is_server else SQLITE)))
    engine = create_engine(url)
    with engine.connect() as connection:
        if is_server:
            connection.execute(text(f"SET SESSION cte_max_recursion_depth = {BATCH}"))
        for first in range(begin, end, BATCH):
            connection.execute(statement, {"begin": first, "end": min(end, first + BATCH)})
            connection.commit()
        connection.execute(text("ANALYZE TABLE experiment" if is_server else "ANALYZE"))
        connection.commit()
    engine.dispose()


def fill_metrics(url: URL) -> None:
    """Add the summary of one metric to every experiment, in another order than they are in."""
    is_sqlite = url.get_backend_name() == "sqlite"
    value = "(((id * 7919) % 1000003) / 1000003.0)"  # || of SQLite binds more tightly than /
    parts = f":begin, {value}, :middle, {value}, :end"
    content = " || ".join(parts.split(", ")) if is_sqlite else f"CONCAT({parts})"
    texts = {
        "begin": '{"val_loss":{"last":',
        "middle": ',"last_epoch":20,"min":',
        "end": ',"min_epoch":18,"max":1.0,"max_epoch":1}}',
    }
    metrics = f"""
        INSERT INTO metric (experiment, name, last, min, max)
        SELECT id, 'val_loss', {value}, {value}, 1.0 FROM experiment"""
    summaries = f"""
        INSERT INTO metric_summaries (experiment, attempt, is_final, version, content)
        SELECT id, 1, 1, 'bench', {content} FROM experiment"""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(metrics))
        connection.execute(text(summaries), texts)
        connection.execute(text("ANALYZE" if is_sqlite else "ANALYZE TABLE metric"))
    engine.dispose()


def milliseconds(url: str, requests: int = REQUESTS) -> float:
    """Return the median time of repeated requests of one URL, in milliseconds."""
    times = []
    for _ in range(requests):
        before = time.perf_counter()
        with urllib.request.urlopen(url) as response:
            response.read()
        times.append(time.perf_counter() - before)
    return 1000 * statistics.median(times)


def after(number: int) -> str:
    """Return the cursor of the page that follows the experiment of that number."""
    return cursor_text(Cursor(BEGIN + timedelta(seconds=number), 1))
