"""Ray's job server: memory, start, and a job that does nothing, from submission to end.

Both run on this machine only. Ray's job is `true` in a shell, ours is an empty Python program. The
client polls every 10 ms for the end.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.figures import Row
from bench.peers.cluster import doing_nothing
from bench.peers.programs import Program, ask, in_turn, ratio, running
from bench.server import free_address

BIN = Path(__file__).with_name(".venv-ray") / "bin"
POLL_SECONDS = 0.01
JOB_SECONDS = 120
ROUNDS, QUICK_ROUNDS = 15, 3
STARTS, QUICK_STARTS = 3, 1
LOCAL = {"LAUNCHER": "local"}


def rows(quick: bool) -> Iterator[Row]:
    """Yield the comparisons."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as ray_folder:
        starts = [partial(ours, folder), partial(theirs, ray_folder)]
        seconds = [partial(start_seconds, start) for start in starts]
        seconds[0]()  # migrates
        mine, its = in_turn(QUICK_STARTS if quick else STARTS, *seconds)
        yield Row(
            "start to first answer, migrated SQLite",
            f"{median(mine):.2f} s",
            f"Ray head: {median(its):.1f} s",
            ratio(its, mine),
        )
        with starts[0]() as our_server, starts[1]() as their_server:
            (size, processes), (its_size, its_processes) = our_server.idle, their_server.idle
            yield Row(
                "idle memory (PSS) on SQLite",
                f"{size:.0f} MB in {processes} processes",
                f"Ray head: {its_size:,.0f} MB in {its_processes}",
                its_size / size,
            )
            rounds = QUICK_ROUNDS if quick else ROUNDS
            yield contest("a local process", our_server, their_server, rounds)
            if "KUBECONFIG" in os.environ:
                with (
                    tempfile.TemporaryDirectory() as separate,  # no Jobs in the first server's
                    doing_nothing() as environment,
                    ours(separate, "backend", environment) as server,
                ):
                    yield contest("a Job of Kubernetes", server, their_server, rounds)


def contest(what: str, our_server: Program, their_server: Program, rounds: int) -> Row:
    """Compare experiments that do nothing with such jobs of Ray, after a warm-up."""
    jobs = [partial(our_experiment, our_server.url), partial(their_job, their_server.url)]
    in_turn(1, *jobs)
    mine, its = in_turn(rounds, *jobs)
    return Row(
        "an experiment that does nothing, from submission to end",
        f"{median(mine):.2f} s ({what})",
        f"Ray: {median(its):.2f} s (a job)",
        ratio(its, mine),
    )


def ours(
    folder: str, module: str = "bench.peers.serve", environment: Mapping[str, str] = LOCAL
) -> AbstractContextManager[Program]:
    """Run our server, web and reconciler, by default with a trainer that exits at once."""
    address = free_address()
    places = dict.fromkeys(("DATA_DIR", "INPUT_DIR", "OUTPUT_DIR"), folder)
    command = [sys.executable, "-m", module, "serve"]
    where = {"BIND": address, **places, **environment}
    return running(command, f"http://{address}/", "readyz", where)


def theirs(folder: str) -> AbstractContextManager[Program]:
    """Run a Ray head with its job server, without telemetry."""
    (_, _, port), (_, _, control) = (free_address().rpartition(":") for _ in range(2))
    command = [str(BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats"]
    command += ["--node-ip-address=127.0.0.1", f"--port={control}", f"--temp-dir={folder}"]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={port}"]
    return running(command, f"http://127.0.0.1:{port}/", "api/jobs/", {})


def start_seconds(start: Callable[[], AbstractContextManager[Program]]) -> float:
    """Start and stop a server; return the seconds to its first answer."""
    with start() as program:
        return program.start_seconds


def our_experiment(url: str) -> float:
    """Return the seconds from an experiment's submission until it has succeeded."""
    begin = time.perf_counter()
    name = f"nothing-{time.time_ns()}"
    ask(f"{url}test", {"experiment_id": name, "learning_rate": 0.001, "epoch": 1})
    return until(lambda: ask(f"{url}experiments/{name}"), "succeeded", begin)


def their_job(url: str) -> float:
    """Return the seconds from a Ray job's submission until it has succeeded."""
    begin = time.perf_counter()
    job = ask(f"{url}api/jobs/", {"entrypoint": "true"})["submission_id"]
    return until(lambda: ask(f"{url}api/jobs/{job}"), "SUCCEEDED", begin)


def until(look: Callable[[], Any], wanted: str, begin: float) -> float:
    """Poll until the status is as wanted; return the seconds since `begin`.

    Raises:
        RuntimeError: it fails, or takes too long.
    """
    while (seen := look())["status"] != wanted:
        if time.perf_counter() - begin > JOB_SECONDS or seen["status"].lower() == "failed":
            raise RuntimeError(f"a program that does nothing has not succeeded: {seen}")
        time.sleep(POLL_SECONDS)
    return time.perf_counter() - begin
