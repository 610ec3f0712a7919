"""Notices which sweeps have changed, for a client that follows them."""

import time
from contextlib import suppress
from datetime import datetime, timedelta

from backend.domain.exceptions import StoreUnavailable
from backend.domain.sweeps.sweep import Sweep
from backend.store.related.sweeps import SweepTable

POLL_SECONDS = 0.5
FIRST_PAGE = 100
# Clocks of several servers differ, and transactions take time: a change that is this much older
# than the last one may become visible later.
OVERLAP = timedelta(seconds=5)


class SweepChanges:
    """The changes of all sweeps since it was created. Not for several threads."""

    def __init__(self, table: SweepTable) -> None:
        """Watch `table`, from now on or from when the database can be used again."""
        self._table = table
        self._polled_at = time.monotonic()
        self._last: datetime | None = None
        self._seen: set[tuple[str, datetime]] | None = None  # None until it was read
        with suppress(StoreUnavailable):  # the store has logged it
            self._begin()

    def new(self) -> list[Sweep]:
        """Return the sweeps that have changed since the last call.

        Nothing is returned within POLL_SECONDS, and while the database cannot be used.
        """
        if time.monotonic() - self._polled_at < POLL_SECONDS:
            return []
        self._polled_at = time.monotonic()
        try:
            if self._seen is None:
                self._begin()
                return []
            last = self._table.last_change()
            if last == self._last:
                return []
            recent = self._recent()
        except StoreUnavailable:  # the store has logged it
            return []
        changed = [sweep for sweep in recent if (sweep.uid, sweep.updated_at) not in self._seen]
        self._seen, self._last = _versions(recent), last
        return changed

    def _begin(self) -> None:
        self._last = self._table.last_change()
        self._seen = _versions(self._recent())

    def _recent(self) -> list[Sweep]:
        if self._last is None:
            return self._table.page(limit=FIRST_PAGE)
        return self._table.changed_since(self._last - OVERLAP)


def _versions(sweeps: list[Sweep]) -> set[tuple[str, datetime]]:
    return {(sweep.uid, sweep.updated_at) for sweep in sweeps}
