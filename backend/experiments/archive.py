"""Keeps run.json of every run in line with the database, and makes the database right from it.

The database can be lost, and a run's folder stays: its run.json holds the whole record and history.
It is written before a Job is made, and after each change of status.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from backend.domain.attempt import Attempt
from backend.domain.exceptions import FolderTaken
from backend.domain.experiment import Experiment, Transition
from backend.domain.timestamps import to_text
from backend.experiments import run_file
from backend.experiments.run_file import RunFile, Unusable
from backend.files.outputs import Outputs
from backend.store.pages import Cursor
from backend.store.queries import Store, Values

log = logging.getLogger(__name__)

Found = tuple[Experiment, list[Transition]]  # its changes of status, oldest first


class ExperimentDeleted(Exception):
    """Somebody wanted the run forgotten."""


class Archive:
    """The run.json of every run, and the rows that belong to them.

    Every method that asks the database raises StoreUnavailable when it is away.
    """

    def __init__(self, store: Store, outputs: Outputs) -> None:
        """Work on these."""
        self._store, self._outputs = store, outputs

    def create_run_file(self, experiment: Experiment, history: list[Transition]) -> None:
        """Write run.json of a run that is about to be started; make its folder if needed.

        Raises:
            FolderTaken: the folder is another run's.
            OSError: it cannot be written.
        """
        self._outputs.write_run_file(experiment.experiment_id, run_file.render(experiment, history))
        self._outputs.remove_tombstone(experiment.experiment_id)

    def update_run_file(
        self, experiment: Experiment, expected: Found | None = None
    ) -> Experiment | None:
        """Bring run.json in line with the database, as far as it can be written.

        `expected` is what the database holds if nobody else has changed it meanwhile: it is written
        before it is looked at.

        Returns:
            The experiment as it now is, or None if it is there no more.
        """
        found = expected or self.find(experiment.experiment_id)
        while found:
            now, history = found
            if now.uid != experiment.uid:
                return None
            try:
                record = run_file.render(now, history)
                self._outputs.write_run_file(now.experiment_id, record, make_folder=False)
            except (OSError, FolderTaken) as error:
                log.warning("run.json of %r cannot be written: %r", now.experiment_id, error)
            # Of several that write, the last one sees what the others have changed.
            if self._store.last_change(now.id) == (now.attempt, now.status, now.updated_at):
                return now
            found = self.find(experiment.experiment_id)
        return None

    def update_last_changed(self, number: int) -> None:
        """Keep the `number` that were changed last: who did it may have been killed before."""
        for row in self._store.last_changed(number):
            self.update_run_file(Experiment.from_row(row))

    def write_tombstone(self, experiment: Experiment) -> None:
        """Leave word in the run's folder that it was forgotten, so that it does not come back.

        Raises:
            OSError: it cannot be written.
        """
        word = {"uid": experiment.uid, "forgotten_at": to_text(datetime.now(UTC))}
        self._outputs.write_tombstone(experiment.experiment_id, word)

    def find(self, experiment_id: str) -> Found | None:
        """Find an experiment and its changes of status, oldest first, both as of one moment."""
        found = self._store.with_history(experiment_id)
        if found is None:
            return None
        columns, steps = found
        return Experiment.from_columns(columns), [Transition(**step) for step in steps]

    def history(self, experiment_id: str) -> list[Transition]:
        """List an experiment's changes of status, oldest first."""
        return [Transition.from_row(row) for row in self._store.history(experiment_id)]

    def names(self) -> Iterator[str]:
        """Name every folder that may be a run's.

        Raises:
            OSError: the output folder cannot be read.
        """
        return self._outputs.list_folders()

    def read(self, name: str) -> RunFile:
        """Read the run.json in the folder of that name.

        Raises:
            Unusable: there is none, or no experiment can be made from it.
            Forgotten: the run was forgotten.
        """
        content = self._outputs.read_run_file(name)
        if content is None:
            raise Unusable("it holds no run.json that can be read")
        found = run_file.parse(content, name)
        if self._outputs.has_tombstone(name, found.attempt.uid):
            raise ExperimentDeleted
        return found

    def experiments(self, experiment_ids: Sequence[str]) -> dict[str, Experiment]:
        """Find by their ids the experiments that the database knows."""
        rows = self._store.by_ids(experiment_ids)
        return {row.experiment_id: Experiment.from_row(row) for row in rows}

    def page(self, after: Cursor | None, limit: int) -> list[Experiment]:
        """List at most `limit` experiments that follow `after`, newest first."""
        return [Experiment.from_row(row) for row in self._store.page(limit=limit, after=after)]

    def restore(self, files: Sequence[RunFile], attempts: Collection[Attempt]) -> list[str]:
        """Add the experiments of these files to the database; what is there stays as it is.

        A run that was to be submitted when its file was written is `queued` if its Job is among
        `runs` or it has left a trace: it must not be started again by a guess. If its Job is
        gone, the reconciler says what became of it.

        Returns:
            The experiment_ids that were added.
        """
        now = datetime.now(UTC)
        there = set(attempts)
        begun = [
            one.begun(now)
            if one.attempt in there
            or self._outputs.has_traces(one.attempt.experiment_id, one.attempt.number)
            else one
            for one in files
        ]
        rows = [(one.values, [asdict(step) for step in one.history]) for one in begun]
        return self._store.restore(rows, self._is_wanted)

    def adopt(self, attempt: Attempt, since: datetime) -> bool:
        """Make a run known of which its Job is there, and the database knows nothing.

        What run.json says of it counts; if there is none, one is written, as of `since`.

        Returns:
            False if there is an experiment of that id by now.

        Raises:
            Forgotten: the run was forgotten.
            FolderTaken: its folder is another run's.
            Unusable: it cannot be a run of ours.
            OSError: its run.json cannot be written.
        """
        name = attempt.experiment_id
        if self._outputs.has_tombstone(name, attempt.uid):
            raise ExperimentDeleted
        try:
            found = self.read(name)
        except Unusable:
            content = run_file.adopted(attempt, since)
            found = run_file.parse(content, name)
            self._outputs.write_run_file(name, content)
        if found.attempt.uid != attempt.uid:
            raise FolderTaken
        return bool(self.restore([found], [attempt]))

    def adopt_attempt(self, experiment: Experiment, attempt: Attempt) -> bool:
        """Bring an experiment that has ended to a later attempt, whose Job is there.

        Returns:
            False if it has changed meanwhile.
        """
        moved = self._store.retry(
            experiment.id,
            attempt=experiment.attempt,
            status=experiment.status,
            job=attempt.handle,
            following=attempt.number,
            reason="adopted",
        )
        if moved:
            self.update_run_file(experiment)
        return moved

    def _is_wanted(self, values: Values) -> bool:
        """Tell whether the folder still holds that run, and nobody wants it forgotten."""
        name, uid = values["experiment_id"], values["uid"]
        content: dict[str, Any] = self._outputs.read_run_file(name) or {}
        return content.get("uid") == uid and not self._outputs.has_tombstone(name, uid)
