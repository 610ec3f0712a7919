"""What a list shows besides the experiments: how many there are, and how good they are."""

import time
from collections.abc import Sequence

from backend.domain.experiment import Experiment
from backend.domain.metric_summary import MetricSummary
from backend.store.queries import Store

COUNTS_KEPT = 50  # times as long as it took to count


class Overview:
    """Counts and summaries. Every method raises StoreUnavailable if the database cannot be used."""

    def __init__(self, store: Store) -> None:
        self._store = store
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

    def summaries(self, experiments: Sequence[Experiment]) -> dict[int, dict[str, MetricSummary]]:
        """Return the summaries of their metrics, by the experiment's key and by name."""
        return self._store.summaries([experiment.id for experiment in experiments])
