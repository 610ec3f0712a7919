"""Samples what running experiments use: the curve in their folders, the peaks in the database."""

import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from backend.domain.exceptions import SchemaError, StoreUnavailable
from backend.domain.execution.usage import Usage, highest
from backend.domain.experiment import Experiment
from backend.domain.status import Status
from backend.files.resource_files import FINEST_SECONDS, ResourceFiles, Sample
from backend.launchers.base import Launcher
from backend.store.queries import Store

log = logging.getLogger(__name__)


class ResourceSampler:
    """Takes a sample of every running experiment each FINEST_SECONDS.

    It has a thread of its own, because nvidia-smi or the cluster may take seconds to answer.
    """

    def __init__(self, store: Store, launcher: Launcher, files: ResourceFiles) -> None:
        self._store, self._launcher, self._files = store, launcher, files
        self._unwritable: set[tuple[int, int]] = set()  # keys and attempts, as they were logged

    def run(self, stopped: threading.Event) -> None:
        """Take samples until `stopped` is set."""
        while not stopped.wait(FINEST_SECONDS):
            try:
                self.step()
            except (StoreUnavailable, SchemaError):  # the reconciler logs it
                continue
            except Exception:  # a bug must not end the thread
                log.exception("What experiments use cannot be sampled")

    def step(self) -> None:
        """Take one sample of every running experiment of which the usage is known now.

        Raises:
            StoreUnavailable: the database cannot be used; the next call goes on.
        """
        running = self._store.in_status([Status.RUNNING])
        usages = self._launcher.usage([one.job for one in running]) if running else {}
        self._unwritable &= {(one.id, one.attempt) for one in running}
        self._append(running, usages)
        risen = [
            (one, usages[one.job])
            for one in running
            if one.job in usages and highest(one.peaks, usages[one.job]) != one.peaks
        ]
        if risen:
            self._store.raise_peaks(risen)

    def _append(self, running: Sequence[Experiment], usages: Mapping[str, Usage]) -> None:
        now = datetime.now(UTC)
        for one in running:
            usage = usages.get(one.job)
            if usage is None:
                continue
            elapsed = (now - (one.started_at or one.updated_at)).total_seconds()
            sample = Sample(round(max(0.0, elapsed), 1), usage)
            try:
                self._files.append(one.experiment_id, one.attempt, sample)
            except OSError as error:  # its trainer, or a full disk; the peaks are kept all the same
                key = one.id, one.attempt
                if key not in self._unwritable:
                    log.warning("The samples of %r are not kept: %s", one.experiment_id, error)
                self._unwritable.add(key)
