"""Deletes the Jobs of attempts that ended long enough ago, once nothing is lost with them.

Kubernetes could do so itself (`ttlSecondsAfterFinished`), but without checking whether the end and
the log of the attempt have been saved.
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
    """Deletes Jobs `ttl_seconds` after their end; experiments and their folders stay."""

    def __init__(
        self, archive: Archive, logs: Logs, launcher: Launcher, ttl_seconds: float
    ) -> None:
        self._archive, self._logs, self._launcher = archive, logs, launcher
        self._ttl = timedelta(seconds=ttl_seconds)

    def expire(self, observed: Mapping[str, Observation]) -> None:
        """Delete those of the observed Jobs whose time is up and whose end and log are saved.

        Raises:
            StoreUnavailable: the database cannot be used now.
        """
        deadline = datetime.now(UTC) - self._ttl
        expired = [
            observation.attempt
            for observation in observed.values()
            if observation.attempt
            and observation.finished_at
            and observation.finished_at < deadline
        ]
        for attempt in self._saved(expired):
            try:
                self._launcher.delete_job(attempt)
            except LauncherUnavailable as error:
                log.warning("The Job %s cannot be deleted yet: %s", attempt.handle, error)

    def _saved(self, attempts: Sequence[Attempt]) -> Iterator[Attempt]:
        if not attempts:
            return
        known = self._archive.by_ids([attempt.experiment_id for attempt in attempts])
        for attempt in attempts:
            experiment = known.get(attempt.experiment_id)
            if experiment and experiment.uid == attempt.uid and self._is_saved(attempt, experiment):
                yield attempt

    def _is_saved(self, attempt: Attempt, experiment: Experiment) -> bool:
        if attempt.number == experiment.attempt and experiment.status in LIVE:
            return False
        return self._logs.save(replace(experiment, attempt=attempt.number, job=attempt.handle))
