"""The dashboard's list over very many experiments: bytes, requests, first paint, server time.

    python -m bench.dashboard            # SQLite; DB_URL=mysql://... for another database

A database that is given must be empty: it is filled with EXPERIMENTS experiments.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright
from sqlalchemy import Connection, insert

from backend.records import Parameters, new_values
from backend.settings import Settings
from backend.store.queries import Store
from backend.store.tables import experiment
from bench.server import serving

EXPERIMENTS = 100_000
WITH_CURVES = 200  # the newest; each of EPOCHS epochs
EPOCHS = 1000
BATCH = 5000
ROUNDS = 200
PAGES = ("/ui", "/ui?status=failed", "/ui?q=run-99")
STATUSES = ("succeeded", "succeeded", "succeeded", "failed", "cancelled")


def main() -> None:
    """Fill a database, measure, and print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: os.environ[name] for name in ("DB_URL",) if name in os.environ}
        environment |= {"DATA_DIR": folder, "OUTPUT_DIR": folder, "INPUT_DIR": folder}
        fill(Settings.from_environment(environment))
        with serving([sys.executable, "-m", "backend", "web"], folder, environment) as (url, _):
            base = url.rstrip("/")
            for path in PAGES:
                median, p95 = server_milliseconds(f"{base}{path}")
                print(f"{path:<20} server {median:.1f} ms, p95 {p95:.1f} ms")
            for name, value in browser_figures(f"{base}/ui").items():
                print(f"{name:<20} {value}")


def fill(settings: Settings) -> None:
    """Add the experiments, and the curves of the newest."""
    store = Store(settings.database_url)
    store.prepare()
    rows = list(values())

    def add(connection: Connection) -> None:
        for begin in range(0, EXPERIMENTS, BATCH):
            connection.execute(insert(experiment), rows[begin : begin + BATCH])

    store._write(add)
    store.close()
    lines = "".join(
        f'{{"epoch": {epoch}, "loss": {1 / epoch}, "val_loss": {1.1 / epoch}, "seconds": 0.5}}\n'
        for epoch in range(1, EPOCHS + 1)
    )
    for row in rows[-WITH_CURVES:]:
        run = Path(settings.output_dir, row["experiment_id"])
        run.mkdir(parents=True)
        (run / "metrics.jsonl").write_text(lines)


def values() -> Iterator[dict[str, Any]]:
    """Make the rows, the oldest first."""
    begin = datetime.now(UTC) - timedelta(seconds=EXPERIMENTS)
    for number in range(EXPERIMENTS):
        at = begin + timedelta(seconds=number)
        row = new_values(f"run-{number}", Parameters("autoencoder", 0.001, EPOCHS, None))
        row |= {"uid": uuid.uuid4().hex, "status": STATUSES[number % len(STATUSES)]}
        times = ("created_at", "updated_at", "started_at", "finished_at")
        yield row | dict.fromkeys(times, at)


def server_milliseconds(url: str) -> tuple[float, float]:
    """Load one page again and again: the median and the 95th percentile."""
    times = []
    for _ in range(ROUNDS):
        before = time.perf_counter()
        with urllib.request.urlopen(url) as response:
            response.read()
        times.append(1000 * (time.perf_counter() - before))
    return statistics.median(times), statistics.quantiles(times, n=20)[-1]


def browser_figures(url: str) -> dict[str, str]:
    """Load the list in a browser with nothing cached."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        sizes: list[int] = []
        page.on(
            "requestfinished", lambda request: sizes.append(request.sizes()["responseBodySize"])
        )
        page.goto(url)
        page.wait_for_timeout(1000)
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        browser.close()
    return {
        "requests": f"{len(sizes)} (and the stream of events)",
        "bytes": f"{sum(sizes):,}",
        "first paint": f"{paint:.0f} ms",
    }


if __name__ == "__main__":
    main()
