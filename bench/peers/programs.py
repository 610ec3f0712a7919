"""Programs under measurement: start, load, memory and end."""

import json
import os
import re
import signal
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from bench.server import ROOT, answers, proportional_kilobytes

CONNECTIONS = 8
START_SECONDS = 240
END_SECONDS = 30
IDLE_SECONDS = 10  # a program may still start workers after its first answer


@dataclass(frozen=True)
class Program:
    """A running server.

    Attributes:
        url: Its URL, with a trailing slash.
        start_seconds: From its start to its first answer.
        pid: Its main process.
    """

    url: str
    start_seconds: float
    pid: int

    @cached_property
    def idle(self) -> tuple[float, int]:
        """Megabytes (proportional set size) and number of processes without requests."""
        time.sleep(IDLE_SECONDS)
        sizes = [proportional_kilobytes(pid) for pid in (self.pid, *below(self.pid))]
        return sum(sizes) / 1000, len(sizes)


@contextmanager
def running(
    command: Sequence[str], url: str, ready: str, environment: Mapping[str, str]
) -> Iterator[Program]:
    """Run a server during the block; `ready` is the path that answers once it is ready.

    Raises:
        RuntimeError: the server exits, or does not answer in time.
    """
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            while not answers(f"{url}{ready}"):
                late = time.perf_counter() - begin > START_SECONDS
                if late or process.poll() is not None:
                    output.seek(0)
                    name = Path(command[0]).name  # the rest may hold a password
                    raise RuntimeError(f"{name} does not serve: {output.read().decode()}")
                time.sleep(0.01)
            yield Program(url, time.perf_counter() - begin, process.pid)
        finally:
            end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Terminate a program and all its descendants."""
    started = below(process.pid)
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in started:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def below(pid: int) -> list[int]:
    """Return the ids of all descendants of a process, whichever thread has started them."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # the process has ended
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for ancestor in found:
        found += [child for child, parent in parents.items() if parent == ancestor]
    return found[1:]


def requests_per_second(
    url: str, seconds: float, *, body: str | None = None, may_fail: bool = False
) -> float:
    """Load a URL over keep-alive connections, and return the successful requests per second.

    If an answer takes less than `seconds`, wrk loads the URL for that time; otherwise each
    connection sends a single request.

    Args:
        url: The URL.
        seconds: Duration of the load.
        body: JSON to be posted; `{n}` in it is replaced by another number in each request.
        may_fail: Whether one request, or one in a hundred, may fail; it is not counted.

    Raises:
        RuntimeError: more requests have failed than may.
    """
    before = time.perf_counter()
    succeeds(url, body)
    if time.perf_counter() - before > seconds:
        return one_each(url, body, may_fail=may_fail)
    script = "" if body is None else post_script(body)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "post.lua")
        file.write_text(script)
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "--timeout=60s"]
        command += ["-s", str(file), url] if script else [url]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"(\d+) requests in .*?Requests/sec:\s+([\d.]+)", text, re.DOTALL)
    if found is None or "Socket errors" in text:
        raise RuntimeError(text)
    answers, rate = int(found[1]), float(found[2])
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    failures = int(failed[1]) if failed else 0
    if failures > (max(1, answers // 100) if may_fail else 0):
        raise RuntimeError(text)
    if answers < CONNECTIONS:
        return one_each(url, body, may_fail=may_fail)
    return rate * (answers - failures) / answers


def one_each(url: str, body: str | None, *, may_fail: bool) -> float:
    """Send one request per connection, all at once; return the successes per second.

    Raises:
        RuntimeError: a request has failed, or more than one if one may fail.
    """
    before = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        successes = sum(pool.map(lambda _: succeeds(url, body), range(CONNECTIONS)))
    if successes < CONNECTIONS - may_fail:
        raise RuntimeError(f"only {successes} of {CONNECTIONS} requests have succeeded")
    return successes / (time.perf_counter() - before)


def succeeds(url: str, body: str | None) -> bool:
    """GET a URL, or POST JSON to it; return whether the request succeeds."""
    try:
        ask(url, body and json.loads(body.replace("{n}", str(time.time_ns()))))
    except HTTPError:
        return False
    return True


def post_script(body: str) -> str:
    """Return a script with which wrk posts the body."""
    script = 'wrk.method = "POST"; wrk.headers["Content-Type"] = "application/json"\n'
    if "{n}" not in body:
        return f"{script}wrk.body = {json.dumps(body)}\n"
    before, _, after = (json.dumps(part) for part in body.partition("{n}"))
    return (
        f"{script}local number = {time.time_ns() // 1000 % 10**12}\n"
        "request = function() number = number + 1; return wrk.format(nil, nil, nil, "
        f'{before} .. string.format("%d", number) .. {after}) end\n'
    )


def ask(url: str, body: Any = None) -> Any:
    """GET a URL, or POST JSON to it; return the JSON of the answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def in_turn(rounds: int, *works: Any) -> list[list[float]]:
    """Alternate between works; return the figures of each, round by round."""
    figures: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, found in zip(works, figures, strict=True):
            found.append(work())
    return figures


def ratio(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
