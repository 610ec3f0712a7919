"""The output folder for workers that do not write to it. Uses the standard library alone."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from common.output_folder import CHECKPOINT, METRICS, MetricsFile, OutputFolder


class WorkerFolder(OutputFolder):
    """The same folder, as a worker but that with rank 0 uses it: nothing is written to it."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._received: tuple[bytes | None] | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Do nothing: rank 0 has the lock."""
        yield

    def metrics_file(self, size: int) -> MetricsFile:
        """Return a file that keeps nothing."""
        return NoMetrics(self, size)

    def receive(self, checkpoint: bytes | None) -> None:
        """Use this checkpoint from now on, in place of the file, which may be a newer one."""
        self._received = (checkpoint,)

    def write(self, name: str, content: bytes) -> None:
        """Do nothing."""

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or the checkpoint that was received."""
        if name == CHECKPOINT and self._received:
            return self._received[0]
        return super().read(name)

    def size(self, name: str) -> int:
        """Return a file's size in bytes; rank 0 has checked that of the metrics."""
        return sys.maxsize if name == METRICS else super().size(name)

    def remove(self, name: str) -> None:
        """Do nothing."""


class NoMetrics(MetricsFile):
    """Metrics that rank 0 writes."""

    def __init__(self, _folder: OutputFolder, size: int):
        self._size = size

    def __exit__(self, *_: object) -> None:
        pass

    def append(self, metrics: Mapping[str, float]) -> None:
        """Do nothing."""

    def sync(self) -> int:
        """Return the size that the file had at first."""
        return self._size
