"""Brings the database in line with the Jobs that the launcher observes.

Level-triggered: each pass compares live experiments with one observation of their Jobs, so a
missed change, a restart or a second reconciler does no harm. A change leads to a pass over the Jobs
that it concerns. A full pass follows every WHOLE_SECONDS, and whenever a change may have been
missed.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from backend.domain.exceptions import (
    OutputMissing,
    OutputUnwritable,
    SchemaError,
    StoreUnavailable,
    SubmissionRefused,
    UnknownExperiment,
)
from backend.domain.experiment import Experiment
from backend.domain.status import LIVE, Status
from backend.experiments.reconciling.adoption import Adoption
from backend.experiments.reconciling.expiry import Expiry
from backend.experiments.reconciling.health import Passes
from backend.experiments.reconciling.isolation import Isolation, name_of
from backend.experiments.services import Services
from backend.launchers.base import ACTIVE_PHASES, LauncherUnavailable, Observation, Phase

WHOLE_SECONDS = 30.0  # between full passes
POLL_SECONDS = 2.0  # between looks for work that a web worker has left unfinished
LONGEST_PAUSE = 2.0  # seconds between tries while the database or the launcher is unavailable
MAX_PARTIAL = 20  # a partial pass over so many Jobs is always allowed
PARTIAL_SHARE = 4  # observing one Job alone takes about as long as observing this many among all
# After a pass the reconciler rests this many times as long as the pass took, within these seconds.
# So it takes at most a quarter of a core, and a burst of changes leads to one pass.
REST_FACTOR = 3.0
SHORTEST_REST, LONGEST_REST = 0.05, 0.5
RECENT_CHANGES = 100  # whose run.json a killed process may not have written
# How long a web worker may take to submit the Job of an experiment that it has just recorded.
SUBMIT_GRACE = timedelta(seconds=2)
PENDING_LOGS = "logs that are not saved yet"  # named in the log if saving them fails
DELETIONS = "records that are being deleted"  # likewise

log = logging.getLogger(__name__)


class Reconciler:
    """Makes pass after pass until it is stopped.

    Attributes:
        passes: their outcomes.
    """

    def __init__(
        self,
        services: Services,
        ttl_seconds: float,
        after_pass: Callable[[], None] = lambda: None,
    ) -> None:
        """Reconcile `services`.

        Args:
            services: the services of this process.
            ttl_seconds: a Job is deleted so long after its end.
            after_pass: called after each pass, in which experiments may have ended.
        """
        self._after_pass = after_pass
        self._experiments, self._launcher = services.experiments, services.launcher
        self._archive, self._recorder = services.archive, services.recorder
        self._logs, self._outputs = services.logs, services.outputs
        self._is_archive_updated: bool | None = None  # False if the output folder is missing
        self.passes = Passes()
        self._logs.on_lost_end = self.passes.log_end_lost
        self._isolation = Isolation(self.passes.experiment_failed)
        self._expiry = Expiry(
            services.archive, services.logs, services.launcher, ttl_seconds, self._isolation
        )
        self._adoption = Adoption(services.archive, self.passes.experiment_failed)
        self._stopped = threading.Event()
        self._next_whole_pass = self._next_poll = 0.0
        self._live = 0  # experiments in the last full pass

    def run(self) -> None:
        """Reconcile until `stop` is called."""
        pause, jobs = 0.0, None
        while not self._stopped.is_set():
            started = time.monotonic()
            try:
                self._update_archive()
                self.reconcile(jobs)
                self._after_pass()
                seconds = time.monotonic() - started
                self.passes.succeeded(seconds)
                pause = 0.0
                self.rest(min(max(SHORTEST_REST, REST_FACTOR * seconds), LONGEST_REST))
                jobs = self._wait_for_work()
            except (StoreUnavailable, SchemaError, LauncherUnavailable) as error:
                self.passes.failed(time.monotonic() - started, str(error))
                pause, jobs = min(LONGEST_PAUSE, 2 * pause + 0.25), None
                self.rest(pause * random.uniform(0.5, 1.0))  # noqa: S311  (jitter)
            except Exception as error:  # a bug or damaged data: other Jobs still need a reconciler
                reason = f"{type(error).__name__}: {error}"
                self.passes.failed(time.monotonic() - started, reason, error)
                pause, jobs = LONGEST_PAUSE, None
                self.rest(pause * random.uniform(0.5, 1.0))  # noqa: S311  (jitter)

    def _update_archive(self) -> None:
        """Write what other processes left undone, once: at the start, or when OUTPUT_DIR is back.

        Raises:
            StoreUnavailable: the database cannot be used now.
        """
        try:
            self._outputs.check()
        except OutputMissing as error:
            if self._is_archive_updated is not False:
                log.error("OUTPUT_DIR is missing (%s): run.json files are written later", error.why)
            self._is_archive_updated = False
            return
        if not self._is_archive_updated:
            self._archive.update_recent_run_files(RECENT_CHANGES)
            self._experiments.remove_deleted_folders()
            self._is_archive_updated = True

    def stop(self) -> None:
        """Make `run` return after the current pass."""
        self._stopped.set()

    def rest(self, seconds: float) -> None:
        """Sleep for `seconds`, or until `stop` is called."""
        self._stopped.wait(seconds)

    def reconcile(self, jobs: Collection[str] | None = None) -> None:
        """Make one pass, over these Jobs or over all.

        Raises:
            StoreUnavailable, LauncherUnavailable: the pass could not be finished.
        """
        # The database first: every experiment that is queued by then has a Job to observe.
        live = self._experiments.live() if jobs is None else self._live_of(jobs)
        observed = self._launcher.observe(jobs)
        for experiment in live:
            self._isolation.run(
                experiment.experiment_id, partial(self._reconcile_one, experiment, observed)
            )
        self._cancel_superseded(live, observed)
        if jobs is None:
            self._adoption.adopt({experiment.job for experiment in live}, observed)
            self._isolation.run(PENDING_LOGS, self._logs.save_pending)
            for experiment in self._experiments.being_deleted():
                self._isolation.run(
                    experiment.experiment_id, partial(self._finish_deletion, experiment)
                )
            self._isolation.run(DELETIONS, self._finish_record_deletions)
            self._expiry.expire(observed)
            seconds = POLL_SECONDS if self._adoption.is_waiting else WHOLE_SECONDS
            self._next_whole_pass = time.monotonic() + seconds
            self._live = len(live)
            self._isolation.retain(_names(live, observed))

    def _wait_for_work(self) -> Collection[str] | None:
        """Wait until Jobs may have changed, and return them; None for all."""
        while not self._stopped.is_set() and time.monotonic() < self._next_whole_pass:
            changed = self._launcher.changes(POLL_SECONDS)
            if changed is None:
                return None
            jobs = changed.union(self._unfinished_work())
            if jobs:
                is_partial = len(jobs) <= max(MAX_PARTIAL, self._live / PARTIAL_SHARE)
                return jobs if is_partial else None
        return None

    def _unfinished_work(self) -> Collection[str]:
        """Return the Jobs that web workers have not submitted or cancelled in time."""
        if time.monotonic() < self._next_poll:  # changes are much more frequent than this
            return ()
        self._next_poll = time.monotonic() + POLL_SECONDS / 2
        return self._experiments.unfinished_jobs(SUBMIT_GRACE)

    def _live_of(self, jobs: Collection[str]) -> list[Experiment]:
        experiments = self._experiments.by_jobs(sorted(jobs))
        return [experiment for experiment in experiments if experiment.status in LIVE]

    def _reconcile_one(self, experiment: Experiment, observed: Mapping[str, Observation]) -> None:
        observation = observed.get(experiment.job)
        if observation and observation.phase is Phase.UNKNOWN and not observation.uid:
            if experiment.cancel_requested_at:
                self._experiments.cancel_job(experiment)
            return  # its Job is there, but whose it is cannot be read: it must not be started again
        # A time in the future is from a clock that was wrong: it does not make an experiment new.
        is_new = abs(datetime.now(UTC) - experiment.updated_at) <= SUBMIT_GRACE
        # A web worker is still submitting it.
        is_being_submitted = experiment.status is Status.SUBMITTING and is_new
        if observation is not None and observation.uid == experiment.uid:
            if experiment.cancel_requested_at and observation.phase in ACTIVE_PHASES:
                self._experiments.cancel_job(experiment)
            if not (is_being_submitted and observation.phase is Phase.QUEUED):
                self._recorder.record(experiment, observation)
        elif experiment.cancel_requested_at or experiment.status is not Status.SUBMITTING:
            if experiment.status is Status.SUBMITTING:
                self._experiments.write_files(experiment)
            self._record_gone(experiment)
        elif not is_being_submitted:
            self._launch(experiment)

    def _record_gone(self, experiment: Experiment) -> None:
        """Record the end of an experiment without a Job, if a second look finds no pod either.

        Between reading all pods and all Jobs, its Job may have got a pod and have been deleted.
        """
        seen = self._launcher.observe([experiment.job]).get(experiment.job)
        if seen and seen.uid in ("", experiment.uid):
            self._recorder.record(experiment, seen)
        else:
            self._recorder.record_gone(experiment)

    def _cancel_superseded(
        self, live: Sequence[Experiment], observed: Mapping[str, Observation]
    ) -> None:
        """Cancel active Jobs whose experiments have ended.

        Such a Job was being submitted while its experiment was cancelled, by a process that was
        killed in between.
        """
        expected = {experiment.job for experiment in live}
        unexpected = [
            observation.attempt
            for job, observation in observed.items()
            if job not in expected and observation.phase in ACTIVE_PHASES and observation.attempt
        ]
        known = self._archive.by_ids([attempt.experiment_id for attempt in unexpected])
        for attempt in unexpected:
            experiment = known.get(attempt.experiment_id)
            if experiment and experiment.has_superseded(attempt):
                superseded = replace(experiment, attempt=attempt.number, job=attempt.handle)
                self._isolation.run(
                    name_of(attempt), partial(self._experiments.cancel_job, superseded)
                )

    def _finish_deletion(self, experiment: Experiment) -> None:
        try:
            self._experiments.finish_deletion(experiment)
        except OutputUnwritable as error:
            log.warning("%r cannot be deleted yet: %s", experiment.experiment_id, error)

    def _finish_record_deletions(self) -> None:
        try:
            self._experiments.finish_record_deletions()
        except OutputUnwritable as error:
            log.warning("A record cannot be deleted yet: %s", error)

    def _launch(self, experiment: Experiment) -> None:
        try:
            self._experiments.launch(experiment)
        except (SubmissionRefused, UnknownExperiment) as error:
            log.warning("%r cannot be submitted: %r", experiment.experiment_id, error)


def _names(live: Sequence[Experiment], observed: Mapping[str, Observation]) -> set[str]:
    """Return every name under which the next pass may work."""
    attempts = (observation.attempt for observation in observed.values())
    names = {name_of(attempt) for attempt in attempts if attempt}
    live_names = {experiment.experiment_id for experiment in live}
    return names | live_names | {PENDING_LOGS, DELETIONS}
