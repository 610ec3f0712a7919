"""Brings the database in line with what the launcher says of the runs.

Level-triggered: each pass compares everything that has not ended with one look at the launcher, so
a missed change, a restart or a second reconciler does no harm.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from backend.adoption import Adoption
from backend.experiments import Experiments
from backend.launchers.base import Launcher, LauncherUnavailable, Observation, Phase
from backend.lifecycle import Status
from backend.outputs import FolderTaken
from backend.records import Experiment
from backend.refusals import OutputUnwritable, SubmissionRefused, UnknownExperiment
from backend.store.engine import StoreUnavailable

LOOK_SECONDS = 5.0  # at the latest, even if nothing tells of a change
LONGEST_PAUSE = 2.0  # between tries while the database or the launcher is away
GOING_ON = (Phase.QUEUED, Phase.RUNNING)
READY_SECONDS = 60.0  # without one good pass, and the reconciler is not ready
# How long a web worker may take to start what it has just written down, before we do it.
SUBMIT_GRACE = timedelta(seconds=5)

log = logging.getLogger(__name__)


class Reconciler:
    """Compares and corrects, again and again, until it is stopped."""

    def __init__(self, experiments: Experiments, launcher: Launcher) -> None:
        """Work on these."""
        self._experiments, self._launcher = experiments, launcher
        self._adoption = Adoption(experiments.archive)
        self._stopped = threading.Event()
        self._last_good_pass = time.monotonic()

    def run(self) -> None:
        """Reconcile until `stop` is called."""
        pause = 0.0
        while not self._stopped.is_set():
            try:
                self.reconcile()
            except (StoreUnavailable, LauncherUnavailable) as error:
                pause = min(LONGEST_PAUSE, 2 * pause + 0.5)
                log.warning("Cannot reconcile, next try in %.1f s: %s", pause, error)
                self._stopped.wait(pause)
            else:
                pause = 0.0
                self._last_good_pass = time.monotonic()
                self._launcher.changes(LOOK_SECONDS)

    def stop(self) -> None:
        """Let `run` return after the pass it is in."""
        self._stopped.set()

    @property
    def ready(self) -> bool:
        """Tell whether the last good pass is recent."""
        return time.monotonic() - self._last_good_pass < READY_SECONDS

    def reconcile(self) -> None:
        """Make one pass.

        Raises:
            StoreUnavailable, LauncherUnavailable: it could not be finished.
        """
        # First the database, then the launcher: what is queued by then has a Job to be seen.
        live = self._experiments.live()
        observed = self._launcher.observe()
        for experiment in live:
            self._reconcile_one(experiment, observed)
        self._end_what_nobody_wants(live, observed)
        self._adoption.adopt({experiment.job for experiment in live}, observed)

    def _reconcile_one(self, experiment: Experiment, observed: Mapping[str, Observation]) -> None:
        seen = observed.get(experiment.job)
        if seen is not None and seen.uid == experiment.uid:
            if experiment.cancel_requested_at and seen.phase in GOING_ON:
                self._experiments.stop(experiment)
            self._experiments.observe(experiment, seen)
        elif experiment.cancel_requested_at or experiment.status is not Status.SUBMITTING:
            self._experiments.observe_gone(experiment)
        elif datetime.now(UTC) - experiment.updated_at > SUBMIT_GRACE:
            self._launch(experiment)

    def _end_what_nobody_wants(
        self, live: Sequence[Experiment], observed: Mapping[str, Observation]
    ) -> None:
        """Cancel runs that go on though their experiment has ended.

        Such a run was being started while it was cancelled, by a process that died in between.
        """
        wanted = {experiment.job for experiment in live}
        doubtful = [
            job for job, seen in observed.items() if job not in wanted and seen.phase in GOING_ON
        ]
        for experiment in self._experiments.of_jobs(doubtful):
            if experiment.status is Status.CANCELLED and (
                observed[experiment.job].uid == experiment.uid
            ):
                self._experiments.stop(experiment)

    def _launch(self, experiment: Experiment) -> None:
        try:
            self._experiments.launch(experiment)
        except (OutputUnwritable, FolderTaken, SubmissionRefused, UnknownExperiment) as error:
            log.warning("%r cannot be submitted: %r", experiment.experiment_id, error)
