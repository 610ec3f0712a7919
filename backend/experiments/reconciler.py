"""Brings the database in line with what the launcher says of the runs.

Level-triggered: each pass compares runs that have not ended with one look at the launcher, so a
missed change, a restart or a second reconciler does no harm. A change is followed by a pass over
the runs that it concerns; a pass over all follows now and then, and whenever something may have
been missed.
"""

import logging
import random
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from backend.domain.exceptions import SubmissionRefused, UnknownExperiment
from backend.domain.experiment import Experiment
from backend.domain.status import LIVE, Status
from backend.experiments.adoption import Adoption
from backend.experiments.expiry import Expiry
from backend.experiments.health import Passes
from backend.experiments.services import Services
from backend.launchers.base import LauncherUnavailable, Observation, Phase
from backend.store.engine import StoreUnavailable

WHOLE_SECONDS = 30.0  # at the latest all runs are looked at, even if nothing tells of a change
LOOK_SECONDS = 2.0  # at the latest the database is looked at for what a web worker has left undone
LONGEST_PAUSE = 2.0  # between tries while the database or the launcher is away
FEW = 20  # so many runs are always looked at one by one
PART = 4  # to look at one run alone takes about as long as at so many among all
# After a pass the reconciler rests for so many times as long as it took, within these seconds: it
# takes a quarter of a core at most while much changes, and a burst of changes is one pass.
REST = 3.0
SHORTEST_REST, LONGEST_REST = 0.05, 0.5
GOING_ON = (Phase.QUEUED, Phase.RUNNING)
KILLED_BEFORE = 100  # experiments whose change a killed process may not have archived
# How long a web worker may take to start what it has just written down, before we do it.
SUBMIT_GRACE = timedelta(seconds=2)

log = logging.getLogger(__name__)


class Reconciler:
    """Compares and corrects, again and again, until it is stopped."""

    def __init__(self, services: Services, ttl_seconds: float) -> None:
        """Reconcile `services`; a Job is deleted `ttl_seconds` after its end."""
        self._experiments, self._launcher = services.experiments, services.launcher
        self._archive, self._recorder = services.archive, services.recorder
        self._logs = services.logs
        self._expiry = Expiry(services.archive, services.logs, services.launcher, ttl_seconds)
        self._adoption = Adoption(services.archive)
        self._stopped = threading.Event()
        self._next_whole_pass = self._next_look = 0.0
        self._live = 0  # how many runs were live when all were looked at
        self.passes = Passes()

    def run(self) -> None:
        """Reconcile until `stop` is called."""
        pause, jobs, archived = 0.0, None, False
        while not self._stopped.is_set():
            started = time.monotonic()
            try:
                if not archived:
                    self._archive.update_last_changed(KILLED_BEFORE)
                    archived = True
                self.reconcile(jobs)
                took = time.monotonic() - started
                self.passes.succeeded(took)
                pause = 0.0
                self._stopped.wait(min(max(SHORTEST_REST, REST * took), LONGEST_REST))
                jobs = self._wait_for_work()
            except (StoreUnavailable, LauncherUnavailable) as error:
                self.passes.failed(time.monotonic() - started, str(error))
                pause, jobs = min(LONGEST_PAUSE, 2 * pause + 0.25), None
                self._stopped.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311  (jitter)

    def stop(self) -> None:
        """Let `run` return after the pass it is in."""
        self._stopped.set()

    def reconcile(self, jobs: Collection[str] | None = None) -> None:
        """Make one pass, over the runs of these Jobs or over all.

        Raises:
            StoreUnavailable, LauncherUnavailable: it could not be finished.
        """
        # First the database, then the launcher: what is queued by then has a Job to be seen.
        live = self._experiments.live() if jobs is None else self._live_of(jobs)
        observed = self._launcher.observe(jobs)
        for experiment in live:
            self._reconcile_one(experiment, observed)
        self._cancel_superseded(live, observed)
        if jobs is None:
            self._adoption.adopt({experiment.job for experiment in live}, observed)
            self._logs.save_pending()
            self._expiry.expire(observed)
            soon = LOOK_SECONDS if self._adoption.is_waiting else WHOLE_SECONDS
            self._next_whole_pass = time.monotonic() + soon
            self._live = len(live)

    def _wait_for_work(self) -> Collection[str] | None:
        """Wait until there are Jobs to look at, and name them; None: all."""
        while not self._stopped.is_set() and time.monotonic() < self._next_whole_pass:
            changed = self._launcher.changes(LOOK_SECONDS)
            if changed is None:
                return None
            jobs = changed.union(self._unfinished_work())
            if jobs:
                return jobs if len(jobs) <= max(FEW, self._live / PART) else None
        return None

    def _unfinished_work(self) -> Collection[str]:
        """Name the Jobs of what web workers have begun; those that go on with it are left to it."""
        if time.monotonic() < self._next_look:  # a change comes many times as often
            return ()
        self._next_look = time.monotonic() + LOOK_SECONDS / 2
        return self._experiments.unsettled(datetime.now(UTC) - SUBMIT_GRACE)

    def _live_of(self, jobs: Collection[str]) -> list[Experiment]:
        return [one for one in self._experiments.of_jobs(sorted(jobs)) if one.status in LIVE]

    def _reconcile_one(self, experiment: Experiment, observed: Mapping[str, Observation]) -> None:
        seen = observed.get(experiment.job)
        is_new = datetime.now(UTC) - experiment.updated_at <= SUBMIT_GRACE
        is_begun = experiment.status is Status.SUBMITTING and is_new  # a web worker is at it
        if seen is not None and seen.uid == experiment.uid:
            if experiment.cancel_requested_at and seen.phase in GOING_ON:
                self._experiments.stop(experiment)
            if not (is_begun and seen.phase is Phase.QUEUED):
                self._recorder.record(experiment, seen)
        elif experiment.cancel_requested_at or experiment.status is not Status.SUBMITTING:
            self._recorder.record_gone(experiment)
        elif not is_begun:
            self._launch(experiment)

    def _cancel_superseded(
        self, live: Sequence[Experiment], observed: Mapping[str, Observation]
    ) -> None:
        """Cancel runs that go on though their experiment has ended.

        Such a run was being started while it was cancelled, by a process that died in between.
        """
        wanted = {experiment.job for experiment in live}
        doubtful = [
            seen.attempt
            for job, seen in observed.items()
            if job not in wanted and seen.phase in GOING_ON and seen.attempt
        ]
        there = self._archive.experiments([attempt.experiment_id for attempt in doubtful])
        for attempt in doubtful:
            experiment = there.get(attempt.experiment_id)
            if experiment and experiment.has_superseded(attempt):
                self._experiments.stop(
                    replace(experiment, attempt=attempt.number, job=attempt.handle)
                )

    def _launch(self, experiment: Experiment) -> None:
        try:
            self._experiments.launch(experiment)
        except (SubmissionRefused, UnknownExperiment) as error:
            log.warning("%r cannot be submitted: %r", experiment.experiment_id, error)
