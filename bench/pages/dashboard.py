"""The dashboard's list of many experiments: server time, bytes, requests and first paint."""

import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import sync_playwright

from bench.figures import Row
from bench.pages.listing import database, fill
from bench.server import serving

EXPERIMENTS = 100_000
WITH_CURVES = 200  # the newest experiments have curves of EPOCHS epochs
EPOCHS = 1000
ROUNDS = 200
WARM_UP = 20  # requests, until each web worker has read the curves
PAINTS = 7
PAGES = ("/ui", "/ui?status=failed", "/ui?q=run-99")
GOAL_P95_MS, GOAL_PAINT_MS = 15, 300
GOAL_BYTES, GOAL_REQUESTS = 100_000, 5
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def rows(quick: bool) -> Iterator[Row]:
    """Fill a database, and yield the measurements of its list."""
    with database("sqlite") as url, tempfile.TemporaryDirectory() as folder:
        fill(url, 0, EXPERIMENTS // 10 if quick else EXPERIMENTS)
        write_curves(Path(folder), EXPERIMENTS // 10 if quick else EXPERIMENTS)
        environment = {"DB_URL": url.render_as_string(hide_password=False)}
        with serving([sys.executable, "-m", "backend", "web"], folder, environment) as (base, _):
            for path in PAGES:
                yield server_row(
                    path, f"{base.rstrip('/')}{path}", ROUNDS // 10 if quick else ROUNDS
                )
            yield from browser_rows(f"{base}ui", 2 if quick else PAINTS)


def how() -> str:
    """Return how the list is measured."""
    return (
        f"SQLite, {EXPERIMENTS:,} experiments, {WITH_CURVES} curves of {EPOCHS:,} epochs. Server "
        "time is the time of whole requests, one after the other; the browser is Chromium with an "
        "empty cache and software rendering."
    )


def write_curves(folder: Path, experiments: int) -> None:
    """Write the curves of the newest experiments."""
    lines = "".join(
        f'{{"epoch": {epoch}, "loss": {1 / epoch}, "val_loss": {1.1 / epoch}, "seconds": 0.5}}\n'
        for epoch in range(1, EPOCHS + 1)
    )
    for number in range(experiments - WITH_CURVES, experiments):
        output = folder / f"run-{number}"
        output.mkdir()
        (output / "metrics.jsonl").write_text(lines)


def server_row(path: str, url: str, rounds: int) -> Row:
    """Return the measurement of repeated requests of one page."""
    times = []
    for _ in range(WARM_UP + rounds):
        before = time.perf_counter()
        with urllib.request.urlopen(url) as response:
            response.read()
        times.append(1000 * (time.perf_counter() - before))
    p95 = statistics.quantiles(times[WARM_UP:], n=20)[-1]
    return Row(
        f"`{path}`, server time: median, p95",
        f"{statistics.median(times[WARM_UP:]):.1f} ms, {p95:.1f} ms",
        goal=f"p95 <= {GOAL_P95_MS} ms",
        met=p95 <= GOAL_P95_MS,
    )


def browser_rows(url: str, rounds: int) -> Iterator[Row]:
    """Load the list in a browser with an empty cache, and yield its size and first paint."""
    paints: list[float] = []
    sizes: list[int] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for _ in range(rounds):
            with browser.new_context() as context:
                page = context.new_page()
                sizes.clear()
                page.on(
                    "requestfinished",
                    lambda request: sizes.append(request.sizes()["responseBodySize"]),
                )
                page.goto(url)
                page.wait_for_timeout(1000)
                paints.append(page.evaluate(FIRST_PAINT))
        browser.close()
    total, paint = sum(sizes), statistics.median(paints)
    yield Row(
        "the whole list page",
        f"{total / 1000:.0f} kB in {len(sizes)} requests, and the event stream",
        goal=f"< {GOAL_BYTES // 1000} kB, {GOAL_REQUESTS} requests",
        met=total < GOAL_BYTES and len(sizes) <= GOAL_REQUESTS,
    )
    yield Row(
        "first paint of the list page, empty cache",
        f"{paint:.0f} ms",
        goal=f"< {GOAL_PAINT_MS} ms",
        met=paint < GOAL_PAINT_MS,
    )
