"""Deletes experiments that have ended, with their folders or without, whatever is killed between.

With its folder: the request is a column of the row. Without: it is a file in the output folder, as
is the mark that keeps `rebuild` from restoring the experiment.
"""

import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from backend.domain.exceptions import (
    OutputNotDeleted,
    OutputOfAnother,
    StillLive,
    UnknownExperiment,
)
from backend.domain.experiment import Experiment
from backend.domain.status import LIVE
from backend.experiments.archive import Archive
from backend.files.outputs import Outputs
from backend.launchers.base import Launcher
from backend.store.queries import Store

log = logging.getLogger(__name__)


class Deletion:
    """Every method raises StoreUnavailable if the database cannot be used."""

    def __init__(
        self, store: Store, launcher: Launcher, outputs: Outputs, archive: Archive
    ) -> None:
        self._store, self._launcher = store, launcher
        self._outputs, self._archive = outputs, archive

    def delete(self, experiment_id: str, *, outputs: bool, by: str | None = None) -> None:
        """Delete an experiment that has ended; its folder too if `outputs` is true.

        The request is recorded before anything is removed, and the reconciler finishes what a
        process that was killed has left undone. With `outputs`, the experiment cannot be retried
        from then on.

        Raises:
            UnknownExperiment: there is none of that id.
            StillLive: it has not ended, or is retried meanwhile; nothing of it was removed.
            OutputMissing: the output folder is gone; nothing was deleted.
            OutputOfAnother: its folder belongs to another experiment; nothing was deleted.
            LauncherUnavailable: its Jobs cannot be deleted now; nothing else was deleted.
            OutputNotDeleted: its folder cannot be removed or marked; its row is kept.
        """
        experiment = self._store.get(experiment_id)
        if experiment is None:
            raise UnknownExperiment(experiment_id)
        if experiment.status in LIVE:
            raise StillLive(experiment_id, experiment.status)
        self._outputs.check()
        if outputs and self._outputs.is_of_another(experiment_id, experiment.uid):
            raise OutputOfAnother
        for number in range(1, experiment.attempt + 1):
            self._launcher.delete_job(replace(experiment.current_attempt, number=number))
        if outputs or experiment.delete_requested_at:
            is_deleted = self._delete_with_outputs(experiment)
        else:
            is_deleted = self._delete_record(experiment)
        if not is_deleted:
            current = self._store.get(experiment_id)
            if current and current.uid == experiment.uid:  # it was retried meanwhile
                raise StillLive(experiment_id, current.status)
        log.info("%r is deleted, outputs=%s, by %s", experiment_id, outputs, by or "anyone")

    def being_deleted(self) -> list[Experiment]:
        """Return every experiment whose deletion with its folder is not finished."""
        return self._store.being_deleted()

    def finish_deletion(self, experiment: Experiment) -> None:
        """Remove the folder of an experiment whose deletion was requested, and then its row.

        Raises:
            OutputMissing: the output folder is gone, so that its folder may come back.
            OutputNotDeleted: its folder cannot be removed; its row is kept.
        """
        self._outputs.check()
        name, uid = experiment.experiment_id, experiment.uid
        try:
            self._outputs.remove_aside(uid)
            # Locked, because after the row is gone a new experiment may have a folder of this name.
            self._store.while_deleting(experiment, lambda: self._outputs.set_aside(name, uid))
            self._outputs.remove_aside(uid)
        except OSError as error:
            raise OutputNotDeleted(error, outputs=True) from error
        self._store.delete(experiment)

    def remove_deleted_folders(self) -> None:
        """Remove what earlier processes have left of the folders of deleted experiments."""
        try:
            for uid in self._outputs.set_aside_uids():
                self._outputs.remove_aside(uid)
        except OSError as error:
            log.warning("A deleted folder cannot be removed yet: %s", error)

    def _delete_with_outputs(self, experiment: Experiment) -> bool:
        """Delete an experiment and its folder; return False if it has changed meanwhile."""
        is_requested = self._store.update(experiment, {"delete_requested_at": datetime.now(UTC)})
        if is_requested:
            self.finish_deletion(experiment)
        return is_requested

    def finish_record_deletions(self) -> None:
        """Finish the deletions without outputs that a process began before it was killed.

        One whose experiment was retried meanwhile is given up.

        Raises:
            OutputNotDeleted: a folder cannot be marked; its row is kept.
        """
        for begun in self._outputs.begun_deletions():
            name, uid = begun["experiment_id"], begun["uid"]
            current = self._store.get(name)
            if current is None or current.uid != uid:
                self._outputs.end_deletion(uid)
            elif begun == _as_begun(current):
                self._delete_record(current)
            else:
                self._outputs.remove_tombstone(name)
                self._outputs.end_deletion(uid)

    def _delete_record(self, experiment: Experiment) -> bool:
        """Mark the folder and delete the row; return False if that has changed meanwhile.

        A mark beside a row would keep `rebuild` from restoring it.
        """
        name, uid = experiment.experiment_id, experiment.uid
        try:
            self._outputs.begin_deletion(uid, _as_begun(experiment))
            self._archive.write_tombstone(experiment)
        except OSError as error:
            self._outputs.end_deletion(uid)
            raise OutputNotDeleted(error, outputs=False) from error
        is_deleted = self._store.delete(experiment)
        if not is_deleted:
            current = self._store.get(name)
            if current and current.uid == uid:
                self._outputs.remove_tombstone(name)
        self._outputs.end_deletion(uid)
        return is_deleted


def _as_begun(experiment: Experiment) -> dict[str, Any]:
    """Return what is recorded of a deletion: the experiment in the state that it is deleted in."""
    names = ("experiment_id", "uid", "attempt", "status")
    return {name: getattr(experiment, name) for name in names}
