"""Removes what is left of runs that ended long enough ago, once nothing is lost with it.

Kubernetes would do it by itself (`ttlSecondsAfterFinished`), but without asking whether the run's
end and log are kept.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from backend.domain.attempt import Attempt
from backend.domain.experiment import Experiment
from backend.domain.status import LIVE
from backend.experiments.archive import Archive
from backend.experiments.logs import Logs
from backend.launchers.base import Launcher, LauncherUnavailable, Observation

log = logging.getLogger(__name__)


class Expiry:
    """Forgets runs `ttl_seconds` after their end; their experiments and folders stay."""

    def __init__(
        self, archive: Archive, logs: Logs, launcher: Launcher, ttl_seconds: float
    ) -> None:
        """Work on these."""
        self._archive, self._logs, self._launcher = archive, logs, launcher
        self._ttl = timedelta(seconds=ttl_seconds)

    def expire(self, observed: Mapping[str, Observation]) -> None:
        """Let the launcher forget those of the observed runs that are over and kept.

        Raises:
            StoreUnavailable: the database is away.
        """
        before = datetime.now(UTC) - self._ttl
        over = [
            seen.attempt
            for seen in observed.values()
            if seen.attempt and seen.finished_at and seen.finished_at < before
        ]
        for attempt in self._kept(over):
            try:
                self._launcher.delete_job(attempt)
            except LauncherUnavailable as error:
                log.warning("%s cannot be removed yet: %s", attempt.handle, error)

    def _kept(self, attempts: Sequence[Attempt]) -> Iterator[Attempt]:
        known = (
            self._archive.experiments([attempt.experiment_id for attempt in attempts])
            if attempts
            else {}
        )
        for attempt in attempts:
            experiment = known.get(attempt.experiment_id)
            if experiment and experiment.uid == attempt.uid and self._is_kept(attempt, experiment):
                yield attempt

    def _is_kept(self, attempt: Attempt, experiment: Experiment) -> bool:
        if attempt.number == experiment.attempt and experiment.status in LIVE:
            return False
        return self._logs.save(replace(experiment, attempt=attempt.number, job=attempt.handle))
