"""Transitions of all experiments as they come, for everybody in this process who listens.

There is no thread: whoever waits looks into the database if nobody has within LOOK_SECONDS, and
shares what is there with the others.
"""

import math
import threading
import time
from collections.abc import Sequence
from typing import Any

from backend.domain.status import LIVE
from backend.store.engine import StoreUnavailable
from backend.store.queries import Store

LOOK_SECONDS = 0.5
STALE_SECONDS = 5.0  # nobody has listened for so long: begin at the end again
SHARED = 1000  # transitions that are remembered; who is further behind asks the database
PAGE = 500

Row = Any  # of Store.transitions


class TransitionFeed:
    """What happens to experiments, from now on or from an earlier transition on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: list[Row] = []
        self._first_after = self._last = 0  # the shared rows are those between
        self._looked_at = -math.inf
        self._looking = threading.Lock()
        self._changed = threading.Condition()

    def now(self) -> int:
        """Give the id of the last transition.

        Raises:
            StoreUnavailable: the database is away.
        """
        with self._looking:
            self._look()
            return self._last

    def after(self, last: int) -> Sequence[Row]:
        """Give the transitions that follow id `last`, oldest first, a page of them at most.

        None for as long as the database is away; they come when it is back.
        """
        try:
            if self._looking.acquire(blocking=False):  # else somebody is looking
                try:
                    if time.monotonic() - self._looked_at > LOOK_SECONDS:
                        self._look()
                finally:
                    self._looking.release()
            with self._changed:
                if last >= self._first_after:
                    return [row for row in self._rows if row.id > last][:PAGE]
            return self._store.transitions(last, PAGE)
        except StoreUnavailable:  # the store has written it to the log
            return []

    def wait(self, seconds: float) -> None:
        """Return when there may be more, at the latest after `seconds`."""
        with self._changed:
            self._changed.wait(min(seconds, LOOK_SECONDS))

    def _look(self) -> None:
        """Ask the database for what is new; if nobody has for long, only for where it stands."""
        stale = time.monotonic() - self._looked_at > STALE_SECONDS
        if not stale:
            self._looked_at = time.monotonic()  # also if it fails: not more often than this
        rows = [] if stale else self._store.transitions(self._last, PAGE)
        last = self._store.last_transition() if stale else rows[-1].id if rows else self._last
        self._looked_at = time.monotonic()
        with self._changed:
            known = [] if stale else self._rows
            self._rows = [*known, *rows][-SHARED:]
            if stale:
                self._first_after = last
            elif len(known) + len(rows) > SHARED:
                self._first_after = self._rows[0].id - 1
            self._last = last
            if rows:
                self._changed.notify_all()


class AttemptWatch:
    """An attempt to train, and whether it is over.

    Attributes:
        number: from 1 on.
    """

    def __init__(
        self,
        transitions: TransitionFeed,
        experiment_id: str,
        number: int,
        *,
        is_over: bool,
        seen: int,
    ) -> None:
        """Know how it was when transition `seen` was the last one."""
        self._transitions, self._seen, self._is_over = transitions, seen, is_over
        self._experiment_id, self.number = experiment_id, number

    @property
    def is_over(self) -> bool:
        """Tell whether it is known to be over."""
        while not self._is_over and (rows := self._transitions.after(self._seen)):
            self._seen = rows[-1].id
            self._is_over = any(
                row.attempt > self.number
                or (row.attempt == self.number and row.to_status not in LIVE)
                for row in rows
                if row.experiment_id == self._experiment_id
            )
        return self._is_over

    def wait(self, seconds: float) -> None:
        """Return when something may have changed, at the latest after `seconds`."""
        if self._is_over:
            time.sleep(seconds)
        else:
            self._transitions.wait(seconds)
