"""Keeps an unforeseen error in one experiment from holding up all the others."""

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from backend.domain.attempt import Attempt
from backend.domain.exceptions import StoreUnavailable
from backend.launchers.base import LauncherUnavailable

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0  # seconds until a failed experiment is tried again

log = logging.getLogger(__name__)


@dataclass
class _Streak:
    """Failures in a row; times are in seconds of the clock."""

    pause: float
    retry_at: float


def name_of(attempt: Attempt) -> str:
    """Return the name of the work on an attempt that has ended or was superseded."""
    return f"{attempt.experiment_id}, attempt {attempt.number}"


class Isolation:
    """Runs the work on each experiment on its own.

    An unforeseen error is logged with its traceback, once until the work succeeds again. The
    experiment is then left out for a pause that doubles with each failure.
    """

    def __init__(
        self, count_failure: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Call `count_failure` for each error; `clock` returns seconds."""
        self._count_failure, self._clock = count_failure, clock
        self._streaks: dict[str, _Streak] = {}

    def run(self, name: str, work: Callable[[], None]) -> None:
        """Call `work` on what `name` stands for, unless that failed a moment ago.

        `name` is an experiment_id, or one with an attempt; see `name_of`.

        Raises:
            StoreUnavailable, LauncherUnavailable: they concern all experiments.
        """
        streak = self._streaks.get(name)
        if streak and self._clock() < streak.retry_at:
            return
        try:
            work()
        except (StoreUnavailable, LauncherUnavailable):
            raise
        except Exception:
            self._count_failure()
            if streak is None:
                log.exception("Unforeseen error in %r; the others are reconciled", name)
            pause = min(LONGEST_PAUSE, 2 * streak.pause) if streak else FIRST_PAUSE
            self._streaks[name] = _Streak(pause, self._clock() + pause)
        else:
            if self._streaks.pop(name, None):
                log.warning("%r is reconciled again", name)

    def retain(self, names: Collection[str]) -> None:
        """Drop the failures of all other experiments, which have ended or were deleted."""
        self._streaks = {name: self._streaks[name] for name in self._streaks.keys() & set(names)}
