"""Delivers the notices of one target: each at least once, those of an experiment in order."""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from backend.domain.exceptions import StoreUnavailable
from backend.domain.webhooks.notice import GIVE_UP_AFTER, Notice, content_of
from backend.domain.webhooks.targets import Target
from backend.experiments.webhooks.sender import NotDelivered, Sender
from backend.store.queries import Store
from backend.store.related.outbox import Outbox

POLL_SECONDS = 1.0  # between looks for new transitions and for notices that are due
EVENTS_AT_ONCE = 500
NOTICES_AT_ONCE = 50
LEASE = timedelta(seconds=60)  # for which other processes leave a notice alone; above SECONDS
LONGEST_REST = 60.0  # seconds between two tries while the target fails

log = logging.getLogger(__name__)


class Counts(Protocol):
    """Counts outcomes, for /metrics."""

    def webhook(self, outcome: str, number: int = 1) -> None:
        """Count notices that were `delivered`, have `failed` once more or are `given_up`."""


class Delivery:
    """The webhook of one target. Several processes may deliver to the same target."""

    def __init__(
        self,
        target: Target,
        store: Store,
        sender: Sender,
        counts: Counts,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._target, self._store, self._sender = target, store, sender
        self._outbox, self._counts, self._clock = Outbox(store.database), counts, clock
        self._failures = 0  # since the last success
        self._is_reported = False

    def run(self, stopped: threading.Event) -> None:
        """Deliver until `stopped` is set."""
        rest = 0.0
        while not stopped.wait(rest):
            try:
                self.step(stopped)
                rest = min(LONGEST_REST, POLL_SECONDS * 2 ** min(self._failures, 10))
            except StoreUnavailable:  # the store has logged it
                rest = POLL_SECONDS
            except Exception:  # a bug must not end the thread: everything is tried again
                log.exception("The webhook of %s has failed", self._target.name)
                rest = LONGEST_REST

    def step(self, stopped: threading.Event | None = None) -> None:
        """Note new transitions, and send what is due.

        Raises:
            StoreUnavailable: the database cannot be used; the next call goes on.
        """
        self._collect()
        while notices := self._outbox.due(self._target.key, self._clock(), NOTICES_AT_ONCE):
            for notice in notices:
                if stopped and stopped.is_set():
                    return
                if not self._deliver(notice):
                    return  # the target has failed: others would fail, too

    def _collect(self) -> None:
        """Note the transitions since the last call, also those that happened between two starts."""
        transitions, now = self._store.transitions, self._clock()
        seen = self._outbox.seen(self._target.key, now)
        if seen is None:
            seen = transitions.last_id()
            self._outbox.listen(self._target.key, seen, now)
        while events := transitions.after(seen, EVENTS_AT_ONCE):
            wanted = [
                event
                for event in events
                if event.transition.to_status in self._target.kinds
                and now - event.transition.at < GIVE_UP_AFTER  # not the history of a rebuild
            ]
            ids = list(dict.fromkeys(event.experiment_id for event in wanted))
            known = {one.experiment_id: one for one in self._store.by_ids(ids)} if ids else {}
            notices = [
                Notice(
                    self._target.key,
                    event.id,
                    event.experiment_id,
                    event.transition.to_status,
                    content_of(known[event.experiment_id], event.transition),
                    created_at=now,
                    next_at=now,
                )
                for event in wanted
                if event.experiment_id in known  # otherwise its deletion has noted it
            ]
            if not self._outbox.collect(self._target.key, seen, events[-1].id, notices):
                return
            seen = events[-1].id

    def _deliver(self, notice: Notice) -> bool:
        """Send a notice, and return whether the target works as far as is known."""
        now = self._clock()
        if notice.kind not in self._target.kinds:
            self._outbox.remove(notice)
            return True
        if not self._outbox.postpone(notice, now + LEASE, notice.failures):
            return True  # another process sends it
        leased = replace(notice, next_at=now + LEASE)
        try:
            self._sender.send(self._target, notice)
        except NotDelivered as error:
            self._failed(leased, str(error))
            return False
        self._outbox.remove(leased)
        self._counts.webhook("delivered")
        if self._is_reported:
            log.warning("The webhook of %s works again.", self._target.name)
        self._failures, self._is_reported = 0, False
        return True

    def _failed(self, notice: Notice, reason: str) -> None:
        now = self._clock()
        self._failures += 1
        self._counts.webhook("failed")
        self._outbox.postpone(notice, now + notice.pause, notice.failures + 1)
        if given_up := self._outbox.give_up(self._target.key, now - GIVE_UP_AFTER):
            self._counts.webhook("given_up", given_up)
            log.error(
                "The webhook of %s has failed for a day: %d notice(s) are given up. %s",
                self._target.name,
                given_up,
                reason,
            )
        if not self._is_reported:
            self._is_reported = True
            log.warning(
                "The webhook of %s cannot be delivered; trying again: %s", self._target.name, reason
            )
