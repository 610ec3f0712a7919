"""The server: requests per second, instructions, time to start, and memory."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from sqlalchemy import insert, make_url

from backend.domain.experiment import Parameters, new_values
from backend.store.queries import Store
from backend.store.tables import experiment
from bench import instructions
from bench.databases import mysql
from bench.figures import Growth, Row

ROOT = Path(__file__).parents[1]
SECONDS, QUICK_SECONDS = 2, 1  # duration of a load
ROUNDS, QUICK_ROUNDS = 9, 1
CONNECTIONS = 16
MANY_CONNECTIONS = (1, 4, 16, 64, 256)
START_ROUNDS = 5
IDLE_SECONDS = 3
EXPERIMENTS = 1000
REQUESTS = 100_000
WARM_UP = 30_000  # requests, until every thread has a database connection
OURS = [sys.executable, "-m", "backend", "web"]
BARE = [sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py", "bench.bare:app"]
CLUSTER = {"LAUNCHER": "kubernetes", "AE_MODEL_IMAGE_URL": "autoencoder"}


def rows(quick: bool) -> Iterator[Row]:
    """Yield the measurements; MySQL needs LAB, and Kubernetes needs KUBECONFIG."""
    yield hello(quick)
    if not quick:
        yield hello_instructions()
    yield unchanged_list("SQLite", None, quick)
    if "LAB" in os.environ:
        with mysql("bench_server") as url:
            yield unchanged_list("MySQL", url, quick)
    for role, goal in (("web", 1.2), ("reconcile", 1.5)):
        seconds = start_seconds(role, quick)
        what = f"start to ready, `{role}`, migrated SQLite"
        yield Row(what, f"{seconds:.2f} s", goal=f"<= {goal} s", met=seconds <= goal)
    yield idle("local processes", {}, 110, quick)
    if "KUBECONFIG" in os.environ:
        yield idle("Kubernetes", CLUSTER, 180, quick)
    yield growth_over_requests(quick)


def growths() -> Iterator[Growth]:
    """Yield the throughput by the number of keep-alive connections."""
    series: dict[str, list[tuple[float, float]]] = {"`GET /`": [], "a bare Flask route": []}
    with serving(OURS) as (our_url, _), serving(BARE) as (bare_url, _):
        for connections in MANY_CONNECTIONS:
            for url, points in zip((our_url, bare_url), series.values(), strict=True):
                rates = [requests_per_second(url, connections) for _ in range(3)]
                points.append((connections, median(rates)))
    yield Growth(
        "connections", "Throughput by connections", "connections", "requests per second", series
    )


def how() -> str:
    """Return how the server is measured."""
    return (
        f"Load by wrk over {CONNECTIONS} keep-alive connections, {ROUNDS} alternating rounds; both "
        "servers run under the same gunicorn with 2 workers. Instructions are those of the WSGI "
        "app alone. Memory is the proportional set size of all processes together, with the "
        "image's MALLOC_ARENA_MAX."
    )


def hello(quick: bool) -> Row:
    """Compare the throughput of `GET /` and of the bare route."""
    with serving(OURS) as (our_url, _), serving(BARE) as (bare_url, _):
        ratio, ours, bare = in_turn((our_url, {}), (bare_url, {}), quick)
    return Row(
        "`GET /`, requests per second",
        f"{ours:,.0f}",
        f"{bare:,.0f}, a bare Flask route",
        ratio,
        ">= 0.95",
        ratio >= 0.95,
    )


def hello_instructions() -> Row:
    """Compare the instructions of `GET /` and of the bare route."""
    with tempfile.TemporaryDirectory() as folder:
        settings = dict.fromkeys(("DATA_DIR", "INPUT_DIR", "OUTPUT_DIR"), folder)
        ours = instructions.per_request("backend.app:create_app()", "/", environment=settings)
    bare = instructions.per_request("bench.bare:app", "/")
    what, limit = "`GET /`, instructions of the app", f"{bare:,.0f}, a bare Flask route"
    return Row(what, f"{ours:,.0f}", limit, bare / ours)


def unchanged_list(database: str, url: str | None, quick: bool) -> Row:
    """Compare the throughput of the unchanged list (304) and of `GET /`."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"sqlite:///{folder}/experiments.sqlite3"
        store = Store(make_url(url or path).set(drivername="mysql+pymysql" if url else "sqlite"))
        store.prepare()
        parameters = Parameters("autoencoder", 0.001, 20, None)
        values = [new_values(f"run-{number}", parameters) for number in range(EXPERIMENTS)]
        store.database.write(lambda connection: connection.execute(insert(experiment), values))
        store.close()
        with serving(OURS, folder, {"DB_URL": url} if url else None) as (root, _):
            with urllib.request.urlopen(f"{root}model") as response:
                tag = {"If-None-Match": response.headers["ETag"]}
            ratio, ours, limit = in_turn((f"{root}model", tag), (root, {}), quick)
    return Row(
        f"`GET /model`, unchanged (304), {database}, requests per second",
        f"{ours:,.0f}",
        f"{limit:,.0f}, `GET /`",
        ratio,
        ">= 0.6",
        ratio >= 0.6,
    )


def in_turn(
    ours: tuple[str, dict[str, str]], limit: tuple[str, dict[str, str]], quick: bool
) -> tuple[float, float, float]:
    """Load two URLs alternately, each with headers.

    Returns:
        The median of the ratios, and the median requests per second of both.
    """
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(QUICK_ROUNDS if quick else ROUNDS):
        for (url, headers), taken in zip((ours, limit), rates, strict=True):
            taken.append(requests_per_second(url, headers=headers, quick=quick))
    ratios = [mine / theirs for mine, theirs in zip(*rates, strict=True)]
    return median(ratios), median(rates[0]), median(rates[1])


