"""Experiments: what they are, how they change, and how one is submitted.

Knows no Flask and no Kubernetes; the store, the launcher and the folders are handed in.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from backend.domain.attempt import Attempt, Diagnosis
from backend.domain.exceptions import (
    FolderTaken,
    HasEnded,
    NotRetriable,
    OtherParameters,
    OutputUnwritable,
    StillLive,
    SubmissionRefused,
    UnknownAttempt,
    UnknownDataset,
    UnknownExperiment,
)
from backend.domain.experiment import Experiment, Parameters, Transition, new_values
from backend.domain.status import LIVE, Status
from backend.experiments.archive import Archive
from backend.experiments.events import AttemptWatch, TransitionFeed
from backend.experiments.logs import Logs
from backend.experiments.recorder import Recorder
from backend.files.inputs import Inputs
from backend.files.outputs import Outputs
from backend.launchers.base import (
    Job,
    Launcher,
    LauncherRefused,
    LauncherUnavailable,
    Observation,
    Phase,
)
from backend.store.engine import StoreUnavailable
from backend.store.pages import ALL, Columns, Cursor, Selection
from backend.store.queries import Store

MODEL = "autoencoder"  # the one that AE_MODEL_IMAGE_URL holds

log = logging.getLogger(__name__)


class Outcome(Enum):
    """What a submission came to."""

    CREATED = "the run was started"
    ACCEPTED = "the run will be started"
    EXISTING = "the same run was submitted before"


class Experiments:
    """All experiments, and everything that can be done with them.

    Every method raises StoreUnavailable when the database is away.

    """

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        inputs: Inputs,
        outputs: Outputs,
        logs: Logs,
        archive: Archive,
        recorder: Recorder,
        events: TransitionFeed,
    ) -> None:
        self._store, self._launcher = store, launcher
        self._inputs, self._outputs = inputs, outputs
        self._logs, self._archive = logs, archive
        self._recorder, self._events = recorder, events

    def check_ready(self) -> None:
        """Make sure that the database answers and has the schema that this version needs."""
        self._store.ping()

    def submit(
        self, experiment_id: str, parameters: Parameters, *, by: str | None = None
    ) -> tuple[Outcome, Experiment]:
        """Start a run, once, however often and from wherever this is called.

        The intent is committed before anything is started, and the Job's name is made from the
        id: whatever breaks in between, the reconciler finds the intent and starts the same Job.
        `by` names who wants it, here and below: it stands in the history.

        Raises:
            OtherParameters: the id is taken.
            FolderTaken: its output folder holds files of something else.
            UnknownDataset: there is no such data set.
            OutputUnwritable: the output folder cannot be written.
            SubmissionRefused: the launcher will never start it.
        """
        values = new_values(experiment_id, parameters)
        job = self._launcher.render(Attempt.from_columns(values))
        refusal = self._what_stands_against(experiment_id, parameters)
        if refusal is None and (row_id := self._store.insert(values, actor=by)):
            return self._start_new(Experiment.from_columns(values | {"id": row_id}), job, by)
        existing = self._find(experiment_id)
        if existing is None:
            raise refusal or FolderTaken()
        if existing.uid == values["uid"]:  # it was inserted, and the answer lost
            return self._start_new(existing, job, by)
        if existing.parameters != parameters:
            raise OtherParameters(experiment_id, existing.parameters)
        return Outcome.EXISTING, existing

    def get(self, experiment_id: str) -> Experiment:
        """Find one experiment.

        Raises:
            UnknownExperiment: there is none of that id.
        """
        experiment = self._find(experiment_id)
        if experiment is None:
            raise UnknownExperiment(experiment_id)
        return experiment

    def attempt(
        self, experiment_id: str, number: int | None = None
    ) -> tuple[Experiment, AttemptWatch]:
        """Find one experiment and one of its attempts, the current one unless it is named.

        Raises:
            UnknownExperiment, UnknownAttempt: there is none.
        """
        seen = self._events.now()  # before the experiment: what comes in between is told twice
        experiment = self.get(experiment_id)
        number = number or experiment.attempt
        if number > experiment.attempt:
            raise UnknownAttempt(experiment_id, number, experiment.attempt)
        is_over = number < experiment.attempt or experiment.status not in LIVE
        attempt = AttemptWatch(self._events, experiment_id, number, is_over=is_over, seen=seen)
        return experiment, attempt

    def history(self, experiment: Experiment) -> list[Transition]:
        """List its changes of status, oldest first."""
        return self._archive.history(experiment.experiment_id)

    def page(
        self, *, limit: int, after: Cursor | None = None, selection: Selection = ALL
    ) -> Sequence[Experiment]:
        """List at most `limit` experiments that follow `after`; see Selection."""
        rows = self._store.page(limit=limit, after=after, selection=selection)
        return [Experiment.from_row(row) for row in rows]

    def rows(
        self, *, limit: int, after: Cursor | None, selection: Selection, columns: Columns
    ) -> Sequence[Any]:
        """Give the rows of that page, of each experiment only the `columns`: at less cost."""
        return self._store.page(limit=limit, after=after, selection=selection, columns=columns)

    def get_all(self, experiment_ids: Sequence[str]) -> list[Experiment]:
        """Find several experiments, in that order.

        Raises:
            UnknownExperiment: for one or more of them, all of which it names.
        """
        there = self._archive.experiments(experiment_ids)
        missing = [one for one in experiment_ids if one not in there]
        if missing:
            raise UnknownExperiment(*missing)
        return [there[one] for one in experiment_ids]

    def counts(self) -> dict[str, int]:
        """Count the experiments of each status that has any."""
        return self._store.counts()

    def live(self) -> list[Experiment]:
        """List every experiment that has not ended, oldest first."""
        return [Experiment.from_row(row) for row in self._store.in_status(LIVE)]

    def unsettled(self, before: datetime) -> list[str]:
        """Name the Jobs that are to be ended, as somebody wished, or still to be started.

        Of the latter those that nobody has tried to start since `before`.
        """
        return [str(row.job) for row in self._store.unsettled(before)]

    def of_jobs(self, jobs: Sequence[str]) -> list[Experiment]:
        """List the experiments whose current attempt has one of these Jobs."""
        return [Experiment.from_row(row) for row in self._store.by_job(jobs)] if jobs else []

    def launch(self, experiment: Experiment) -> Experiment:
        """Start the run of a `submitting` experiment; harmless if it was started already.

        Returns:
            The experiment as it then is: queued, or submitting with a diagnosis.

        Raises:
            UnknownExperiment: it was forgotten meanwhile.
            SubmissionRefused: the launcher will never start it; it is marked failed.
        """
        found = self._archive.find(experiment.experiment_id)
        if found is None:
            raise UnknownExperiment(experiment.experiment_id)
        now, history = found
        if (now.uid, now.attempt, now.status) != (
            experiment.uid,
            experiment.attempt,
            Status.SUBMITTING,
        ):
            return now  # somebody else was quicker
        return self._launch(now, history, self._launcher.render(now.current_attempt))

    def cancel(self, experiment_id: str, *, by: str | None = None) -> Experiment:
        """Ask a run to end; one that was cancelled before is no error.

        The wish is committed first. Whether the run was cancelled or had come to its end is
        decided by what is then seen of it, so `cancelled` follows within about a second.

        Raises:
            UnknownExperiment: there is none of that id.
            HasEnded: it has succeeded or failed.
        """
        experiment = self.get(experiment_id)
        now = datetime.now(UTC)
        wish = {"cancel_requested_at": now, "cancel_requested_by": by}
        while not self._recorder.update(experiment, wish):
            experiment = self.get(experiment_id)  # it moved on meanwhile
            if experiment.status is Status.CANCELLED:
                return experiment
            if experiment.status not in LIVE:
                raise HasEnded(experiment_id, experiment.status)
        experiment = replace(experiment, cancel_requested_at=now, cancel_requested_by=by)
        self._archive.update_run_file(experiment)
        self.stop(experiment)
        return experiment

    def stop(self, experiment: Experiment) -> None:
        """Let the launcher end a run that was cancelled, and its last words be kept."""
        self._logs.save_final_output(experiment)
        try:
            self._launcher.cancel(experiment.job)
        except LauncherUnavailable as error:  # the reconciler asks again
            log.warning("%r cannot be cancelled yet: %s", experiment.experiment_id, error)

    def retry(self, experiment_id: str, *, by: str | None = None) -> Experiment:
        """Start a failed or cancelled run once more, as the next attempt, from its checkpoint.

        Raises:
            UnknownExperiment: there is none of that id.
            NotRetriable: it is still going on, or has succeeded.
            SubmissionRefused: the launcher will never start it.
        """
        experiment = self.get(experiment_id)
        if experiment.status not in (Status.FAILED, Status.CANCELLED):
            raise NotRetriable(experiment_id, experiment.status)
        next_attempt = replace(experiment.current_attempt, number=experiment.attempt + 1)
        if not self._store.retry(
            experiment.id,
            attempt=experiment.attempt,
            status=experiment.status,
            job=next_attempt.handle,
            actor=by,
        ):
            raise NotRetriable(experiment_id, self.get(experiment_id).status)
        return self.launch(self.get(experiment_id))

    def delete(self, experiment_id: str, *, outputs: bool, by: str | None = None) -> None:
        """Forget a run that has ended, and its folder too if `outputs` says so.

        Raises:
            UnknownExperiment: there is none of that id.
            StillLive: it has not ended.
            LauncherUnavailable: its Job cannot be removed now; nothing was forgotten.
            OutputUnwritable: its folder cannot be removed or written; it is still there.
        """
        experiment = self.get(experiment_id)
        if experiment.status in LIVE:
            raise StillLive(experiment_id, experiment.status)
        for attempt in range(1, experiment.attempt + 1):
            self._launcher.delete_job(replace(experiment.current_attempt, number=attempt))
        try:
            if outputs:
                self._outputs.remove(experiment_id)
            else:
                self._archive.write_tombstone(experiment)
        except OSError as error:
            raise OutputUnwritable(error) from error
        attempt, status = experiment.attempt, experiment.status
        if not self._store.delete(experiment.id, attempt=attempt, status=status):
            now = self._find(experiment_id)
            if now and now.uid == experiment.uid:  # somebody retried it meanwhile
                self._outputs.remove_tombstone(experiment_id)
                raise StillLive(experiment_id, now.status)
        log.info("%r is forgotten, outputs=%s, by %s", experiment_id, outputs, by or "anyone")

    def _start_new(
        self, experiment: Experiment, job: Job, by: str | None
    ) -> tuple[Outcome, Experiment]:
        now, status = experiment.created_at, experiment.status
        history = [Transition(experiment.attempt, None, status, None, now, by)]
        try:
            started = self._launch(experiment, history, job)
        except StoreUnavailable:  # away since the intent was committed; the reconciler goes on
            log.warning("%r is submitted; the database went away meanwhile", experiment)
            return Outcome.ACCEPTED, experiment
        if started.status is Status.SUBMITTING:
            return Outcome.ACCEPTED, started
        return Outcome.CREATED, started

    def _launch(self, experiment: Experiment, history: list[Transition], job: Job) -> Experiment:
        try:
            self._archive.create_run_file(experiment, history)
            self._launcher.submit(job)
        except LauncherUnavailable as error:
            return self._explain(experiment, error.diagnosis)
        except (OSError, FolderTaken) as error:
            return self._explain(experiment, folder_diagnosis(error))
        except LauncherRefused as error:
            failed = Observation(
                experiment.uid, Phase.FAILED, None, datetime.now(UTC), error.diagnosis
            )
            self._recorder.record(experiment, failed)
            raise SubmissionRefused(error.diagnosis) from error
        now = self._recorder.record_submitted(experiment, history)
        if now is None or now.has_superseded(experiment.current_attempt):  # any more: we were slow
            self._launcher.cancel(experiment.job)
        if now is None:
            raise UnknownExperiment(experiment.experiment_id)
        return now

    def _explain(self, experiment: Experiment, diagnosis: Diagnosis) -> Experiment:
        """Say why a run is not started yet; the reconciler tries again."""
        values = asdict(diagnosis)
        self._recorder.update(experiment, values)
        return replace(experiment, **values)

    def _what_stands_against(
        self, experiment_id: str, parameters: Parameters
    ) -> UnknownDataset | FolderTaken | OutputUnwritable | None:
        """Look before the intent of a new run is committed: after it, nothing is taken back."""
        try:
            self._inputs.check(parameters.dataset)
            if not self._outputs.is_free(experiment_id):
                return FolderTaken()
            self._outputs.check_space()
        except UnknownDataset as error:
            return error
        except OSError as error:
            return OutputUnwritable(error)
        return None

    def _find(self, experiment_id: str) -> Experiment | None:
        row = self._store.get(experiment_id)
        return Experiment.from_row(row) if row else None


def folder_diagnosis(error: OSError | FolderTaken) -> Diagnosis:
    """Say why a run's folder cannot be had yet, and what to do."""
    if isinstance(error, FolderTaken):
        return Diagnosis(
            "output_taken",
            "The run's output folder holds the run.json of another run.",
            "Move that folder away. The run then starts by itself.",
        )
    unwritable = OutputUnwritable(error)
    return Diagnosis(
        "output_full" if unwritable.full else "output_unwritable",
        f"The run's output folder cannot be written: {unwritable.why}.",
        "Free space, or mend the rights of the output folder. The run then starts by itself.",
    )
