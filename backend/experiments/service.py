"""What clients do with experiments: submit, list, cancel, retry, and by inheritance delete."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from backend.domain.catalogue import Choice, Entry
from backend.domain.exceptions import (
    BeingDeleted,
    HasEnded,
    NotRetriable,
    OutputMissing,
    StillEnding,
    UnknownAttempt,
    UnknownExperiment,
)
from backend.domain.experiment import Experiment, Parameters, Transition
from backend.domain.identifiers import stored_form
from backend.domain.selection import ALL, Cursor, Listing, Selection
from backend.domain.status import LIVE, Status
from backend.domain.sweeps.sweep import Sweep
from backend.experiments.archive import Archive
from backend.experiments.data_sets.service import DataSets
from backend.experiments.deletion import Deletion
from backend.experiments.events import AttemptWatch, TransitionFeed
from backend.experiments.logs import Logs
from backend.experiments.models import Models
from backend.experiments.recorder import Recorder
from backend.experiments.submission import Outcome, Submission
from backend.files.inputs import Inputs
from backend.files.outputs import Outputs
from backend.launchers.base import ENDED_PHASES, Launcher, LauncherUnavailable, Phase
from backend.store.queries import Store

ENDING_SECONDS, ENDING_POLL_SECONDS = 5.0, 0.1  # a retry waits for the end of the Job it replaces

log = logging.getLogger(__name__)


class Experiments(Deletion):
    """All experiments, and everything that can be done with them.

    Every method raises StoreUnavailable if the database cannot be used. `by`, where a method takes
    it, is the name of the token of the person who asks for it, for the history.
    """

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        inputs: Inputs,
        data_sets: DataSets,
        outputs: Outputs,
        logs: Logs,
        archive: Archive,
        recorder: Recorder,
        events: TransitionFeed,
        models: Models,
    ) -> None:
        super().__init__(store, launcher, outputs, archive)
        self._logs = logs
        self._recorder, self._events = recorder, events
        self._submission = Submission(
            store, launcher, inputs, data_sets, outputs, archive, recorder, models
        )

    def check_ready(self) -> str:
        """Check that the database answers and has the schema that this version needs.

        Returns:
            Why experiments can be read but not changed: the database cannot be written, or the
            output folder is missing. An empty text if they can be.
        """
        self._store.ping()
        problems = [self._store.database.write_problem()]
        try:
            self._outputs.check()
        except OutputMissing as error:
            problems.append(str(error))
        return " ".join(filter(None, problems))

    def submit(
        self,
        experiment_id: str,
        parameters: Parameters,
        *,
        choice: Choice | None = None,
        by: str | None = None,
    ) -> tuple[Outcome, Experiment]:
        """Start an experiment exactly once; see `Submission.submit`."""
        experiment_id = self.stored_id(experiment_id)
        return self._submission.submit(experiment_id, parameters, choice=choice, by=by)

    def submit_trial(self, sweep: Sweep, parameters: Parameters, entry: Entry) -> Experiment | None:
        """Start the next trial of a sweep exactly once; see `Submission.submit_trial`."""
        return self._submission.submit_trial(sweep, parameters, entry)

    def stored_id(self, experiment_id: str) -> str:
        """Return the id of the experiment that is called so in one of the forms of Unicode.

        An id that no experiment has is returned as new ids are stored.
        """
        return stored_form(experiment_id, self._store.get)

    def get(self, experiment_id: str) -> Experiment:
        """Return one experiment.

        Raises:
            UnknownExperiment: there is none of that id.
        """
        experiment = self._store.get(experiment_id)
        if experiment is None:
            raise UnknownExperiment(experiment_id)
        return experiment

    def attempt(
        self, experiment_id: str, number: int | None = None
    ) -> tuple[Experiment, AttemptWatch]:
        """Return an experiment and one of its attempts, by default the current one.

        Raises:
            UnknownExperiment, UnknownAttempt: there is no such experiment, or no such attempt.
        """
        # Read before the experiment: a transition in between is then seen twice, not never.
        last_event = self._events.last_id()
        experiment = self.get(experiment_id)
        number = number or experiment.attempt
        if number > experiment.attempt:
            raise UnknownAttempt(experiment_id, number, experiment.attempt)
        is_over = number < experiment.attempt or experiment.status not in LIVE
        watch = AttemptWatch(
            self._events, experiment_id, number, is_over=is_over, last_event=last_event
        )
        return experiment, watch

    def history(self, experiment: Experiment) -> list[Transition]:
        """Return the transitions of an experiment, oldest first."""
        return self._archive.history(experiment.experiment_id)

    def page(
        self,
        *,
        limit: int,
        after: Cursor | None = None,
        selection: Selection = ALL,
        until: Cursor | None = None,
    ) -> list[Experiment]:
        """Return at most `limit` experiments of `selection` that follow `after`, up to `until`."""
        return self._store.page(limit=limit, after=after, selection=selection, until=until)

    def search_end(self, after: Cursor | None, selection: Selection) -> Cursor | None:
        """Return where a search that follows `after` pauses; see `Store.search_end`."""
        return self._store.search_end(after, selection)

    def listing(
        self, *, limit: int, after: Cursor | None = None, selection: Selection = ALL
    ) -> Listing:
        """Return that page ready for JSON, with its version and the cursor of the next page.

        For the list route, the most frequent request: a page of 100 takes 0.76 ms of CPU time
        instead of 1.7 ms by `page` (docs/performance.md, "Lists").
        """
        return self._store.listing(limit=limit, after=after, selection=selection)

    def listing_version(
        self, *, limit: int, after: Cursor | None = None, selection: Selection = ALL
    ) -> str:
        """Return the version of that listing, for a client that may have it already."""
        return self._store.listing_version(limit=limit, after=after, selection=selection)

    def get_all(self, experiment_ids: Sequence[str]) -> list[Experiment]:
        """Return several experiments, in the order of their ids.

        Raises:
            UnknownExperiment: some do not exist; it names all of those.
        """
        known = self._archive.by_ids(experiment_ids)
        missing = [name for name in experiment_ids if name not in known]
        if missing:
            raise UnknownExperiment(*missing)
        return [known[name] for name in experiment_ids]

    def counts(self) -> dict[str, int]:
        """Return the number of experiments of each status that has any."""
        return self._store.counts()

    def live(self) -> list[Experiment]:
        """Return every experiment that has not ended, oldest first."""
        return self._store.in_status(LIVE)

    def unfinished_jobs(self, grace: timedelta) -> list[str]:
        """Return the Jobs that have yet to be submitted or, while live, cancelled.

        Those to be submitted only if nobody has tried within `grace`.
        """
        return self._store.unfinished_jobs(grace)

    def by_jobs(self, jobs: Sequence[str]) -> list[Experiment]:
        """Return the experiments whose current attempt has one of these Jobs."""
        return self._store.by_jobs(jobs) if jobs else []

    def launch(self, experiment: Experiment) -> Experiment:
        """Submit the Job of a `submitting` experiment; see `Submission.launch`."""
        return self._submission.launch(experiment)

    def write_files(self, experiment: Experiment) -> None:
        """Write the files of an experiment without a Job; see `Submission.write_files`."""
        self._submission.write_files(experiment)

    def cancel(self, experiment_id: str, *, by: str | None = None) -> Experiment:
        """Request the end of an experiment. It is no error if it was cancelled before.

        The request is committed first. How the Job ended, cancelled or by itself, is observed
        afterwards, so the status `cancelled` follows within about a second.

        Raises:
            UnknownExperiment: there is none of that id.
            HasEnded: it has succeeded or failed.
        """
        experiment = self.get(experiment_id)
        now = datetime.now(UTC)
        request = {"cancel_requested_at": now, "cancel_requested_by": by}
        while not self._recorder.update(experiment, request):
            experiment = self.get(experiment_id)  # its status has changed meanwhile
            if experiment.status is Status.CANCELLED:
                return experiment
            if experiment.status not in LIVE:
                raise HasEnded(experiment_id, experiment.status)
        experiment = replace(experiment, cancel_requested_at=now, cancel_requested_by=by)
        self._archive.update_run_file(experiment)
        self.cancel_job(experiment)
        return experiment

    def prune(self, experiment_id: str, attempt: int, because: str) -> None:
        """Request the end of a hopeless trial; do nothing if it has ended, or is being ended.

        It becomes `cancelled` with the reason `pruned`, and keeps its checkpoint.

        Args:
            experiment_id: which trial.
            attempt: the number of the attempt that is hopeless.
            because: a sentence that says why.
        """
        experiment = self._store.get(experiment_id)
        if experiment is None or experiment.attempt != attempt or experiment.cancel_requested_at:
            return
        request = {"cancel_requested_at": datetime.now(UTC), "pruned_because": because}
        if self._recorder.update(experiment, request):
            self._archive.update_run_file(experiment)
            self.cancel_job(experiment)

    def cancel_job(self, experiment: Experiment) -> None:
        """Make the launcher end the Job of a cancelled experiment, and save its final output."""
        self._logs.save_final_output(experiment)
        try:
            self._launcher.cancel(experiment.job)
        except LauncherUnavailable as error:  # the reconciler tries again
            log.warning("%r cannot be cancelled yet: %s", experiment.experiment_id, error)

    def retry(self, experiment_id: str, *, by: str | None = None) -> Experiment:
        """Start the next attempt of a failed or cancelled experiment, from its checkpoint.

        An attempt that waits for a diagnosed cause, such as an image that cannot be pulled, is
        cancelled and replaced by one with the settings of now.

        Raises:
            UnknownExperiment: there is none of that id.
            NotRetriable: it is live otherwise, has succeeded, or is being deleted.
            StillEnding: the attempt that waited has not ended yet; nothing else was started.
            SubmissionRefused: the launcher refused the Job for good.
        """
        experiment = self.get(experiment_id)
        if experiment.is_waiting:
            experiment = self._end_waiting(experiment, by)
        _check_retriable(experiment)
        next_attempt = replace(experiment.current_attempt, number=experiment.attempt + 1)
        is_changed = self._store.retry(
            experiment,
            job=next_attempt.handle,
            actor=by,
        )
        if not is_changed:
            current = self.get(experiment_id)
            _check_retriable(current)
            raise NotRetriable(experiment_id, current.status)
        return self.launch(self.get(experiment_id))

    def _end_waiting(self, experiment: Experiment, by: str | None) -> Experiment:
        """Cancel an attempt whose Job waits, so that another may follow once it has ended.

        Returns:
            The experiment as it is then.

        Raises:
            NotRetriable: its Job has started by now.
            LauncherUnavailable: its Job cannot be observed now; nothing was changed.
            StillEnding: its Job has not ended within ENDING_SECONDS.
        """
        job = experiment.job
        observation = self._launcher.observe([job]).get(job)
        if observation and observation.phase is not Phase.QUEUED:
            raise NotRetriable(experiment.experiment_id, experiment.status)
        self.cancel(experiment.experiment_id, by=by)
        deadline = time.monotonic() + ENDING_SECONDS
        while True:
            self._record_end(experiment)
            current = self.get(experiment.experiment_id)
            if current.status not in LIVE or current.attempt != experiment.attempt:
                return current
            if time.monotonic() > deadline:
                raise StillEnding(experiment.experiment_id, current.status)
            time.sleep(ENDING_POLL_SECONDS)

    def _record_end(self, experiment: Experiment) -> None:
        """Record the end of a cancelled attempt once its Job and pods are gone.

        Before, its trainer may run beside that of the next attempt.
        """
        current = self.get(experiment.experiment_id)
        try:
            observation = self._launcher.observe([experiment.job]).get(experiment.job)
        except LauncherUnavailable:
            return
        if observation is None:
            self._recorder.record_gone(current)
        elif observation.phase in ENDED_PHASES:
            self._recorder.record(current, observation)


def _check_retriable(experiment: Experiment) -> None:
    """Raise NotRetriable unless a retry may follow."""
    if experiment.status not in (Status.FAILED, Status.CANCELLED):
        raise NotRetriable(experiment.experiment_id, experiment.status)
    if experiment.delete_requested_at:
        raise BeingDeleted(experiment.experiment_id, experiment.status)
