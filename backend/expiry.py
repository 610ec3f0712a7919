"""Removes what is left of runs that ended long enough ago, once nothing is lost with it.

Kubernetes would do it by itself (`ttlSecondsAfterFinished`), but without asking whether the run's
end and log are kept.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from backend.archive import Archive
from backend.launchers.base import Launcher, LauncherUnavailable, Observation, Run
from backend.lifecycle import LIVE
from backend.logs import Logs
from backend.records import Experiment

log = logging.getLogger(__name__)


class Expiry:
    """Forgets runs `ttl_seconds` after their end; their experiments and folders stay."""

    def __init__(
        self, archive: Archive, logs: Logs, launcher: Launcher, ttl_seconds: float
    ) -> None:
        """Work on these."""
        self._archive, self._logs, self._launcher = archive, logs, launcher
        self._ttl = timedelta(seconds=ttl_seconds)

    def forget(self, observed: Mapping[str, Observation]) -> None:
        """Let the launcher forget those of the observed runs that are over and kept.

        Raises:
            StoreUnavailable: the database is away.
        """
        before = datetime.now(UTC) - self._ttl
        over = [
            seen.run
            for seen in observed.values()
            if seen.run and seen.finished_at and seen.finished_at < before
        ]
        for run in self._kept(over):
            try:
                self._launcher.forget(run)
            except LauncherUnavailable as error:
                log.warning("%s cannot be removed yet: %s", run.handle, error)

    def _kept(self, runs: Sequence[Run]) -> Iterator[Run]:
        known = self._archive.experiments([run.experiment_id for run in runs]) if runs else {}
        for run in runs:
            experiment = known.get(run.experiment_id)
            if experiment and experiment.uid == run.uid and self._is_kept(run, experiment):
                yield run

    def _is_kept(self, run: Run, experiment: Experiment) -> bool:
        if run.attempt == experiment.attempt and experiment.status in LIVE:
            return False
        return self._logs.keep(replace(experiment, attempt=run.attempt, job=run.handle))
