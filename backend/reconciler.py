"""Brings the database in line with what the launcher says of the runs.

Level-triggered: each pass compares everything that has not ended with one look at the launcher, so
a missed change, a restart or a second reconciler does no harm.
"""

import logging
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from backend.experiments import (
    Experiment,
    Experiments,
    Status,
)
from backend.launchers.base import Diagnosis, Launcher, LauncherUnavailable, Observation, Phase
from backend.outputs import FolderTaken
from backend.refusals import OutputUnwritable, SubmissionRefused
from backend.store.engine import StoreUnavailable

LOOK_SECONDS = 5.0  # at the latest, even if nothing tells of a change
LONGEST_PAUSE = 5.0  # between tries while the database or the launcher is away
READY_SECONDS = 60.0  # without one good pass, and the reconciler is not ready
# How long a web worker may take to start what it has just written down, before we do it.
SUBMIT_GRACE = timedelta(seconds=5)

log = logging.getLogger(__name__)


class Reconciler:
    """Compares and corrects, again and again, until it is stopped."""

    def __init__(self, experiments: Experiments, launcher: Launcher) -> None:
        """Work on these."""
        self._experiments, self._launcher = experiments, launcher
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
        if not live:
            return
        observed = self._launcher.observe()
        for experiment in live:
            self._reconcile_one(experiment, observed)

    def _reconcile_one(self, experiment: Experiment, observed: Mapping[str, Observation]) -> None:
        seen = observed.get(experiment.job)
        if seen is not None and seen.uid == experiment.uid:
            self._experiments.observe(experiment, seen)
        elif experiment.status is not Status.SUBMITTING:
            self._experiments.observe(experiment, _gone(experiment))
        elif datetime.now(UTC) - experiment.created_at > SUBMIT_GRACE:
            self._launch(experiment)

    def _launch(self, experiment: Experiment) -> None:
        try:
            self._experiments.launch(experiment)
        except (OutputUnwritable, FolderTaken, SubmissionRefused) as error:
            log.warning("%r cannot be submitted: %r", experiment.experiment_id, error)


def _gone(experiment: Experiment) -> Observation:
    diagnosis = Diagnosis(
        "job_deleted",
        f"The Job {experiment.job} is gone, and was not seen to end: somebody deleted it.",
        "Submit the run again with a new experiment_id.",
    )
    return Observation(experiment.uid, Phase.FAILED, None, datetime.now(UTC), diagnosis)
