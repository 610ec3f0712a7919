"""The wall time of a whole sweep, beside Optuna that calls the same trainer in its own processes.

    python -m bench.sweeps.wall_time

Both train the same number of trials, two at a time, with random learning rates; the two alternate.
The time of ours begins with the submission to a server that has just started, and Optuna's with
its processes: so both import PyTorch. Ours is a process for each trial, with its log and record.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.figures import Row
from bench.server import ROOT, serving

ROUNDS, QUICK_ROUNDS = 5, 1
TRIALS, QUICK_TRIALS = 64, 8
EPOCHS, SLOTS = 27, 2
MOST = 1.25  # times the wall time of Optuna
PATIENCE = 600.0  # seconds
POLL_SECONDS = 0.02


def rows(quick: bool) -> Iterator[Row]:
    """Yield the wall time of a sweep."""
    trials = QUICK_TRIALS if quick else TRIALS
    ours, theirs = [], []
    for _ in range(QUICK_ROUNDS if quick else ROUNDS):
        with tempfile.TemporaryDirectory() as name:
            theirs.append(optuna_seconds(Path(name), trials))
        with tempfile.TemporaryDirectory() as name:
            ours.append(sweep_seconds(Path(name), trials))
    ratio = median(one / other for one, other in zip(ours, theirs, strict=True))
    yield Row(
        f"a sweep of {trials} trials of {EPOCHS} epochs of the digits, {SLOTS} at a time",
        f"{median(ours):.1f} s",
        f"{median(theirs):.1f} s, Optuna in {SLOTS} processes",
        round(ratio, 2),
        f"<= {MOST}",
        ratio <= MOST,
    )


def sweep_seconds(folder: Path, trials: int) -> float:
    """Return the seconds from the submission of a sweep to its end."""
    (folder / "digits.npz").write_bytes((ROOT / "input" / "digits.npz").read_bytes())
    form = {
        "sweep_id": "s",
        "learning_rate": "0.0001..0.1 log",
        "epoch": str(EPOCHS),
        "dataset": "digits.npz",
        "method": "random",
        "stop": "none",
        "trials": str(trials),
    }
    environment = {"LOCAL_SLOTS": str(SLOTS)}
    command = [sys.executable, "-m", "backend", "serve"]
    with serving(command, str(folder), environment) as (url, _):
        before = time.perf_counter()
        with urllib.request.urlopen(f"{url}sweeps", urllib.parse.urlencode(form).encode()) as sent:
            sent.read()
        while (status := status_of(f"{url}sweeps/s")) == "running":
            if time.perf_counter() - before > PATIENCE:
                raise TimeoutError("the sweep does not end")
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - before
    if status != "succeeded":
        raise RuntimeError(f"the sweep has {status}")
    return seconds


def status_of(url: str) -> str:
    """Return the status of the sweep at that URL."""
    with urllib.request.urlopen(url) as response:
        return str(json.load(response)["status"])


def optuna_seconds(folder: Path, trials: int) -> float:
    """Return the seconds that Optuna's processes take from their start to their end."""
    output = folder / "output"
    output.mkdir()
    arguments = (str(folder / "journal"), str(ROOT / "input"), str(output), trials, EPOCHS)
    command = [sys.executable, "-m", "bench.sweeps.optuna_worker", *map(str, arguments)]
    threads = {"OMP_NUM_THREADS": "1"}  # as our launcher gives each of two slots of two cores
    before = time.perf_counter()
    processes = [
        subprocess.Popen(command, cwd=ROOT, env=os.environ | threads) for _ in range(SLOTS)
    ]
    codes = [process.wait(PATIENCE) for process in processes]
    seconds = time.perf_counter() - before
    if any(codes) or len(list(output.iterdir())) < trials:
        raise RuntimeError(f"Optuna's processes end with {codes}")
    return seconds


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(row)
