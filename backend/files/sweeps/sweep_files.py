"""The folders of sweeps in the output folder; each holds a sweep.json and nothing else.

The trials of a sweep have folders of their own, as all experiments.
"""

import os
from collections.abc import Iterator
from typing import Any

import orjson

from backend.domain.exceptions import FolderTaken
from backend.files.outputs import RUN_FILE, SWEEP_FILE, TOMBSTONE_FILE, Outputs
from backend.files.untrusted import opened_folder, write_file

OURS = {SWEEP_FILE, TOMBSTONE_FILE}


class SweepFiles:
    """The folders of all sweeps."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs

    def write(self, sweep_id: str, content: dict[str, Any], *, make_folder: bool = True) -> None:
        """Write `sweep.json` atomically; create the folder if it is missing and `make_folder`.

        Raises:
            FolderTaken: the folder is that of an experiment, or of another sweep.
            OSError: the folder cannot be written (no space, no permission), or is missing.
        """
        folder = self._outputs.folder(sweep_id)
        if make_folder:
            folder.mkdir(parents=True, exist_ok=True)
        existing = self.read(sweep_id)
        is_of_another = existing is not None and existing.get("uid") != content["uid"]
        if is_of_another or os.path.lexists(folder / RUN_FILE):
            raise FolderTaken
        with opened_folder(folder) as directory:
            write_file(directory, SWEEP_FILE, [orjson.dumps(content, option=orjson.OPT_INDENT_2)])

    def read(self, sweep_id: str) -> dict[str, Any] | None:
        """Return the content of `sweep.json`, or None if it is missing or not a JSON object."""
        return self._outputs.read_json(sweep_id, SWEEP_FILE)

    def names(self) -> Iterator[str]:
        """Yield the name of every folder that is a sweep's.

        One that holds anything else is left out: a trainer can write to the folder of its own
        experiment, and must not become a sweep that starts others.

        Raises:
            OSError: the output folder cannot be read.
        """
        for name in self._outputs.list_folders():
            if self._outputs.is_sweep_folder(name):
                found = {path.name for path in self._outputs.folder(name).iterdir()}
                if all(each in OURS or each.startswith(".") for each in found):
                    yield name

    def all_names(self) -> Iterator[str]:
        """Yield the name of every folder, of sweeps and of experiments.

        Raises:
            OSError: the output folder cannot be read.
        """
        return self._outputs.list_folders()

    def is_deleted(self, sweep_id: str, uid: str) -> bool:
        """Return whether the record of the sweep with this uid was deleted."""
        return self._outputs.has_tombstone(sweep_id, uid)

    def write_tombstone(self, sweep_id: str, tombstone: dict[str, Any]) -> None:
        """Mark the folder, if it exists, as that of a sweep whose record was deleted.

        Raises:
            OSError: the folder cannot be written.
        """
        self._outputs.write_tombstone(sweep_id, tombstone)

    def remove(self, sweep_id: str, uid: str) -> None:
        """Remove the folder of the sweep with this uid, if it exists.

        Raises:
            OSError: it cannot be removed.
        """
        existing = self.read(sweep_id)
        if existing is not None and existing.get("uid") == uid:
            self._outputs.set_aside(sweep_id, uid)
        self._outputs.remove_aside(uid)
