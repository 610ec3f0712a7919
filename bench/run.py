"""`make bench`: measure everything, print one table, write it into docs/performance.md.

QUICK=1 takes fewer rounds. KUBECONFIG adds the lines that need a cluster.
"""

import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench import reconcile, results, server

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"

Row = tuple[str, str, str]


def main() -> None:
    """Run the suite."""
    quick = os.environ.get("QUICK") == "1"
    rows: list[Row] = []
    for row in measure(quick):
        print(f"{row[0]:<58} {row[1]:<34} goal {row[2]}", flush=True)
        rows.append(row)
    text = PAGE.read_text()
    head, _, rest = text.partition(BEGIN)
    PAGE.write_text(head + BEGIN + table(rows) + END + rest.partition(END)[2])


def measure(quick: bool) -> Iterator[Row]:
    """Measure one line after the other."""
    ratio, ours, bare = server.hello_ratio(quick)
    yield (
        "`GET /` against a bare Flask route, same gunicorn",
        f"{ratio:.2f} ({ours:,.0f} and {bare:,.0f} requests/s)",
        ">= 0.9",
    )
    for role in ("web", "serve"):
        yield (
            f"start to ready, `{role}`, migrated SQLite",
            f"{server.start_seconds(role, quick):.2f} s",
            "<= 2 s",
        )
    size, processes = server.idle_megabytes()
    yield (
        "idle memory (PSS), web with 2 workers + reconcile, local runs",
        f"{size:.0f} MB in {processes} processes",
        "< 160 MB",
    )
    if "KUBECONFIG" in os.environ:
        cluster = {"LAUNCHER": "kubernetes", "AE_MODEL_IMAGE_URL": "autoencoder"}
        size, processes = server.idle_megabytes(cluster)
        yield (
            "idle memory (PSS), the same, Kubernetes",
            f"{size:.0f} MB in {processes} processes",
            "< 230 MB",
        )
        yield from reconcile.rows(quick)
    yield from results.rows(quick)
    yield from trainer_rows(quick)
    before = time.perf_counter()
    demo = [sys.executable, str(ROOT / "tools" / "demo.py")]
    subprocess.run(demo, check=True, stdout=subprocess.DEVNULL)
    yield "`make demo`, once installed", f"{time.perf_counter() - before:.1f} s", "< 90 s"


def trainer_rows(quick: bool) -> Iterator[Row]:
    """Measure an epoch of the trainer; `trainer.py` says against what."""
    command = [sys.executable, str(ROOT / "bench" / "trainer.py"), "--json"]
    command += ["--rounds", "2" if quick else "7"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for data, contenders in json.loads(text).items():
        for name, figures in contenders.items():
            faster, epoch = figures["trainer_is_faster_by"], figures["epoch_ms"]
            if name == "trainer":
                yield f"an epoch of the trainer, {data}", f"{epoch:.1f} ms", ""
            else:
                goal = ">= 1.3" if name == "dataloader" else ""
                what = f"the same network by `{name}`, {data}: how much slower"
                yield what, f"{faster:.2f} ({epoch:.1f} ms)", goal


def table(rows: list[Row]) -> str:
    """Write the rows, and what they were taken on, as Markdown."""
    lines = ["| what | figure | goal |", "|---|---|---|"]
    lines += [f"| {what} | {figure} | {goal} |" for what, figure, goal in rows]
    today = datetime.datetime.now(datetime.UTC).date()
    lines += ["", f"Taken {today} with {os.cpu_count()} cores, {platform.platform()},"]
    lines += [f"Python {platform.python_version()}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
