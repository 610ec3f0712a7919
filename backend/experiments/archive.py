"""Keeps the run.json of every experiment in line with the database, and restores rows from it.

The database can be lost while the output folders stay: run.json holds the complete record and
history of an experiment. It is written before its Job is created, and after each change of status.
"""

import json
import logging
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from backend.domain.attempt import Attempt
from backend.domain.catalogue import Entry
from backend.domain.data_sets.pins import pins_from_text
from backend.domain.exceptions import FolderTaken, StoreUnavailable
from backend.domain.experiment import Experiment, Transition
from backend.domain.selection import Cursor
from backend.domain.timestamps import to_text
from backend.experiments import run_file
from backend.experiments.run_file import RunFile, UnusableRunFile
from backend.files.outputs import Outputs
from backend.store.changes import Values
from backend.store.queries import Store

log = logging.getLogger(__name__)

Record = tuple[Experiment, list[Transition]]  # its transitions, oldest first


class ExperimentDeleted(Exception):
    """The experiment was deleted, and its folder was kept."""


class Archive:
    """The run.json files, and the rows that belong to them.

    Every method that uses the database raises StoreUnavailable if that cannot be used.
    """

    def __init__(self, store: Store, outputs: Outputs) -> None:
        self._store, self._outputs = store, outputs

    def create_run_file(
        self, experiment: Experiment, history: list[Transition], entry: Entry | None = None
    ) -> None:
        """Write the files of an experiment that is about to start; create its folder if needed.

        They are run.json, which also holds the `entry` of the model, parameters.json and, if its
        files are known, inputs.json.

        Raises:
            FolderTaken: the folder belongs to another experiment.
            OSError: a file cannot be written.
        """
        name = experiment.experiment_id
        content = self._render(experiment, history)
        if entry:
            content |= {"entry": json.loads(entry.content)}
        self._outputs.write_run_file(name, content)
        self._outputs.write_parameters(name, experiment.parameters.values)
        if pins := pins_from_text(experiment.inputs):
            self._outputs.write_inputs(name, pins)
        self._outputs.remove_tombstone(name)

    def update_run_file(
        self, experiment: Experiment, expected: Record | None = None
    ) -> Experiment | None:
        """Bring run.json in line with the database; log it if the file cannot be written.

        `expected` is what the database holds unless another process has changed it meanwhile. It
        saves reading the database before writing.

        Returns:
            The experiment as it is now, or None if it no longer exists.
        """
        record = expected or self.find(experiment.experiment_id)
        while record:
            current, history = record
            if current.uid != experiment.uid:
                return None
            content = self._render(current, history)
            try:
                self._outputs.write_run_file(current.experiment_id, content, make_folder=False)
            except (OSError, FolderTaken) as error:
                log.warning("run.json of %r cannot be written: %r", current.experiment_id, error)
            # Of several processes that write, the last one sees what the others have changed.
            if self._store.is_unchanged(current):
                return current
            record = self.find(experiment.experiment_id)
        return None

    def update_recent_run_files(self, number: int) -> None:
        """Update the run.json of the `number` experiments that were changed last.

        The process that changed them may have been killed before it could.
        """
        for experiment in self._store.last_changed(number):
            try:
                self.update_run_file(experiment)
            except StoreUnavailable:
                raise
            except Exception:  # one bad record must not prevent the start
                log.exception("run.json of %r cannot be updated", experiment.experiment_id)

    def write_tombstone(self, experiment: Experiment) -> None:
        """Mark the folder of an experiment as deleted, so that no rebuild restores it.

        Raises:
            OSError: the mark cannot be written.
        """
        tombstone = {"uid": experiment.uid, "forgotten_at": to_text(datetime.now(UTC))}
        self._outputs.write_tombstone(experiment.experiment_id, tombstone)

    def find(self, experiment_id: str) -> Record | None:
        """Return an experiment and its history, both as of one moment, or None."""
        return self._store.with_history(experiment_id)

    def history(self, experiment_id: str) -> list[Transition]:
        """Return the transitions of an experiment, oldest first."""
        return self._store.history(experiment_id)

    def by_ids(self, experiment_ids: Sequence[str]) -> dict[str, Experiment]:
        """Return those of these experiments that the database knows, by their ids."""
        experiments = self._store.by_ids(experiment_ids)
        return {experiment.experiment_id: experiment for experiment in experiments}

    def page(self, after: Cursor | None, limit: int) -> list[Experiment]:
        """Return at most `limit` experiments that follow `after`, newest first."""
        return self._store.page(limit=limit, after=after)

    def names(self) -> Iterator[str]:
        """Yield the name of every folder that may be an experiment's, and not a sweep's.

        Raises:
            OSError: the output folder cannot be read.
        """
        folders = self._outputs.list_folders()
        return (name for name in folders if not self._outputs.is_sweep_folder(name))

    def read(self, name: str) -> RunFile:
        """Return the run.json in the folder of that name.

        Raises:
            UnusableRunFile: there is none, or it describes no valid experiment.
            ExperimentDeleted: the experiment was deleted.
        """
        content = self._outputs.read_run_file(name)
        if content is None:
            raise UnusableRunFile("it has no readable run.json")
        file = run_file.parse(content, name)
        if self._outputs.has_tombstone(name, file.attempt.uid):
            raise ExperimentDeleted
        return file

    def restore(self, files: Sequence[RunFile], attempts: Collection[Attempt]) -> list[str]:
        """Add the experiments of these files to the database; existing ones stay as they are.

        An experiment that was `submitting` when its file was written becomes `queued` if its Job is
        among `attempts` or has left output: it must not be started a second time. If the Job no
        longer exists, the reconciler records its end.

        Returns:
            The experiment_ids that were added.
        """
        now = datetime.now(UTC)
        started = set(attempts)
        rows = []
        for file in files:
            attempt = file.attempt
            if attempt in started or self._outputs.has_traces(
                attempt.experiment_id, attempt.number
            ):
                file = file.started(now)
            rows.append((file.values | {"note": file.note}, file.history))
        return self._store.restore(rows, self._is_wanted)

    def adopt(self, attempt: Attempt, since: datetime) -> bool:
        """Add the experiment of an attempt that has a Job, but no row in the database.

        It is described by its run.json; if there is none, one is written, as of `since`.

        Returns:
            False if an experiment of that id exists by now.

        Raises:
            ExperimentDeleted: the experiment was deleted.
            FolderTaken: the folder belongs to another experiment.
            UnusableRunFile: the attempt is not valid.
            OSError: run.json cannot be written.
        """
        name = attempt.experiment_id
        if self._outputs.has_tombstone(name, attempt.uid):
            raise ExperimentDeleted
        try:
            file = self.read(name)
        except UnusableRunFile as error:
            log.warning("The folder %r gets a run.json made from its Job: %s", name, error)
            content = run_file.adopted(attempt, since)
            file = run_file.parse(content, name)
            self._outputs.write_run_file(name, content)
        if file.attempt.uid != attempt.uid:
            raise FolderTaken
        return bool(self.restore([file], [attempt]))

    def adopt_attempt(self, experiment: Experiment, attempt: Attempt) -> bool:
        """Make `attempt`, which has a Job, the current one of an experiment that has ended.

        Returns:
            False if the experiment has changed meanwhile.
        """
        is_changed = self._store.retry(
            experiment,
            job=attempt.handle,
            following=attempt.number,
            reason="adopted",
        )
        if is_changed:
            self.update_run_file(experiment)
        return is_changed

    def _render(self, experiment: Experiment, history: list[Transition]) -> dict[str, Any]:
        note = self._store.note(experiment.id) if experiment.revision else ""
        return run_file.render(experiment, history, note)

    def _is_wanted(self, values: Values) -> bool:
        """Return whether the folder still belongs to that experiment, and it was not deleted."""
        name, uid = values["experiment_id"], values["uid"]
        content: dict[str, Any] = self._outputs.read_run_file(name) or {}
        return content.get("uid") == uid and not self._outputs.has_tombstone(name, uid)
