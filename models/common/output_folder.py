"""The experiment's output folder. Uses the standard library alone.

Besides the results of the model, it holds:

    .lock           locked (flock) by the one trainer that may write here
    metrics.jsonl   one JSON object per epoch
    checkpoint.bin  the state to resume from; removed when the experiment has finished
    inputs.json     the files of the experiment, written by the backend (`pinned`), or those that a
                    training without DATASET began with; removed at the end, too
    summary.json    written last, so an experiment that has one has finished
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from common.exceptions import UnusableError
from common.settings import differences

LOCK = ".lock"
METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoint.bin"
INPUTS = "inputs.json"
SUMMARY = "summary.json"


class OutputFolder:
    """The folder of one experiment. Readers see each file either complete or not at all."""

    def __init__(self, path: Path):
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder if it is missing and hold its lock, waiting while another trainer does.

        Raises:
            OSError: The folder cannot be created or written to.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / LOCK).open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("another trainer is working in this folder, waiting for its end", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def is_finished(self, parameters: Mapping[str, Any], defaults: Mapping[str, Any]) -> bool:
        """Return whether an experiment with these parameters has finished in this folder.

        Args:
            parameters: The parameters.
            defaults: The values of parameters that an older version did not have.

        Raises:
            UnusableError: The experiment that finished here had other parameters.
        """
        try:
            recorded = json.loads(self.read(SUMMARY) or b"")["parameters"]
        except (ValueError, KeyError, TypeError):
            return False  # a damaged summary is written again at the end of the training
        if different := differences(recorded, parameters, defaults):
            raise UnusableError(f"{self.path} holds a finished experiment with {different}")
        return True

    def metrics_file(self, size: int) -> "MetricsFile":
        """Open metrics.jsonl to append to its first `size` bytes."""
        return MetricsFile(self, size)

    def receive(self, checkpoint: bytes | None) -> None:
        """Take the checkpoint that the worker with rank 0 has read; this is that worker."""

    def write(self, name: str, content: bytes) -> None:
        """Create or replace a file atomically; its content is on disk when this returns."""
        temporary = self.path / f".{name}.tmp"
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path / name)
        except OSError:
            temporary.unlink(missing_ok=True)  # a partial file would keep a full disk full
            raise
        self._sync()

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or None if there is no such file."""
        path = self.path / name
        return path.read_bytes() if path.exists() else None

    def size(self, name: str) -> int:
        """Return a file's size in bytes, or 0 if there is no such file."""
        path = self.path / name
        return path.stat().st_size if path.exists() else 0

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        (self.path / name).unlink(missing_ok=True)

    def _sync(self) -> None:
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class MetricsFile:
    """The file metrics.jsonl, opened to append to its first `size` bytes; the rest is dropped."""

    def __init__(self, folder: OutputFolder, size: int):
        self._file = (folder.path / METRICS).open("r+b" if size else "wb")
        self._file.truncate(size)
        self._file.seek(size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, metrics: Mapping[str, float]) -> None:
        """Append one line in a single write, so that no reader sees part of it.

        Raises:
            ValueError: A metric is NaN or infinite, which JSON cannot express.
        """
        self._file.write(json.dumps(metrics, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def sync(self) -> int:
        """Flush the file to disk and return its size in bytes."""
        os.fsync(self._file.fileno())
        return self._file.tell()