def start_seconds(role: str, quick: bool) -> float:
    """Return the seconds from the start of a role to its first answer, on a migrated database."""
    times = []
    with migrated() as folder:
        for _ in range(1 if quick else START_ROUNDS):
            with serving([sys.executable, "-m", "backend", role], folder) as (_, seconds):
                times.append(seconds)
    return median(times)


def idle(what: str, environment: dict[str, str], goal: int, quick: bool) -> Row:
    """Measure the memory of an idle `serve`: web with two workers, and reconcile."""
    command = [sys.executable, "-m", "backend", "serve"]
    with migrated() as folder, serving(command, folder, environment) as (url, _):
        for _ in range(50):
            with urllib.request.urlopen(url) as response:
                response.read()
        time.sleep(QUICK_SECONDS if quick else IDLE_SECONDS)
        size = megabytes()
    what = f"idle memory, web with 2 workers + reconcile, {what}"
    return Row(what, f"{size:.0f} MB", goal=f"<= {goal} MB", met=size <= goal)


def growth_over_requests(quick: bool) -> Row:
    """Measure how much memory grows over many requests of all kinds, invalid ones included."""
    part = 50 if quick else 1
    number = REQUESTS // part
    with tempfile.TemporaryDirectory() as folder, serving(OURS, folder) as (url, _):
        script = Path(folder, "mixed.lua")
        script.write_text(MIXED)
        load(url, script, WARM_UP // part)
        before = megabytes()
        load(url, script, number)
        grown = megabytes() - before
    what = f"memory growth over {number:,} mixed requests, some invalid"
    return Row(what, f"{grown:.1f} MB", f"{before:.0f} MB before", goal="<= 5 MB", met=grown <= 5)


# Each thread of wrk requests these paths in turn.
MIXED = """
local paths = {"/", "/model", "/experiments/none", "/ui", "/model?limit=x", "/nowhere",
               "/model?q=a", "/healthz", "/experiments/%00", "/ui/experiments/none"}
local number = 0
request = function()
  number = number + 1
  return wrk.format("GET", paths[number % #paths + 1])
end
"""


def load(url: str, script: Path, number: int) -> None:
    """Send at least this number of requests with a script of wrk."""
    sent = 0
    while sent < number:
        text = wrk(url, CONNECTIONS, ["-s", str(script)], QUICK_SECONDS)
        found = re.search(r"(\d+) requests in", text)
        if not found or "Socket errors" in text:
            raise RuntimeError(text)
        sent += int(found[1])


@contextmanager
def migrated() -> Iterator[str]:
    """Provide a folder with a migrated database during the block."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(make_url(f"sqlite:///{folder}/experiments.sqlite3"))
        store.prepare()
        store.close()
        yield folder


@contextmanager
def serving(
    command: list[str], folder: str | None = None, environment: dict[str, str] | None = None
) -> Iterator[tuple[str, float]]:
    """Run a server in `folder` during the block.

    Yields:
        Its URL, and the seconds from its start to its first answer.
    """
    with tempfile.TemporaryDirectory() as fresh, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        data = folder or fresh
        free.close()
        url = f"http://127.0.0.1:{port}/"
        settings = {
            ("HEALTH_BIND" if "reconcile" in command else "BIND"): f"127.0.0.1:{port}",
            "DATA_DIR": data,
            "INPUT_DIR": data,
            "OUTPUT_DIR": data,
            "PYTHONDONTWRITEBYTECODE": "",  # the image contains bytecode
            "MALLOC_ARENA_MAX": "1",  # as in the image
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
                    raise RuntimeError(f"{command} exited with {process.returncode}")
                time.sleep(0.005)
            yield url, time.perf_counter() - before
        finally:
            process.terminate()
            process.wait()


def free_address() -> str:
    """Return a free address of this machine, as HOST:PORT."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def answers(url: str) -> bool:
    """Return whether a GET request is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def requests_per_second(
    url: str,
    connections: int = CONNECTIONS,
    headers: dict[str, str] | None = None,
    *,
    quick: bool = False,
) -> float:
    """Load a URL over keep-alive connections, and return the requests per second."""
    options = [
        part for name, value in (headers or {}).items() for part in ("-H", f"{name}: {value}")
    ]
    text = wrk(url, connections, options, QUICK_SECONDS if quick else SECONDS)
    match = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if match is None or "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(text)
    return float(match[1])


def wrk(url: str, connections: int, options: list[str], seconds: int) -> str:
    """Run wrk, and return its output."""
    program = shutil.which("wrk")
    if program is None:
        raise RuntimeError("wrk is missing: install Debian's package wrk")
    command = [program, "-t1", f"-c{connections}", f"-d{seconds}s", *options, url]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def megabytes() -> float:
    """Return the proportional set size of all running servers, in MB."""
    return sum(map(proportional_kilobytes, with_children(servers()))) / 1000


def servers() -> list[int]:
    """Return the ids of the servers that this process has started, but not of other children."""
    started = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children(os.getpid())}
    return [pid for pid, command in started.items() if b"backend" in command.split(b"\0")]


def with_children(pids: Iterable[int]) -> list[int]:
    """Return the ids of these processes and of all their descendants."""
    return [descendant for pid in pids for descendant in (pid, *with_children(children(pid)))]


def children(pid: int) -> list[int]:
    """Return the ids of the child processes of `pid`."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def proportional_kilobytes(pid: int) -> int:
    """Return the proportional set size: shared pages are divided among their processes."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    match = re.search(r"^Pss:\s+(\d+) kB", text, flags=re.MULTILINE)
    return int(match[1]) if match else 0
