"""The time from the submission of a local experiment to the first line of its trainer's log.

    python -m bench.local_start

Alternates with the same program started by hand; each ends before the next starts.
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

ROUNDS = 21
QUICK_ROUNDS = 5
MOST_EXTRA = 0.06  # seconds
PATIENCE = 60.0  # seconds
POLL_SECONDS = 0.0005
PARAMETERS = {"learning_rate": "0.001", "epoch": "100000"}


def rows(quick: bool) -> Iterator[Row]:
    """Yield the measurement."""
    submitted, by_hand = measure(QUICK_ROUNDS if quick else ROUNDS)
    extra = median(ours - theirs for ours, theirs in zip(submitted, by_hand, strict=True))
    yield Row(
        "local experiment, from submission to the first line of its log",
        f"{1000 * median(submitted):.0f} ms, {1000 * extra:.0f} ms more",
        f"{1000 * median(by_hand):.0f} ms, the same program started by hand",
        round(median(ours / theirs for ours, theirs in zip(submitted, by_hand, strict=True)), 2),
        f"<= {1000 * MOST_EXTRA:.0f} ms more",
        extra <= MOST_EXTRA,
    )


def measure(rounds: int) -> tuple[list[float], list[float]]:
    """Return the seconds of each round after a warm-up: submitted, and started by hand."""
    submitted, by_hand = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "digits.npz").write_bytes((ROOT / "input" / "digits.npz").read_bytes())
        with serving([sys.executable, "-m", "backend", "serve"], name) as (url, _):
            for number in range(rounds + 1):
                submitted.append(submit(url, folder, f"submitted-{number}"))
                by_hand.append(start_by_hand(folder, f"by-hand-{number}"))
    return submitted[1:], by_hand[1:]


def submit(url: str, folder: Path, experiment_id: str) -> float:
    """Submit an experiment, and return the seconds until its log has a line."""
    form = urllib.parse.urlencode(PARAMETERS | {"experiment_id": experiment_id}).encode()
    before = time.perf_counter()
    with urllib.request.urlopen(f"{url}test", form) as response:
        response.read()
    seconds = wait_for_line(folder / experiment_id / "logs" / "1.log") - before
    experiment = f"{url}experiments/{experiment_id}"
    with urllib.request.urlopen(f"{experiment}/cancel", b"") as response:
        response.read()
    deadline = time.perf_counter() + PATIENCE
    while status(experiment) != "cancelled":
        if time.perf_counter() > deadline:
            raise TimeoutError(f"{experiment_id} does not end")
        time.sleep(0.05)
    return seconds


def status(experiment: str) -> str:
    """Return the status of the experiment at that URL."""
    with urllib.request.urlopen(experiment) as response:
        return str(json.load(response)["status"])


def start_by_hand(folder: Path, experiment_id: str) -> float:
    """Start the trainer as a person would, and return the seconds until its log has a line."""
    output = folder / experiment_id
    output.mkdir()
    environment = {
        "EXPERIMENT_ID": experiment_id,
        "LEARNING_RATE": PARAMETERS["learning_rate"],
        "EPOCH": PARAMETERS["epoch"],
        "INPUT_DIR": str(folder),
        "OUTPUT_DIR": str(output),
    }
    command = [sys.executable, "-u", str(ROOT / "models" / "autoencoder" / "train.py")]
    log = output / "log"
    with log.open("wb") as file:
        before = time.perf_counter()
        with subprocess.Popen(command, env=os.environ | environment, stdout=file) as trainer:
            seconds = wait_for_line(log) - before
            trainer.kill()
    return seconds


def wait_for_line(log: Path) -> float:
    """Wait until a file has a line, and return the time of `perf_counter`."""
    deadline = time.perf_counter() + PATIENCE
    while time.perf_counter() < deadline:
        if log.exists() and b"\n" in log.read_bytes():
            return time.perf_counter()
        time.sleep(POLL_SECONDS)
    raise TimeoutError(f"{log} stays empty")


if __name__ == "__main__":
    for row in rows(quick=False):
        print(row)
