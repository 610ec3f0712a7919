"""What was asked for, and the folder it happens in. Needs the standard library alone.

Besides the results of `report.py`, a run's folder holds:

    .lock           locked (flock) by the one trainer that works here
    metrics.jsonl   one line an epoch
    checkpoint.bin  where to go on; removed when the run is finished
    summary.json    written last: a run that has it is finished
"""

import fcntl
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

LOCK = ".lock"
METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoint.bin"
SUMMARY = "summary.json"

Number = TypeVar("Number", int, float)


class UnusableError(Exception):
    """The input or the configuration cannot be used: trying again does not help."""


@dataclass(frozen=True)
class Settings:
    """One run, as the environment describes it."""

    input_dir: Path
    output_dir: Path
    learning_rate: float
    epochs: int
    dataset: str | None = None  # a file name in input_dir; None: every data file
    seed: int = 0
    experiment_id: str = ""
    attempt: int = 1
    checkpoint_seconds: float = 10.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read and check the environment; UnusableError names every mistake at once."""
        mistakes = [
            f"{name} is missing"
            for name in ("INPUT_DIR", "OUTPUT_DIR", "LEARNING_RATE", "EPOCH")
            if not environment.get(name)
        ]

        def number(
            name: str, default: Number, valid: Callable[[Number], bool], want: str
        ) -> Number:
            text = environment.get(name)
            if not text:
                return default
            try:
                value = type(default)(text)
            except ValueError:
                value = None
            if value is None or not valid(value):
                mistakes.append(f"{name} must be {want}, not {text!r}")
                return default
            return value

        settings = cls(
            input_dir=Path(environment.get("INPUT_DIR", "")),
            output_dir=Path(environment.get("OUTPUT_DIR", "")),
            learning_rate=number(
                "LEARNING_RATE", 0.0, lambda x: 0 < x <= 10, "a number above 0 and at most 10"
            ),
            epochs=number(
                "EPOCH", 0, lambda x: 1 <= x <= 100_000, "a whole number from 1 to 100000"
            ),
            dataset=environment.get("DATASET") or None,
            seed=number("SEED", 0, lambda x: 0 <= x < 2**32, "a whole number from 0 to 2^32 - 1"),
            experiment_id=environment.get("EXPERIMENT_ID", ""),
            attempt=number("ATTEMPT", 1, lambda x: x >= 1, "a whole number from 1"),
            checkpoint_seconds=number(
                "CHECKPOINT_SECONDS",
                cls.checkpoint_seconds,
                lambda x: 0 <= x < math.inf,
                "a number of seconds from 0",
            ),
        )
        if mistakes:
            raise UnusableError("; ".join(mistakes))
        return settings

    @property
    def parameters(self) -> dict[str, Any]:
        """What makes a run the run it is: two attempts of one run agree in these."""
        return {
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
            "dataset": self.dataset,
            "seed": self.seed,
        }


def differences(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Say in words where two sets of parameters differ; empty if they do not."""
    return ", ".join(
        f"{name} {recorded.get(name)!r} instead of {wanted.get(name)!r}"
        for name in sorted(recorded.keys() | wanted.keys())
        if recorded.get(name) != wanted.get(name)
    )


class RunFolder:
    """The folder of one run. What is written is seen whole or not at all, whoever reads when."""

    def __init__(self, path: Path):
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only trainer in the folder, which is made if need be; waits for its turn."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / LOCK).open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("another trainer works in this folder, waiting for its end", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def is_finished(self, parameters: Mapping[str, Any]) -> bool:
        """Tell whether the run was brought to its end.

        Raises UnusableError if the run that ended here had other parameters.
        """
        try:
            recorded = json.loads(self.read(SUMMARY) or b"")["parameters"]
        except (ValueError, KeyError, TypeError):
            return False  # not there or damaged: the end of the training writes it
        if different := differences(recorded, parameters):
            raise UnusableError(f"{self.path} holds a finished run with {different}")
        return True

    def write(self, name: str, content: bytes) -> None:
        """Put a file in place in one step; it lies on the disk when this returns."""
        temporary = self.path / f".{name}.tmp"
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path / name)
        except OSError:
            temporary.unlink(missing_ok=True)  # a full disk does not need half a file
            raise
        self._sync()

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None if there is no such file."""
        path = self.path / name
        return path.read_bytes() if path.exists() else None

    def size(self, name: str) -> int:
        """Return a file's size in bytes, 0 if there is none."""
        path = self.path / name
        return path.stat().st_size if path.exists() else 0

    def remove(self, name: str) -> None:
        """Remove a file, which may be gone already."""
        (self.path / name).unlink(missing_ok=True)

    def _sync(self) -> None:
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Metrics:
    """The file metrics.jsonl, open for more lines; only its first `size` bytes are kept."""

    def __init__(self, folder: RunFolder, size: int):
        self._file = (folder.path / METRICS).open("r+b" if size else "wb")
        self._file.truncate(size)
        self._file.seek(size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, row: Mapping[str, float]) -> None:
        """Append one line, in a single write that readers see at once."""
        self._file.write(json.dumps(row, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def sync(self) -> int:
        """Bring the file to the disk and return its size in bytes."""
        os.fsync(self._file.fileno())
        return self._file.tell()
