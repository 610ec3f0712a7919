"""Programs that are measured: started, loaded, weighed, ended."""

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
IDLE_SECONDS = 10  # after its first answer a program may still start what it works with


@dataclass(frozen=True)
class Program:
    """A server that runs.

    Attributes:
        url: Where it answers, with a slash at the end.
        start_seconds: From its start to its first answer.
        pid: Its first process.
    """

    url: str
    start_seconds: float
    pid: int

    @cached_property
    def idle(self) -> tuple[float, int]:
        """Megabytes (proportional set size) and processes when nothing is asked of it."""
        time.sleep(IDLE_SECONDS)
        sizes = [proportional_kilobytes(pid) for pid in (self.pid, *below(self.pid))]
        return sum(sizes) / 1000, len(sizes)


@contextmanager
def running(
    command: Sequence[str], url: str, ready: str, environment: Mapping[str, str]
) -> Iterator[Program]:
    """Run a server until the end of the block; `ready` is the path of its first answer.

    Raises:
        RuntimeError: it ends, or does not answer in time.
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
    """End a program and all that it has started."""
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
    """List the processes that a process has started, by whichever thread, and that these have."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def requests_per_second(
    url: str, seconds: float, *, body: str | None = None, may_fail: bool = False
) -> float:
    """Load one URL over keep-alive connections; a body, JSON, is posted.

    `{n}` in the body is another number in each request. What answers in less than `seconds` is
    loaded for so long by wrk; of what takes longer, each connection has one answer. What `may_fail`
    may do so once, or once in a hundred; that does not count.

    Raises:
        RuntimeError: it fails, or more often than it may.
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
    """Let each connection ask once, all at a time; give the successes a second.

    Raises:
        RuntimeError: one has failed, or more than one of what may fail.
    """
    before = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        successes = sum(pool.map(lambda _: succeeds(url, body), range(CONNECTIONS)))
    if successes < CONNECTIONS - may_fail:
        raise RuntimeError(f"of {CONNECTIONS} requests only {successes} had success")
    return successes / (time.perf_counter() - before)


def succeeds(url: str, body: str | None) -> bool:
    """GET an URL, or POST it JSON, and tell whether that had success."""
    try:
        ask(url, body and json.loads(body.replace("{n}", str(time.time_ns()))))
    except HTTPError:
        return False
    return True


def post_script(body: str) -> str:
    """Write what lets wrk post."""
    script = 'wrk.method = "POST"; wrk.headers["Content-Type"] = "application/json"\n'
    if "{n}" not in body:
        return f"{script}wrk.body = {json.dumps(body)}\n"
    before, _, after = (json.dumps(one) for one in body.partition("{n}"))
    return (
        f"{script}local number = {time.time_ns() // 1000 % 10**12}\n"
        "request = function() number = number + 1; return wrk.format(nil, nil, nil, "
        f'{before} .. string.format("%d", number) .. {after}) end\n'
    )


def ask(url: str, body: Any = None) -> Any:
    """GET an URL, or POST it JSON; give what the JSON in the answer says."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def in_turn(rounds: int, *works: Any) -> list[list[float]]:
    """Let works take turns; give each one's figures."""
    figures: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, found in zip(works, figures, strict=True):
            found.append(work())
    return figures


def ratio(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """Give the median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
