"""The times that a local experiment takes beside its training, with and without a warm server.

    python -m bench.training.local_start

Alternates with the same program started by hand; each ends before the next starts. The models
`autoencoder` and `cold` are the same but for `preload`, which the latter does not have.
"""

import json
import os
import re
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
MOST_BESIDE = 0.3  # seconds from the submission to the first metrics, without the training
MOST_WARM, MOST_COLD = 1.0, 2.5  # seconds from the submission to the end of EPOCHS epochs
EPOCHS = 20
PATIENCE = 60.0  # seconds
POLL_SECONDS = 0.0005
ENDLESS = {"learning_rate": "0.001", "epoch": "100000"}
SHORT = ENDLESS | {"epoch": str(EPOCHS)}
MODEL = ROOT / "models" / "autoencoder"


def rows(quick: bool) -> Iterator[Row]:
    """Yield the measurements."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "digits.npz").write_bytes((ROOT / "input" / "digits.npz").read_bytes())
        os.environ["MODELS_DIR"] = str(cold_model(folder))
        with serving([sys.executable, "-m", "backend", "serve"], name) as (url, _):
            yield from first_lines(url, folder, rounds)
            yield from whole_experiments(url, folder, rounds)


def cold_model(folder: Path) -> Path:
    """Make a folder of models with the autoencoder as `cold`, without `preload`; return it."""
    models = folder / "models"
    models.mkdir()
    (models / "common").symlink_to(MODEL.parent / "common")
    copy = models / "cold"
    copy.mkdir()
    for path in MODEL.glob("*.py"):
        (copy / path.name).write_bytes(path.read_bytes())
    entry = (MODEL / "model.yaml").read_text()
    (copy / "model.yaml").write_text(re.sub("(?m)^preload:.*\n", "", entry))
    return models


def first_lines(url: str, folder: Path, rounds: int) -> Iterator[Row]:
    """Yield the times until the trainer prints something, submitted and started by hand."""
    submitted, by_hand = [], []
    for number in range(rounds + 1):
        submitted.append(first_line(url, folder, f"submitted-{number}"))
        by_hand.append(start_by_hand(folder, f"by-hand-{number}"))
    submitted, by_hand = submitted[1:], by_hand[1:]
    extra = median(ours - theirs for ours, theirs in zip(submitted, by_hand, strict=True))
    yield Row(
        "local experiment without preload, from submission to the first line of its log",
        f"{1000 * median(submitted):.0f} ms, {1000 * extra:.0f} ms more",
        f"{1000 * median(by_hand):.0f} ms, the same program started by hand",
        round(median(ours / theirs for ours, theirs in zip(submitted, by_hand, strict=True)), 2),
        f"<= {1000 * MOST_EXTRA:.0f} ms more",
        extra <= MOST_EXTRA,
    )


def whole_experiments(url: str, folder: Path, rounds: int) -> Iterator[Row]:
    """Yield the times of short experiments, from a warm server and without one."""
    warm, cold, by_hand = [], [], []
    for number in range(rounds + 1):
        warm.append(run(url, folder, f"warm-{number}", "autoencoder"))
        cold.append(run(url, folder, f"cold-{number}", "cold"))
        by_hand.append(run_by_hand(folder, f"whole-{number}"))
    warm, cold, by_hand = warm[1:], cold[1:], by_hand[1:]
    beside, beside_cold = median(one[0] for one in warm), median(one[0] for one in cold)
    yield Row(
        "warm trainer, from submission to the first line of metrics.jsonl, without its epoch",
        f"{1000 * beside:.0f} ms",
        f"{1000 * beside_cold:.0f} ms, without preload",
        round(median(one[0] / other[0] for one, other in zip(warm, cold, strict=True)), 2),
        f"<= {1000 * MOST_BESIDE:.0f} ms",
        beside <= MOST_BESIDE,
    )
    for name, ours, most in (("warm", warm, MOST_WARM), ("cold", cold, MOST_COLD)):
        seconds = median(one[1] for one in ours)
        yield Row(
            f"{EPOCHS} epochs of the digits, {name}, from submission to `succeeded`",
            f"{seconds:.2f} s",
            f"{median(by_hand):.2f} s, the same program started by hand",
            round(median(one[1] / hand for one, hand in zip(ours, by_hand, strict=True)), 2),
            f"<= {most} s",
            seconds <= most,
        )


def submit(url: str, experiment_id: str, form: dict[str, str]) -> str:
    """Submit an experiment, and return its URL."""
    data = urllib.parse.urlencode(form | {"experiment_id": experiment_id}).encode()
    with urllib.request.urlopen(f"{url}test", data) as response:
        response.read()
    return f"{url}experiments/{experiment_id}"


def first_line(url: str, folder: Path, experiment_id: str) -> float:
    """Submit an experiment, and return the seconds until its log has a line."""
    before = time.perf_counter()
    experiment = submit(url, experiment_id, ENDLESS | {"model": "cold"})
    seconds = wait_for_line(folder / experiment_id / "logs" / "1.log") - before
    with urllib.request.urlopen(f"{experiment}/cancel", b"") as response:
        response.read()
    wait_for_status(experiment, "cancelled")
    return seconds


def run(url: str, folder: Path, experiment_id: str, model: str) -> tuple[float, float]:
    """Submit a short experiment, and return the seconds beside its first epoch, and of all."""
    before = time.perf_counter()
    experiment = submit(url, experiment_id, SHORT | {"model": model, "dataset": "digits.npz"})
    metrics = folder / experiment_id / "metrics.jsonl"
    first = wait_for_line(metrics) - before
    wait_for_status(experiment, "succeeded")
    whole = time.perf_counter() - before
    return first - json.loads(metrics.read_text().splitlines()[0])["seconds"], whole


def wait_for_status(experiment: str, wanted: str) -> None:
    """Wait until the experiment at this URL has a status."""
    deadline = time.perf_counter() + PATIENCE
    while (seen := status(experiment)) != wanted:
        if time.perf_counter() > deadline:
            raise TimeoutError(f"{experiment} stays {seen}")
        time.sleep(0.02)


def status(experiment: str) -> str:
    """Return the status of the experiment at that URL."""
    with urllib.request.urlopen(experiment) as response:
        return str(json.load(response)["status"])


def start_by_hand(folder: Path, experiment_id: str) -> float:
    """Start the trainer as a person would, and return the seconds until its log has a line."""
    command, environment, log = by_hand_program(folder, experiment_id, ENDLESS)
    with log.open("wb") as file:
        before = time.perf_counter()
        with subprocess.Popen(command, env=environment, stdout=file) as trainer:
            seconds = wait_for_line(log) - before
            trainer.kill()
    return seconds


def run_by_hand(folder: Path, experiment_id: str) -> float:
    """Run a short training as a person would, and return its seconds."""
    command, environment, log = by_hand_program(folder, experiment_id, SHORT)
    with log.open("wb") as file:
        before = time.perf_counter()
        subprocess.run(command, env=environment, stdout=file, check=True)
        return time.perf_counter() - before


def by_hand_program(
    folder: Path, experiment_id: str, parameters: dict[str, str]
) -> tuple[list[str], dict[str, str], Path]:
    """Return command and environment of the trainer, and where to write its output."""
    output = folder / experiment_id
    output.mkdir()
    environment = {
        "EXPERIMENT_ID": experiment_id,
        "LEARNING_RATE": parameters["learning_rate"],
        "EPOCH": parameters["epoch"],
        "DATASET": "digits.npz",
        "INPUT_DIR": str(folder),
        "OUTPUT_DIR": str(output),
    }
    command = [sys.executable, "-u", str(MODEL / "train.py")]
    return command, os.environ | environment, output / "log"


def wait_for_line(log: Path) -> float:
    """Wait until a file has a line, and return the time of `perf_counter`."""
    deadline = time.perf_counter() + PATIENCE
    while time.perf_counter() < deadline:
        if log.exists() and b"\n" in log.read_bytes():
            return time.perf_counter()
        time.sleep(POLL_SECONDS)
    raise TimeoutError(f"{log} stays empty")


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(row)
