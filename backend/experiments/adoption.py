"""Makes runs known again whose Jobs are there, and of which the database knows nothing.

It was lost, or an older copy of it was put in place. A run that somebody deletes looks the same for
a moment, because its Job goes first and its row after, and a list of Jobs may be older than both:
only a Job that is listed again after its row was seen missing is adopted.
"""

import logging
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from backend.domain.attempt import Attempt
from backend.domain.exceptions import FolderTaken
from backend.domain.experiment import Experiment
from backend.domain.status import LIVE, Status
from backend.experiments.archive import Archive, ExperimentDeleted
from backend.experiments.run_file import Unusable
from backend.launchers.base import Observation, Phase

RECHECK_SECONDS = 60.0  # how long an ended run that was known is not asked for again
BATCH = 500  # runs in one question to the database
GOING_ON = (Phase.QUEUED, Phase.RUNNING, Phase.UNKNOWN)

log = logging.getLogger(__name__)

Key = tuple[str, str]  # a Job's name and the uid of its run


class NotOurs(Exception):
    """The Job's run must not be adopted; the message says why."""


class Adoption:
    """Compares the Jobs with the database, pass by pass."""

    def __init__(self, archive: Archive) -> None:
        """Work on this."""
        self._archive = archive
        self._missing: set[Key] = set()  # in the last pass
        self._known: set[Key] = set()  # ended, and known at the last check
        self._warned: set[Key] = set()
        self._checked_at = time.monotonic()

    def adopt(self, live: Collection[str], observed: Mapping[str, Observation]) -> list[Attempt]:
        """Make one pass over all runs; `live` are the Jobs of those that are known to go on.

        Returns:
            The runs that were adopted.

        Raises:
            StoreUnavailable: the database is away.
        """
        if time.monotonic() - self._checked_at > RECHECK_SECONDS:
            self._known.clear()
            self._checked_at = time.monotonic()
        listed = {(handle, seen.uid): seen for handle, seen in observed.items()}
        self._known &= listed.keys()
        self._warned &= listed.keys()
        asked = {
            key: seen
            for key, seen in listed.items()
            if key[0] not in live and key not in self._known
        }
        unknown = unknown_attempts(self._archive, asked)
        again, self._missing = self._missing & unknown.keys(), set(unknown)
        adopted, settled = [], asked.keys() - unknown.keys()
        for key in sorted(again):
            attempt, known = unknown[key]
            try:
                if self._adopt(attempt, known, asked[key]):
                    log.warning("%r: attempt %d is adopted", attempt.experiment_id, attempt.number)
                    adopted.append(attempt)
            except NotOurs as error:
                settled.add(key)
                if key not in self._warned:
                    log.warning("The Job %s is not adopted: %s", attempt.handle, error)
                self._warned.add(key)
        self._known |= {key for key in settled if asked[key].phase not in GOING_ON}
        return adopted

    @property
    def is_waiting(self) -> bool:
        """Tell whether a Job is to be listed once more before its run is adopted."""
        return bool(self._missing - self._warned)

    def _adopt(self, attempt: Attempt, known: Experiment | None, seen: Observation) -> bool:
        """Adopt a run, or a later attempt of an experiment that is known to have ended.

        Returns:
            False if there is nothing to do yet, or no more.

        Raises:
            NotOurs: it must not be adopted.
        """
        if known is None:
            return self._adopt_new(attempt, seen)
        if known.uid != attempt.uid:
            raise NotOurs(f"there is another experiment {attempt.experiment_id!r}; delete the Job")
        if known.status is Status.SUCCEEDED:
            raise NotOurs(f"{attempt.experiment_id!r} has succeeded; delete the Job")
        # Of an attempt that is live, the reconciler first sees the end.
        return known.status not in LIVE and self._archive.adopt_attempt(known, attempt)

    def _adopt_new(self, attempt: Attempt, seen: Observation) -> bool:
        since = seen.started_at or seen.finished_at or datetime.now(UTC)
        try:
            return self._archive.adopt(attempt, since)
        except ExperimentDeleted as error:
            raise NotOurs(f"{attempt.experiment_id!r} was forgotten; delete the Job") from error
        except FolderTaken as error:
            name = attempt.experiment_id
            raise NotOurs(f"the folder of {name!r} is another run's; delete the Job") from error
        except (Unusable, OSError) as error:
            raise NotOurs(str(error)) from error


def unknown_attempts(
    archive: Archive, listed: Mapping[Key, Observation]
) -> dict[Key, tuple[Attempt, Experiment | None]]:
    """Tell which of the Jobs belong to no attempt that the database knows.

    Returns:
        For each of them its run, and the experiment that has its experiment_id, if there is one.

    Raises:
        StoreUnavailable: the database is away.
    """
    attempts = {
        key: seen.attempt
        for key, seen in listed.items()
        if seen.attempt and (seen.attempt.handle, seen.attempt.uid) == key
    }
    keys, unknown = list(attempts), dict[Key, tuple[Attempt, Experiment | None]]()
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        known = archive.experiments([attempts[key].experiment_id for key in batch])
        for key in batch:
            one = known.get(attempts[key].experiment_id)
            if one is None or one.uid != key[1] or one.attempt < attempts[key].number:
                unknown[key] = attempts[key], one
    return unknown
