"""Adds experiments to the database whose Jobs exist, but whose rows were lost.

The database was lost, or replaced by an older copy. An experiment that is being deleted looks the
same for a moment, because its Job is deleted before its row, and a list of Jobs may be older than
either. So a Job is adopted only if it is listed again after its row was found missing.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime

from backend.domain.attempt import Attempt
from backend.domain.exceptions import FolderTaken, StoreUnavailable
from backend.domain.experiment import Experiment
from backend.domain.status import LIVE, Status
from backend.experiments.archive import Archive, ExperimentDeleted
from backend.experiments.run_file import UnusableRunFile
from backend.launchers.base import ENDED_PHASES, Observation

RECHECK_SECONDS = 60.0  # until the database is asked again for Jobs that have ended
LOOKUP_SIZE = 500  # experiments in one query

log = logging.getLogger(__name__)

Key = tuple[str, str]  # the name of a Job and the uid of its experiment


class NotAdoptable(Exception):
    """The Job must not be adopted; the message says why."""


class Adoption:
    """Compares the Jobs with the database, pass by pass."""

    def __init__(self, archive: Archive, count_failure: Callable[[], None] = lambda: None) -> None:
        """Adopt through `archive`; call `count_failure` for each unforeseen error in one Job."""
        self._archive, self._count_failure = archive, count_failure
        self._missing: set[Key] = set()  # had no row in the last pass
        self._known: set[Key] = set()  # have ended, and had a row when last checked
        self._warned: set[Key] = set()
        self._checked_at = time.monotonic()

    def adopt(self, live: Collection[str], observed: Mapping[str, Observation]) -> list[Attempt]:
        """Make one pass over all observed Jobs, except `live`, which are known to be current.

        Returns:
            The attempts that were adopted.

        Raises:
            StoreUnavailable: the database cannot be used now.
        """
        if time.monotonic() - self._checked_at > RECHECK_SECONDS:
            self._known.clear()
            self._checked_at = time.monotonic()
        listed = {
            (handle, observation.uid): observation for handle, observation in observed.items()
        }
        self._known &= listed.keys()
        self._warned &= listed.keys()
        unchecked = {
            key: observation
            for key, observation in listed.items()
            if key[0] not in live and key not in self._known
        }
        unknown = unknown_attempts(self._archive, unchecked)
        missing_again, self._missing = self._missing & unknown.keys(), set(unknown)
        adopted, settled = [], unchecked.keys() - unknown.keys()
        for key in sorted(missing_again):
            attempt, known = unknown[key]
            try:
                if self._adopt(attempt, known, unchecked[key]):
                    log.warning("%r: attempt %d is adopted", attempt.experiment_id, attempt.number)
                    adopted.append(attempt)
            except NotAdoptable as error:
                settled.add(key)
                if key not in self._warned:
                    log.warning("The Job %s is not adopted: %s", attempt.handle, error)
                self._warned.add(key)
            except StoreUnavailable:
                raise
            except Exception:  # one bad record must not hold up the others; tried at each full pass
                if key not in self._warned:
                    log.exception("The Job %s cannot be adopted", attempt.handle)
                self._warned.add(key)
                self._count_failure()
        self._known |= {key for key in settled if unchecked[key].phase in ENDED_PHASES}
        return adopted

    @property
    def is_waiting(self) -> bool:
        """Whether a Job will be adopted if the next pass lists it again."""
        return bool(self._missing - self._warned)

    def _adopt(self, attempt: Attempt, known: Experiment | None, observation: Observation) -> bool:
        """Adopt an attempt of an unknown experiment, or a later one of an ended experiment.

        Returns:
            False if there is nothing to do, or not yet.

        Raises:
            NotAdoptable: it must not be adopted.
        """
        if known is None:
            return self._adopt_new(attempt, observation)
        if known.uid != attempt.uid:
            raise NotAdoptable(
                f"there is another experiment {attempt.experiment_id!r}; delete the Job"
            )
        if known.status is Status.SUCCEEDED:
            raise NotAdoptable(f"{attempt.experiment_id!r} has succeeded; delete the Job")
        # The reconciler has to record the end of a live attempt first.
        return known.status not in LIVE and self._archive.adopt_attempt(known, attempt)

    def _adopt_new(self, attempt: Attempt, observation: Observation) -> bool:
        since = observation.started_at or observation.finished_at or datetime.now(UTC)
        name = attempt.experiment_id
        try:
            return self._archive.adopt(attempt, since)
        except ExperimentDeleted as error:
            raise NotAdoptable(f"the experiment {name!r} was deleted; delete the Job") from error
        except FolderTaken as error:
            raise NotAdoptable(
                f"the folder {name!r} belongs to another experiment; delete the Job"
            ) from error
        except (UnusableRunFile, OSError) as error:
            raise NotAdoptable(str(error)) from error


def unknown_attempts(
    archive: Archive, listed: Mapping[Key, Observation]
) -> dict[Key, tuple[Attempt, Experiment | None]]:
    """Return the attempts of those Jobs that the database does not know.

    Returns:
        For each Job its attempt, and the experiment that has its experiment_id, if there is one.

    Raises:
        StoreUnavailable: the database cannot be used now.
    """
    attempts = {
        key: observation.attempt
        for key, observation in listed.items()
        if observation.attempt and (observation.attempt.handle, observation.attempt.uid) == key
    }
    keys, unknown = list(attempts), dict[Key, tuple[Attempt, Experiment | None]]()
    for start in range(0, len(keys), LOOKUP_SIZE):
        batch = keys[start : start + LOOKUP_SIZE]
        known = archive.by_ids([attempts[key].experiment_id for key in batch])
        for key in batch:
            attempt = attempts[key]
            experiment = known.get(attempt.experiment_id)
            if (
                experiment is None
                or experiment.uid != attempt.uid
                or experiment.attempt < attempt.number
            ):
                unknown[key] = attempt, experiment
    return unknown
