"""The server: requests a second against a bare Flask route, time to ready, memory when idle."""

import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = 3
ROUNDS = 7
CONNECTIONS = 16
START_ROUNDS = 5
IDLE_SECONDS = 3


def hello_ratio(quick: bool) -> tuple[float, float, float]:
    """Load `GET /` and the bare route in turn.

    Returns:
        The median of the ratios ours / bare, and the median requests per second of both.
    """
    ours, bare = [], []
    gunicorn = [sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py"]
    with (
        serving([sys.executable, "-m", "backend", "web"]) as (our_url, _),
        serving([*gunicorn, "bench.bare:app"]) as (bare_url, _),
    ):
        for _ in range(3 if quick else ROUNDS):
            ours.append(requests_per_second(our_url))
            bare.append(requests_per_second(bare_url))
    ratios = [mine / theirs for mine, theirs in zip(ours, bare, strict=True)]
    return statistics.median(ratios), statistics.median(ours), statistics.median(bare)


def start_seconds(role: str, quick: bool) -> float:
    """Measure from starting `python -m backend ROLE` to its first answer, database migrated."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(1 + (2 if quick else START_ROUNDS)):  # the first one migrates
            with serving([sys.executable, "-m", "backend", role], folder) as (_, seconds):
                times.append(seconds)
    return statistics.median(times[1:])


def idle_megabytes(environment: dict[str, str] | None = None) -> tuple[float, int]:
    """Add up the proportional set size of an idle `serve`: web with two workers, and reconcile.

    Returns:
        Megabytes, and the number of processes.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "backend", "serve"]
        with serving(command, folder, environment):  # migrates
            pass
        with serving(command, folder, environment) as (url, _):
            for _ in range(50):
                with urllib.request.urlopen(url) as response:
                    response.read()
            time.sleep(IDLE_SECONDS)
            sizes = [proportional_kilobytes(pid) for pid in family(os.getpid())]
    return sum(sizes) / 1000, len(sizes)


@contextmanager
def serving(
    command: list[str], folder: str | None = None, environment: dict[str, str] | None = None
) -> Iterator[tuple[str, float]]:
    """Run a server in `folder` until the end of the block.

    Yields:
        Its URL, and the seconds from its start to its first answer.
    """
    with tempfile.TemporaryDirectory() as fresh, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        data = folder or fresh
        free.close()
        url = f"http://127.0.0.1:{port}/"
        settings = {
            "BIND": f"127.0.0.1:{port}",
            "DATA_DIR": data,
            "INPUT_DIR": data,
            "OUTPUT_DIR": data,
        }
        before = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | settings | (environment or {}),
            stderr=subprocess.DEVNULL,
        )
        try:
            while not answers(f"{url}readyz" if "backend" in command else url):
                if process.poll() is not None:
                    raise RuntimeError(f"{command} has ended with {process.returncode}")
                time.sleep(0.005)
            yield url, time.perf_counter() - before
        finally:
            process.terminate()
            process.wait()


def free_address() -> str:
    """Name an address of this machine at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def answers(url: str) -> bool:
    """Tell whether a server answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def requests_per_second(url: str) -> float:
    """Load one URL over keep-alive connections with wrk."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise RuntimeError("wrk is missing: install Debian's package wrk")
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(text)
    match = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if match is None:
        raise RuntimeError(text)
    return float(match[1])


def family(pid: int) -> list[int]:
    """List all processes below `pid`."""
    return [one for child in children(pid) for one in (child, *family(child))]


def children(pid: int) -> list[int]:
    """List the processes that `pid` has started."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def proportional_kilobytes(pid: int) -> int:
    """Read the proportional set size: shared pages count for each sharer's part."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    match = re.search(r"^Pss:\s+(\d+) kB", text, flags=re.MULTILINE)
    return int(match[1]) if match else 0
