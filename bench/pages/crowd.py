"""A crowd of clients that hold connections open, while others want to be answered at once."""

import http.client
import os
import resource
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlencode

from bench.figures import Row
from bench.server import ROOT, answers, free_address

SILENT, HALF, SLOW = 1000, 200, 150
SLOW_RATE = 2000  # bytes per second that a slow client reads
RECEIVE_BUFFER = 4096  # so that the system does not read in a slow client's place
FILE_BYTES = 50_000_000
ASKED, QUICK_ASKED = 300, 30
PAUSE_SECONDS = 0.05
HEALTH_IDLE = 1018
HALF_HEAD = b"POST /test HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
DOWNLOAD = b"GET /inputs/large.csv HTTP/1.1\r\nHost: localhost\r\n\r\n"


def rows(quick: bool) -> Iterator[Row]:
    """Yield the times to an answer, alone and within the crowd."""
    _, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(highest, 8192), highest))
    number = QUICK_ASKED if quick else ASKED
    with serving() as (address, health):
        alone = [percentile(times(ask, number)) for ask in asks(address, health)]
        with crowd(address, health):
            within = [percentile(times(ask, number)) for ask in asks(address, health)]
    names = ("`GET /healthz`", "`POST /test`", "`GET /healthz` of the reconciler")
    for name, seconds, before, goal in zip(names, within, alone, (0.5, 2.0, 0.5), strict=True):
        yield Row(
            f"{name}, 99th percentile",
            f"{seconds * 1000:.0f} ms",
            f"{before * 1000:.0f} ms, without the crowd",
            goal=f"<= {goal} s",
            met=seconds <= goal,
        )


def how() -> str:
    """Return how the crowd is made."""
    return (
        f"`serve` with SQLite, {SILENT:,} connections that send nothing, {HALF} that send half a "
        f"head again whenever they are disconnected, and {SLOW} that read a download at "
        f"{SLOW_RATE / 1000:.0f} kB/s; {HEALTH_IDLE:,} idle connections to `HEALTH_BIND`. "
        f"{ASKED} requests of each kind, each over a connection of its own; the form is the same "
        "each time, so that nothing starts."
    )


@contextmanager
def serving() -> Iterator[tuple[str, str]]:
    """Run `serve` during the block, and yield its address and the reconciler's."""
    address, health = free_address(), free_address()
    with tempfile.TemporaryDirectory() as folder:
        with Path(folder, "large.csv").open("wb") as file:
            file.truncate(FILE_BYTES)
        variables = dict.fromkeys(("DATA_DIR", "INPUT_DIR", "OUTPUT_DIR"), folder)
        variables |= {"BIND": address, "HEALTH_BIND": health, "LAUNCHER": "local"}
        process = subprocess.Popen(
            [sys.executable, "-m", "backend", "serve"],
            cwd=ROOT,
            env=os.environ | variables,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not (answers(f"http://{address}/readyz") and answers(f"http://{health}/readyz")):
                if process.poll() is not None:
                    raise RuntimeError(f"serve exited with {process.returncode}")
                time.sleep(0.05)
            yield address, health
        finally:
            process.terminate()
            process.wait()


def asks(address: str, health: str) -> tuple[Callable[[int], None], ...]:
    """Return the requests that are timed; each takes a number."""
    form = urlencode({"experiment_id": "crowd", "learning_rate": "0.001", "epoch": "1"})
    _ask(address, "POST", "/test", form)
    return (
        lambda _number: _ask(address, "GET", "/healthz"),
        lambda _number: _ask(address, "POST", "/test", form),  # the same again: nothing starts
        lambda _number: _ask(health, "GET", "/healthz"),
    )


def _ask(address: str, method: str, path: str, body: str | None = None) -> None:
    connection = http.client.HTTPConnection(address, timeout=120)
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status not in (200, 201):
        raise RuntimeError(f"{method} {path} was answered {answer.status}")


def times(ask: Callable[[int], None], number: int) -> list[float]:
    """Ask so often, and return the seconds that each answer took."""
    taken = []
    for one in range(number):
        before = time.perf_counter()
        ask(one)
        taken.append(time.perf_counter() - before)
        time.sleep(PAUSE_SECONDS)
    return taken


def percentile(seconds: list[float]) -> float:
    """Return the 99th percentile."""
    return sorted(seconds)[int(0.99 * (len(seconds) - 1))]


@contextmanager
def crowd(address: str, health: str) -> Iterator[None]:
    """Keep the crowd connected during the block."""
    ended = threading.Event()
    threads = [
        threading.Thread(target=_keep, args=(address, number, greeting, rate, ended))
        for number, greeting, rate in (
            (SILENT, b"", 0),
            (HALF, HALF_HEAD, 0),
            (SLOW, DOWNLOAD, SLOW_RATE),
        )
    ]
    threads.append(threading.Thread(target=_keep, args=(health, HEALTH_IDLE, b"", 0, ended)))
    for thread in threads:
        thread.start()
    try:
        time.sleep(5)  # until all are connected
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _keep(address: str, number: int, greeting: bytes, rate: int, ended: threading.Event) -> None:
    """Keep `number` clients connected; one that is disconnected comes again within a second."""
    with ExitStack() as opened:
        poller = opened.enter_context(selectors.DefaultSelector())
        clients: set[socket.socket] = set()
        while not ended.is_set():
            while len(clients) < number and not ended.is_set():
                client = _connect(address, greeting)
                clients.add(client)
                poller.register(client, selectors.EVENT_READ)
            until = time.monotonic() + 1
            for key, _ in poller.select(1):
                client = key.fileobj  # type: ignore[assignment]
                if not _read(client, rate):
                    poller.unregister(client)
                    client.close()
                    clients.discard(client)
            ended.wait(max(0.0, until - time.monotonic()))
        for client in clients:
            client.close()


def _connect(address: str, greeting: bytes) -> socket.socket:
    host, _, port = address.rpartition(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    client.settimeout(60)
    client.connect((host, int(port)))
    client.sendall(greeting)
    return client


def _read(client: socket.socket, size: int) -> bytes:
    """Return what a client reads in a second, or nothing if it was disconnected."""
    try:
        return client.recv(size or 1)
    except OSError:
        return b""
