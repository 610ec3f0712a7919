"""What is shown besides the experiments: how many there are, how good, and who is next."""

import time
from collections.abc import Sequence

from backend.domain.experiment import Experiment, Place
from backend.domain.metric_summary import MetricSummary
from backend.domain.status import Status
from backend.launchers.base import Launcher
from backend.store.queries import Store

MAX_AHEAD = 20  # experiments in the queue whose ids are shown
COUNTS_KEPT = 50  # times as long as it took to count


class Overview:
    """Counts and summaries. Every method raises StoreUnavailable if the database cannot be used."""

    def __init__(self, store: Store, launcher: Launcher) -> None:
        self._store, self._launcher = store, launcher
        self._counts: dict[str, int] = {}
        self._expiry = 0.0

    def counts(self) -> dict[str, int]:
        """Return the number of experiments of each status that has any, as of a moment ago.

        Counting a million rows takes long; it is done during at most a fiftieth of the time.
        """
        before = time.monotonic()
        if before >= self._expiry:
            self._counts = self._store.counts()
            after = time.monotonic()
            self._expiry = after + COUNTS_KEPT * (after - before)
        return self._counts

    def place(self, experiment: Experiment) -> Place | None:
        """Return the place of an experiment in its queue; None if it is in none."""
        if experiment.status not in (Status.SUBMITTING, Status.QUEUED):
            return None
        waiting = self._launcher.waiting(experiment.job)
        if experiment.job not in waiting:
            return None
        number = waiting.index(experiment.job)
        jobs = waiting[: min(number, MAX_AHEAD)]
        ids = {one.job: one.experiment_id for one in self._store.by_jobs(jobs)} if jobs else {}
        return Place(number + 1, [ids[job] for job in jobs if job in ids])

    def summaries(self, experiments: Sequence[Experiment]) -> dict[int, dict[str, MetricSummary]]:
        """Return the summaries of their metrics, by the experiment's key and by name."""
        return self._store.summaries([experiment.id for experiment in experiments])
