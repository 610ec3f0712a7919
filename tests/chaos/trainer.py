"""A trainer that only pretends to train, follows the contract of a model image, and keeps a ledger.

The suffix of EXPERIMENT_ID determines how it ends: `-ok` succeeds, `-once` fails halfway in attempt
1, `-always` fails halfway in every attempt, `-hostile` attacks its readers (`hostile.py`) and then
succeeds, unless it ran out of memory. It appends a line to OUTPUT_DIR/ledger.jsonl on every start
and every exit, and syncs it to disk first, so that the ledger is independent evidence. It
needs only the standard library, because the image contains nothing but these files.
"""

import fcntl
import json
import os
import random
import signal
import sys
import time
import uuid
from pathlib import Path

import hostile

EPOCH_SECONDS = float(os.environ.get("EPOCH_SECONDS", "0.01"))
STOP_SECONDS = (0.0, 0.2, 2.0)  # for a last checkpoint; chosen at random
TERMINATED, FAILED = 143, 1

FOLDER = Path(os.environ["OUTPUT_DIR"])
ATTEMPT = int(os.environ["ATTEMPT"])
EPOCHS = int(os.environ["EPOCH"])
BEHAVIOUR = os.environ["EXPERIMENT_ID"].rpartition("-")[2]
LEDGER, METRICS, CHECKPOINT = FOLDER / "ledger.jsonl", FOLDER / "metrics.jsonl", "checkpoint.json"


class Terminated(Exception):
    """SIGTERM was received."""


def terminate(_signal, _frame):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def append(path, record):
    """Append a line in a single write, and sync it to disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, json.dumps(record).encode() + b"\n")
    os.fsync(descriptor)
    os.close(descriptor)


def replace(name, content):
    """Write a file atomically."""
    temporary = FOLDER / f".{name}.new"
    temporary.write_text(json.dumps(content))
    temporary.replace(FOLDER / name)


def remove(path):
    """Remove what a hostile attempt has left in place of a file."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def resume():
    """Return the last finished epoch, and truncate the metrics to the last checkpoint."""
    try:
        checkpoint = json.loads((FOLDER / CHECKPOINT).read_text())
    except FileNotFoundError:
        checkpoint = {"epoch": 0, "bytes": 0}
    if not METRICS.is_file() or METRICS.is_symlink():
        remove(METRICS)
    else:
        os.truncate(METRICS, checkpoint["bytes"])
    return checkpoint["epoch"]


def train(done):
    """Train from epoch `done` to the end, or to the planned failure; return the exit code."""
    fails = BEHAVIOUR == "always" or (BEHAVIOUR == "once" and ATTEMPT == 1)
    for epoch in range(done + 1, EPOCHS + 1):
        if fails and epoch > EPOCHS // 2:
            return FAILED
        time.sleep(EPOCH_SECONDS)
        append(METRICS, {"epoch": epoch, "loss": 1 / epoch})
        replace(CHECKPOINT, {"epoch": epoch, "bytes": METRICS.stat().st_size})
    if BEHAVIOUR == "hostile":
        hostile.misbehave(FOLDER, ATTEMPT)
    replace("summary.json", {"epochs": EPOCHS, "attempt": ATTEMPT})
    return 0


def main():
    start = uuid.uuid4().hex
    # Held until this process ends: a trainer that cannot get the lock is not alone.
    with (FOLDER / "ledger.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        append(LEDGER, {"event": "start", "start": start, "attempt": ATTEMPT, "alone": alone})
        try:
            signal.signal(signal.SIGTERM, terminate)
            fcntl.flock(lock, fcntl.LOCK_EX)  # as our models wait for one that is still ending
            code = train(resume())
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        except Terminated:
            time.sleep(random.choice(STOP_SECONDS))
            code = TERMINATED
        last_line = f"trainer {start} exits with {code}"
        print(last_line, flush=True)
        append(
            LEDGER,
            {"event": "exit", "start": start, "attempt": ATTEMPT, "code": code, "says": last_line},
        )
    return code


if __name__ == "__main__":
    sys.exit(main())
