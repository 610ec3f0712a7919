"""Saves what pods have printed that leave while their attempts continue."""

import logging
import threading
from collections import defaultdict

from backend.domain.exceptions import SchemaError, StoreUnavailable
from backend.domain.status import LIVE
from backend.experiments.gangs.worker_logs import GangLogs
from backend.launchers.base import Departure, LogSource
from backend.store.queries import Store

WAIT_SECONDS = 2.0  # for a departure; nothing is late because of it
RETRY_SECONDS = 1.0
MAX_WAITING = 1000  # departures that are kept while the database cannot be used, newest first

log = logging.getLogger(__name__)


class Departures:
    """Begins to read a log as soon as its pod is told to end: a second later it may be gone.

    It has a thread of its own, because a pass of the reconciler may take longer than that. What it
    misses, a pass still finds if the pod is there by then.
    """

    def __init__(self, store: Store, logs: GangLogs, source: LogSource | None) -> None:
        self._store, self._logs, self._source = store, logs, source
        self._waiting: list[Departure] = []

    def run(self, stopped: threading.Event) -> None:
        """Save parts until `stopped` is set; return at once if no log has to be saved."""
        while self._source and not stopped.is_set():
            try:
                self.step(WAIT_SECONDS)
            except (StoreUnavailable, SchemaError):  # the reconciler logs it
                stopped.wait(RETRY_SECONDS)
            except Exception:  # a bug must not end the thread
                log.exception("The log of a pod that leaves cannot be saved")
                self._waiting.clear()

    def step(self, timeout: float) -> None:
        """Wait for departures, and begin to save what is about to go; note what has gone.

        Raises:
            StoreUnavailable: the database cannot be used; the next call goes on.
        """
        if self._source is None:
            return
        self._waiting += self._source.departures(timeout)
        self._waiting = self._waiting[-MAX_WAITING:]
        by_job = defaultdict[str, list[Departure]](list)
        for departure in self._waiting:
            by_job[departure.handle].append(departure)
        for experiment in self._store.by_jobs(sorted(by_job)) if by_job else ():
            if experiment.status not in LIVE:
                continue
            # What a cancelled attempt prints is heard by whoever cancels it.
            parts = [
                (one.rank, one.part)
                for one in by_job[experiment.job]
                if one.uid == experiment.uid
                and not (one.is_gone and experiment.cancel_requested_at)
            ]
            self._logs.save_leaving(experiment, parts)
        self._waiting.clear()
