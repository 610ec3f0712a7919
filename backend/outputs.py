"""The output folder: one folder a run, named by its experiment id.

The only place that joins a path with an id. What lies in a run's folder was written by its trainer,
which is not trusted: links are not followed.
"""

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
SUMMARY_FILE = "summary.json"
TAIL_BYTES = 64 * 1024  # far more than one line of metrics


class FolderTaken(Exception):
    """The folder of that name holds something that is not of this run."""


class Outputs:
    """The folders of all runs."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, experiment_id: str) -> Path:
        """Name the run's own folder; `experiment_id` has been checked."""
        return self._root / experiment_id

    def is_free(self, experiment_id: str) -> bool:
        """Tell whether a new run would overwrite nothing.

        Raises:
            OSError: the output folder cannot be read.
        """
        folder = self.folder(experiment_id)
        try:
            return all(one.name.startswith(f".{RUN_FILE}.") for one in folder.iterdir())
        except FileNotFoundError:
            return True

    def write_run(self, experiment_id: str, run: dict[str, Any]) -> None:
        """Write `run.json`, what is known of the run, into its folder; make the folder if needed.

        `run` has at least `uid`. A reader sees the old file or the new one, never half of it.

        Raises:
            FolderTaken: another run's `run.json` is there.
            OSError: the folder cannot be written (no space, no right).
        """
        folder = self.folder(experiment_id)
        folder.mkdir(parents=True, exist_ok=True)
        there = self._read_json(folder / RUN_FILE)
        if there is not None and there.get("uid") != run["uid"]:
            raise FolderTaken
        temporary = folder / f".{RUN_FILE}.{os.getpid()}"
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(run, file, ensure_ascii=False, indent=2)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(folder / RUN_FILE)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    def is_finished(self, experiment_id: str) -> bool:
        """Tell whether a trainer has brought the run to its end: it writes `summary.json` last."""
        return self._read_json(self.folder(experiment_id) / SUMMARY_FILE) is not None

    def remove(self, experiment_id: str) -> None:
        """Remove the run's folder with everything in it; links in it are not followed.

        Raises:
            OSError: something in it cannot be removed.
        """
        try:
            shutil.rmtree(self.folder(experiment_id))
        except FileNotFoundError:
            return

    def last_metrics(self, experiment_id: str) -> dict[str, Any] | None:
        """Give the last whole line of `metrics.jsonl`, or None if there is none yet."""
        tail = _read_tail(self.folder(experiment_id) / METRICS_FILE)
        for line in reversed(tail.split(b"\n")[:-1]):  # what follows the last line end is half
            try:
                metrics = json.loads(line)
            except ValueError:
                continue
            if isinstance(metrics, dict):
                return metrics
        return None

    def _read_json(self, path: Path) -> dict[str, Any] | None:
        content = _read_tail(path)
        try:
            parsed = json.loads(content)
        except ValueError:
            return None
        return parsed if isinstance(parsed, dict) else None


def _read_tail(path: Path) -> bytes:
    """Read the end of a regular file, or nothing if there is no such file."""
    try:
        # O_NONBLOCK: a FIFO that a trainer planted must not hold us.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return b""
        file.seek(max(0, status.st_size - TAIL_BYTES))
        return file.read(TAIL_BYTES)
