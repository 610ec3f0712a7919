"""The output folder, which holds one folder for each experiment, named by its id.

No other module joins a path with an id. A trainer, which is not trusted, can write to the folder of
its experiment: links are not followed.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from backend.domain.data_sets.pins import Pin
from backend.domain.exceptions import FolderTaken, OutputMissing
from backend.files.metrics import MAX_METRICS, is_metric_name, parse_rows, presentable
from backend.files.sizes import LARGE_PIECE_BYTES
from backend.files.untrusted import (
    Entry,
    is_public,
    list_files,
    open_file,
    opened_folder,
    opened_root,
    remove_folder,
    write_file,
)

RUN_FILE = "run.json"
SWEEP_FILE = "sweep.json"
PARAMETERS_FILE = "parameters.json"
INPUTS_FILE = "inputs.json"
TEMPORARY_RUN_FILE = f".{RUN_FILE}."  # begins the name under which it is written
TEMPORARY_FILES = (TEMPORARY_RUN_FILE, f".{PARAMETERS_FILE}.", f".{INPUTS_FILE}.")
TOMBSTONE_FILE = "forgotten.json"  # in the folder of an experiment whose record was deleted
METRICS_FILE = "metrics.jsonl"
SUMMARY_FILE = "summary.json"
LOG_FOLDER = "logs"
SET_ASIDE = ".deleted-"  # begins the name of a folder that is being removed
MAX_FILES = 10_000  # in the list of one experiment's files
DELETING = ".deleting-"  # begins the name of a file about a record that is being deleted
SPACE_BYTES = 4096  # more than a new run.json takes, without its entry and parameters
MAX_REMOVALS = 1000  # tries to remove a folder that other processes remove, too
TAIL_BYTES = 64 * 1024  # far more than one line of metrics
MAX_JSON_BYTES = 2**20  # of run.json: far more than a thousand attempts take


class Outputs:
    """The folders of all experiments."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, experiment_id: str) -> Path:
        """Return the path of an experiment's folder; `experiment_id` must be a valid one."""
        return self._root / experiment_id

    def open(self, experiment_id: str, *parts: str) -> BinaryIO | None:
        """Open a regular file of an experiment's folder for reading, unbuffered.

        Args:
            experiment_id: which experiment.
            parts: the path of the file in that folder.

        Returns:
            The file, or None if there is no such file, or only behind a link.
        """
        return open_file(self._root, (experiment_id, *parts))

    def list_files(self, experiment_id: str) -> tuple[list[Entry], bool]:
        """Return the files of an experiment's folder, and whether the list is complete.

        Temporary files, locks and links are left out; see `untrusted.list_files`.
        """
        return list_files(self._root, experiment_id, limit=MAX_FILES)

    def open_listed(self, experiment_id: str, path: str) -> BinaryIO | None:
        """Open a file by its path in `list_files`; return None if there is no such file."""
        parts = path.split("/")
        return self.open(experiment_id, *parts) if all(map(is_public, parts)) else None

    def sha256(self, experiment_id: str, entry: Entry) -> str | None:
        """Return the digest of a listed file, in hexadecimal, or None if the file is gone."""
        file = self.open_listed(experiment_id, entry.path)
        if file is None:
            return None
        digest, left = hashlib.sha256(), entry.size
        with file:
            # Up to the listed size: a trainer may append faster than this reads.
            while left and (piece := file.read(min(LARGE_PIECE_BYTES, left))):
                left -= len(piece)
                digest.update(piece)
        return digest.hexdigest()

    def check(self) -> None:
        """Check that the output folder itself is there.

        Nothing but the start of the server creates it: a new, empty one would look as if every
        experiment had lost its files.

        Raises:
            OutputMissing: it is not, for example because its disk is gone.
        """
        try:
            with opened_root(self._root):
                pass
        except OSError as error:
            raise OutputMissing(error) from error

    def is_free(self, experiment_id: str) -> bool:
        """Return whether a new experiment would overwrite nothing.

        Raises:
            OSError: the output folder cannot be read.
        """
        folder = self.folder(experiment_id)
        try:
            return all(path.name.startswith(TEMPORARY_RUN_FILE) for path in folder.iterdir())
        except FileNotFoundError:
            return True

    def check_space(self, more: int = 0) -> None:
        """Check that a new folder and its `run.json` can be written; leave nothing behind.

        Args:
            more: bytes that the files take in addition to SPACE_BYTES.

        Raises:
            OSError: they cannot (no space, no permission, no output folder).
        """
        with tempfile.TemporaryFile(dir=self._root) as file:
            file.write(bytes(SPACE_BYTES + more))
            file.flush()

    def write_run_file(
        self, experiment_id: str, content: dict[str, Any], *, make_folder: bool = True
    ) -> None:
        """Write `run.json`, the record of an experiment, atomically.

        Args:
            experiment_id: which experiment.
            content: has at least `uid`. If it has no `entry`, that of the file is kept, provided
                that it is the one with the digest `entry_sha256`.
            make_folder: whether to create the folder if it is missing.

        Raises:
            FolderTaken: the folder has the `run.json` of another experiment.
            OSError: the folder cannot be written (no space, no permission), or is missing, or the
                output folder is.
        """
        folder = self.folder(experiment_id)
        if make_folder:
            folder.mkdir(exist_ok=True)
        existing = self.read_run_file(experiment_id)
        is_of_another = existing is not None and existing.get("uid") != content["uid"]
        if is_of_another or self.is_sweep_folder(experiment_id):
            raise FolderTaken
        if existing is not None and "entry" not in content:
            content = content | _entry_of(existing, content.get("entry_sha256"))
        with opened_folder(folder) as directory:
            write_file(directory, RUN_FILE, [orjson.dumps(content, option=orjson.OPT_INDENT_2)])

    def is_sweep_folder(self, name: str) -> bool:
        """Return whether the folder of that name is a sweep's, which has no `run.json`."""
        folder = self.folder(name)
        return os.path.lexists(folder / SWEEP_FILE) and not os.path.lexists(folder / RUN_FILE)

    def is_of_another(self, experiment_id: str, uid: str) -> bool:
        """Return whether the folder has the `run.json` of an experiment with another uid."""
        existing = self.read_run_file(experiment_id)
        return existing is not None and existing.get("uid") != uid

    def write_parameters(self, experiment_id: str, values: dict[str, Any]) -> None:
        """Write `parameters.json`, the values that a trainer may read, atomically.

        Raises:
            OSError: the folder cannot be written, or is missing.
        """
        with opened_folder(self.folder(experiment_id)) as directory:
            content = orjson.dumps(values, option=orjson.OPT_INDENT_2)
            write_file(directory, PARAMETERS_FILE, [content])

    def write_inputs(self, experiment_id: str, pins: Sequence[Pin]) -> None:
        """Write `inputs.json`, the files that a trainer has to use, atomically.

        Raises:
            OSError: the folder cannot be written, or is missing.
        """
        files = [{"name": one.name, "bytes": one.size, "sha256": one.sha256} for one in pins]
        with opened_folder(self.folder(experiment_id)) as directory:
            content = orjson.dumps({"pinned": True, "files": files}, option=orjson.OPT_INDENT_2)
            write_file(directory, INPUTS_FILE, [content])

    def read_run_file(self, experiment_id: str) -> dict[str, Any] | None:
        """Return the content of `run.json`, or None if it is missing or not a JSON object."""
        return self.read_json(experiment_id, RUN_FILE)

    def write_tombstone(self, experiment_id: str, tombstone: dict[str, Any]) -> None:
        """Mark the folder of an experiment, if it exists, as one whose record was deleted.

        `tombstone` has at least `uid`. It is a file of its own, so that a concurrent write of
        `run.json` cannot undo it.

        Raises:
            OSError: the folder cannot be written.
        """
        with suppress(FileNotFoundError), opened_folder(self.folder(experiment_id)) as directory:
            write_file(directory, TOMBSTONE_FILE, [json.dumps(tombstone, indent=2).encode()])

    def has_tombstone(self, experiment_id: str, uid: str) -> bool:
        """Return whether the record of the experiment with this uid was deleted."""
        return (self.read_json(experiment_id, TOMBSTONE_FILE) or {}).get("uid") == uid

    def remove_tombstone(self, experiment_id: str) -> None:
        """Remove the mark of a deleted record, if there is one; the folder may be gone, too.

        Raises:
            OSError: the folder cannot be written.
        """
        with suppress(FileNotFoundError), opened_folder(self.folder(experiment_id)) as directory:
            os.unlink(TOMBSTONE_FILE, dir_fd=directory)

    def begin_deletion(self, uid: str, content: dict[str, Any]) -> None:
        """Record that the record of an experiment is being deleted, until `end_deletion`.

        Raises:
            OSError: that cannot be written.
        """
        with opened_root(self._root) as directory:
            write_file(directory, f"{DELETING}{uid}", [orjson.dumps(content)])

    def end_deletion(self, uid: str) -> None:
        """Remove what `begin_deletion` has recorded, if it is there and can be."""
        with suppress(OSError):
            (self._root / f"{DELETING}{uid}").unlink()

    def begun_deletions(self) -> list[dict[str, Any]]:
        """Return what `begin_deletion` has recorded of deletions that have not ended."""
        names = [path.name for path in self._root.glob(f"{DELETING}*")]
        found = (self.read_json(name) for name in names)
        return [one for one in found if one and {"experiment_id", "uid"} <= one.keys()]

    def list_folders(self) -> Iterator[str]:
        """Yield the name of every folder that may be that of an experiment, and of every link.

        Raises:
            OSError: the output folder cannot be read.
        """
        with os.scandir(self._root) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and (entry.is_symlink() or entry.is_dir()):
                    yield entry.name

    def has_traces(self, experiment_id: str, attempt: int) -> bool:
        """Return whether an attempt has left any file, which proves that it was started."""
        if self.has_log(experiment_id, attempt) or self.has_summary(experiment_id):
            return True
        try:
            names = {path.name for path in self.folder(experiment_id).iterdir()}
        except OSError:
            return False
        ours = {RUN_FILE, PARAMETERS_FILE, INPUTS_FILE, TOMBSTONE_FILE, LOG_FOLDER}
        traces = {name for name in names - ours if not name.startswith(TEMPORARY_FILES)}
        return attempt == 1 and bool(traces)

    def has_log(self, experiment_id: str, attempt: int) -> bool:
        """Return whether the experiment's folder has the log of an attempt; see `LogFiles`."""
        file = self.open(experiment_id, LOG_FOLDER, f"{attempt}.log")
        if file:
            file.close()
        return file is not None

    def has_summary(self, experiment_id: str) -> bool:
        """Return whether a trainer has finished: it writes `summary.json` last."""
        return self.read_json(experiment_id, SUMMARY_FILE) is not None

    def set_aside(self, experiment_id: str, uid: str) -> None:
        """Rename an experiment's folder, if it exists, so that it no longer belongs to its id.

        A folder of another experiment stays.

        Raises:
            OSError: it cannot be renamed; `filename` is its name.
        """
        if self.is_of_another(experiment_id, uid):
            return
        folder = self.folder(experiment_id)
        try:
            if folder.is_dir() and not folder.is_symlink():
                folder.rename(self._root / _aside(uid))
            else:  # a link or a file of its name is not the folder
                folder.unlink(missing_ok=True)
        except FileNotFoundError:
            return
        except OSError as error:
            raise OSError(error.errno, error.strerror, experiment_id) from error

    def remove_aside(self, uid: str) -> None:
        """Remove the folder that `set_aside` has renamed, if it exists, with everything in it.

        Raises:
            OSError: something in it cannot be removed; its `filename` is the path of that in the
                output folder.
        """
        self.remove(_aside(uid))

    def set_aside_uids(self) -> list[str]:
        """Return the uids of the folders that were set aside and are not removed yet.

        Raises:
            OSError: the output folder cannot be read.
        """
        names = [path.name for path in self._root.glob(f"{SET_ASIDE}*")]
        return [name.removeprefix(SET_ASIDE) for name in names]

    def remove(self, experiment_id: str) -> None:
        """Remove an experiment's folder with everything in it, if it exists.

        Several processes may remove the same folder at once.

        Raises:
            OSError: something in it cannot be removed; its `filename` is the path of that in the
                output folder.
        """
        folder = self.folder(experiment_id)
        for _ in range(MAX_REMOVALS):
            if not os.path.lexists(folder):
                return
            with suppress(FileNotFoundError):  # another process has just removed a part of it
                remove_folder(folder)
        remove_folder(folder)

    def read_last_metrics(
        self, experiment_id: str, *, ended: bool = False
    ) -> dict[str, Any] | None:
        """Return the last complete row of `metrics.jsonl`, or None if there is none yet.

        A value is None if it is not a finite number, a printable text or a boolean.

        Args:
            experiment_id: which experiment.
            ended: whether the trainer has ended: a last line without a line end is complete then.
        """
        *lines, rest = self._read_tail(experiment_id, METRICS_FILE).split(b"\n")
        for line in chain([rest] if ended else [], reversed(lines)):
            for metrics in parse_rows([line]):
                names = islice(filter(is_metric_name, metrics), MAX_METRICS)
                return {name: presentable(metrics[name]) for name in names}
        return None

    def read_json(self, *parts: str) -> dict[str, Any] | None:
        """Return the content of a small file, or None if it is missing or not a JSON object."""
        file = open_file(self._root, parts)
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
        """Return the last TAIL_BYTES of a file; nothing if it is missing."""
        file = self.open(experiment_id, name)
        if file is None:
            return b""
        with file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read(TAIL_BYTES)


def _entry_of(content: dict[str, Any], sha256: Any) -> dict[str, Any]:
    """Return the member `entry` of a run.json if it has this digest: a trainer may have changed it.

    The digest is that of `Entry.content`, which is JSON without spaces.
    """
    try:
        text = json.dumps(content.get("entry"), ensure_ascii=False, separators=(",", ":"))
        is_ours = hashlib.sha256(text.encode()).hexdigest() == sha256
    except (ValueError, RecursionError):  # half of a surrogate pair, or nested too deeply
        return {}
    return {"entry": content["entry"]} if is_ours else {}


def _aside(uid: str) -> str:
    return f"{SET_ASIDE}{uid}"
