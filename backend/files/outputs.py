"""The output folder: one folder a run, named by its experiment id.

The only place that joins a path with an id. What lies in a run's folder was written by its trainer,
which is not trusted: links are not followed.
"""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from backend.domain.exceptions import FolderTaken
from backend.files.untrusted import (
    Entry,
    is_public,
    list_files,
    open_file,
    opened_folder,
    remove_folder,
    write_file,
)

RUN_FILE = "run.json"
TOMBSTONE_FILE = "forgotten.json"  # stays in the folder of a run that was forgotten
METRICS_FILE = "metrics.jsonl"
SUMMARY_FILE = "summary.json"
LOG_FOLDER = "logs"
MAX_FILES = 10_000  # of one run's folder are listed
SPACE_BYTES = 4096  # more than a new run.json takes
PIECE_BYTES = 1024 * 1024
TAIL_BYTES = 64 * 1024  # far more than one line of metrics
MAX_METRICS = 32  # of one line are shown
MAX_NAME = 100  # characters of a metric's name
MAX_JSON_BYTES = 2**20  # of run.json, far more than a thousand attempts


class Outputs:
    """The folders of all runs."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, experiment_id: str) -> Path:
        """Name the run's own folder; `experiment_id` has been checked."""
        return self._root / experiment_id

    def open(self, experiment_id: str, *parts: str) -> BinaryIO | None:
        """Open a regular file in the run's folder, named by the parts of its path, for reading.

        Returns:
            The file, unbuffered, or None if there is none: what lies behind a link is none.
        """
        return open_file(self._root, (experiment_id, *parts))

    def files(self, experiment_id: str) -> tuple[list[Entry], bool]:
        """List the files in the run's folder, and say whether these are all of them.

        Temporaries, locks and links are not listed; see beneath.list_files.
        """
        return list_files(self._root, experiment_id, limit=MAX_FILES)

    def open_listed(self, experiment_id: str, path: str) -> BinaryIO | None:
        """Open a file by its path as `files` lists it; None if there is none."""
        parts = path.split("/")
        return self.open(experiment_id, *parts) if all(map(is_public, parts)) else None

    def sha256(self, experiment_id: str, entry: Entry) -> str | None:
        """Give the digest of a listed file, in hexadecimal; None if it is gone."""
        file = self.open_listed(experiment_id, entry.path)
        if file is None:
            return None
        digest, left = hashlib.sha256(), entry.size
        with file:
            while left and (piece := file.read(min(PIECE_BYTES, left))):
                left -= len(piece)  # what a trainer adds meanwhile is not waited for
                digest.update(piece)
        return digest.hexdigest()

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

    def check_space(self) -> None:
        """Make sure that a new run's folder and `run.json` could be written; leave nothing there.

        Raises:
            OSError: they could not (no space, no right).
        """
        there = next(one for one in (self._root, *self._root.parents) if one.exists())
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(SPACE_BYTES))
            file.flush()

    def write_run(
        self, experiment_id: str, run: dict[str, Any], *, make_folder: bool = True
    ) -> None:
        """Write `run.json`, what is known of the run, into its folder; make the folder if needed.

        `run` has at least `uid`. A reader sees the old file or the new one, never half of it.

        Raises:
            FolderTaken: another run's `run.json` is there.
            OSError: the folder cannot be written (no space, no right), or is not there and is not
                to be made.
        """
        folder = self.folder(experiment_id)
        if make_folder:
            folder.mkdir(parents=True, exist_ok=True)
        there = self.read_run(experiment_id)
        if there is not None and there.get("uid") != run["uid"]:
            raise FolderTaken
        with opened_folder(folder) as directory:
            write_file(directory, RUN_FILE, [orjson.dumps(run, option=orjson.OPT_INDENT_2)])

    def read_run(self, experiment_id: str) -> dict[str, Any] | None:
        """Read `run.json`, or give None if there is none or it is no JSON object."""
        return self._read_json(experiment_id, RUN_FILE)

    def write_tombstone(self, experiment_id: str, tombstone: dict[str, Any]) -> None:
        """Leave word in the run's folder, if there is one, that the run was forgotten.

        It is no part of `run.json`: nobody who is just writing that can undo it. `forgotten` has
        at least `uid`.

        Raises:
            OSError: the folder cannot be written.
        """
        with suppress(FileNotFoundError), opened_folder(self.folder(experiment_id)) as directory:
            write_file(directory, TOMBSTONE_FILE, [json.dumps(tombstone, indent=2).encode()])

    def has_tombstone(self, experiment_id: str, uid: str) -> bool:
        """Tell whether the run of that uid was forgotten, and not started again since."""
        return (self._read_json(experiment_id, TOMBSTONE_FILE) or {}).get("uid") == uid

    def remove_tombstone(self, experiment_id: str) -> None:
        """Take back that the run was forgotten.

        Raises:
            OSError: the folder cannot be written.
        """
        with opened_folder(self.folder(experiment_id)) as directory, suppress(FileNotFoundError):
            os.unlink(TOMBSTONE_FILE, dir_fd=directory)

    def names(self) -> Iterator[str]:
        """Name everything in the output folder that could be a run's folder, links included.

        Raises:
            OSError: it cannot be read.
        """
        with os.scandir(self._root) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and (entry.is_dir() or entry.is_symlink()):
                    yield entry.name

    def has_begun(self, experiment_id: str, attempt: int) -> bool:
        """Tell whether the attempt has left a trace: then it was started once."""
        if self.has_log(experiment_id, attempt) or self.is_finished(experiment_id):
            return True
        try:
            names = {one.name for one in self.folder(experiment_id).iterdir()}
        except OSError:
            return False
        ours = {RUN_FILE, TOMBSTONE_FILE, LOG_FOLDER}
        traces = {name for name in names - ours if not name.startswith(f".{RUN_FILE}.")}
        return attempt == 1 and bool(traces)

    def has_log(self, experiment_id: str, attempt: int) -> bool:
        """Tell whether the log of an attempt lies in the run's folder (see log_files.py)."""
        file = self.open(experiment_id, LOG_FOLDER, f"{attempt}.log")
        if file:
            file.close()
        return file is not None

    def is_finished(self, experiment_id: str) -> bool:
        """Tell whether a trainer has brought the run to its end: it writes `summary.json` last."""
        return self._read_json(experiment_id, SUMMARY_FILE) is not None

    def remove(self, experiment_id: str) -> None:
        """Remove the run's folder with everything in it; links in it are not followed.

        Raises:
            OSError: something in it cannot be removed.
        """
        try:
            remove_folder(self.folder(experiment_id))
        except FileNotFoundError:
            return

    def last_metrics(self, experiment_id: str) -> dict[str, Any] | None:
        """Give the last whole line of `metrics.jsonl`, or None if there is none yet.

        Of what JSON or a page cannot show, the value is None; so is what is no plain value.
        """
        tail = self._read_tail(experiment_id, METRICS_FILE)
        for line in reversed(tail.split(b"\n")[:-1]):  # what follows the last line end is half
            try:
                metrics = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(metrics, dict):
                names = islice(filter(is_metric_name, metrics), MAX_METRICS)
                return {name: _shown(metrics[name]) for name in names}
        return None

    def _read_json(self, experiment_id: str, name: str) -> dict[str, Any] | None:
        """Read a small file, or give None if it is not there or is no JSON object."""
        file = self.open(experiment_id, name)
        if file is None:
            return None
        with file:
            content = file.read(MAX_JSON_BYTES + 1)
        try:
            parsed = json.loads(content) if len(content) <= MAX_JSON_BYTES else None
        except (ValueError, RecursionError):
            return None
        return parsed if isinstance(parsed, dict) else None

    def _read_tail(self, experiment_id: str, name: str) -> bytes:
        """Read the end of a file, or nothing if there is no such file."""
        file = self.open(experiment_id, name)
        if file is None:
            return b""
        with file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read(TAIL_BYTES)


def is_metric_name(name: str) -> bool:
    """Tell whether an answer and a page can hold what a trainer calls a metric."""
    return len(name) <= MAX_NAME and name.isprintable()


def _shown(value: Any) -> float | int | str | bool | None:
    """Give a number that a float can hold or a text that can be printed, else None."""
    if isinstance(value, str):
        return value if value.isprintable() else None
    with suppress(TypeError, OverflowError):
        return value if math.isfinite(value) else None
    return None
