"""Deletes the Jobs of attempts that ended long enough ago, once nothing is lost with them.

Kubernetes could do so itself (`ttlSecondsAfterFinished`), but without checking whether the end and
the log of the attempt have been saved.
"""

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from backend.domain.attempt import Attempt
from backend.domain.experiment import Experiment
from backend.domain.status import LIVE
from backend.experiments.archive import Archive
from backend.experiments.logs import Logs
from backend.experiments.reconciling.isolation import Isolation, name_of
from backend.launchers.base import Launcher, LauncherUnavailable, Observation

# In one pass, which changes of live experiments wait for: a pass follows every 30 s, so that
# 250,000 Jobs a day can be deleted at 20 ms each.
LONGEST_SECONDS = 2.0
MOST_JOBS = 500

log = logging.getLogger(__name__)


class Expiry:
    """Deletes Jobs `ttl_seconds` after their end; experiments and their folders stay."""

    def __init__(
        self,
        archive: Archive,
        logs: Logs,
        launcher: Launcher,
        ttl_seconds: float,
        isolation: Isolation,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Delete Jobs of `launcher`; `isolation` keeps an error in one from the others.

        `clock` returns seconds.
        """
        self._archive, self._logs, self._launcher = archive, logs, launcher
        self._isolation = isolation
        self._ttl = timedelta(seconds=ttl_seconds)
        self._clock = clock

    def expire(self, observed: Mapping[str, Observation]) -> None:
        """Delete those of the observed Jobs whose time is up and whose end and log are saved.

        Those for which LONGEST_SECONDS do not suffice are left to the next pass.

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
        if not expired:
            return
        # In another order each time: those that cannot be deleted yet must not keep the others.
        chosen = random.sample(expired, min(len(expired), MOST_JOBS))
        known = self._archive.by_ids([attempt.experiment_id for attempt in chosen])
        end = self._clock() + LONGEST_SECONDS
        for attempt in chosen:
            if self._clock() > end:
                return
            experiment = known.get(attempt.experiment_id)
            if experiment and experiment.uid == attempt.uid:
                self._isolation.run(name_of(attempt), partial(self._expire, attempt, experiment))

    def _expire(self, attempt: Attempt, experiment: Experiment) -> None:
        if not self._is_saved(attempt, experiment):
            return
        try:
            self._launcher.delete_job(attempt)
        except LauncherUnavailable as error:
            log.warning("The Job %s cannot be deleted yet: %s", attempt.handle, error)

    def _is_saved(self, attempt: Attempt, experiment: Experiment) -> bool:
        if attempt.number == experiment.attempt and experiment.status in LIVE:
            return False
        return self._logs.save(replace(experiment, attempt=attempt.number, job=attempt.handle))
