"""Streams the transitions of all experiments to the listeners in this process.

There is no thread of its own: a listener that waits polls the database, unless another one has
within POLL_SECONDS, and shares what it finds.
"""

import math
import threading
import time
from collections.abc import Sequence

from backend.domain.exceptions import StoreUnavailable
from backend.domain.experiment import Event
from backend.domain.status import LIVE
from backend.store.transitions import TransitionLog

POLL_SECONDS = 0.5
STALE_SECONDS = 5.0  # without a listener; then start again at the latest transition
SHARED_EVENTS = 1000  # kept in memory; a listener further behind reads the database
PAGE = 500  # events returned at once


class TransitionFeed:
    """The events of all experiments, from any earlier transition on."""

    def __init__(self, transitions: TransitionLog) -> None:
        self._transitions = transitions
        self._events: list[Event] = []  # those with an id in (_first_after, _last]
        self._first_after = self._last = 0
        self._polled_at = -math.inf
        self._polling = threading.Lock()
        self._changed = threading.Condition()

    def last_id(self) -> int:
        """Return the id of the latest transition.

        Raises:
            StoreUnavailable: the database cannot be used now.
        """
        with self._polling:
            self._poll()
            return self._last

    def after(self, last: int) -> Sequence[Event]:
        """Return at most PAGE events that follow the transition `last`, oldest first.

        Nothing is returned while the database cannot be used; a later call returns what was missed.
        """
        try:
            if self._polling.acquire(blocking=False):  # otherwise another thread is polling
                try:
                    if time.monotonic() - self._polled_at > POLL_SECONDS:
                        self._poll()
                finally:
                    self._polling.release()
            with self._changed:
                if last >= self._first_after:
                    return [event for event in self._events if event.id > last][:PAGE]
            return self._transitions.after(last, PAGE)
        except StoreUnavailable:  # the store has logged it
            return []

    def wait(self, seconds: float) -> None:
        """Return when there may be new events, after `seconds` at the latest."""
        with self._changed:
            self._changed.wait(min(seconds, POLL_SECONDS))

    def _poll(self) -> None:
        """Read new events; if nobody has polled for long, only the latest id."""
        if time.monotonic() - self._polled_at > STALE_SECONDS:
            last = self._transitions.last_id()
            self._polled_at = time.monotonic()
            with self._changed:
                self._events = []
                self._first_after = self._last = last
            return
        self._polled_at = time.monotonic()  # before reading, so that failures are not more frequent
        new = self._transitions.after(self._last, PAGE)
        self._polled_at = time.monotonic()
        if not new:
            return
        with self._changed:
            self._events += new
            if len(self._events) > SHARED_EVENTS:
                self._events = self._events[-SHARED_EVENTS:]
                self._first_after = self._events[0].id - 1
            self._last = new[-1].id
            self._changed.notify_all()


class AttemptWatch:
    """Notices when an attempt ends.

    Attributes:
        number: the number of the attempt, from 1.
    """

    def __init__(
        self,
        feed: TransitionFeed,
        experiment_id: str,
        number: int,
        *,
        is_over: bool,
        last_event: int,
    ) -> None:
        """Watch an attempt.

        Args:
            feed: the events.
            experiment_id: its experiment.
            number: the number of the attempt, from 1.
            is_over: whether it had ended after `last_event`.
            last_event: the id of a transition.
        """
        self._feed, self._experiment_id, self.number = feed, experiment_id, number
        self._is_over, self._last_event = is_over, last_event

    @property
    def is_over(self) -> bool:
        """Whether the attempt is known to have ended."""
        while not self._is_over and (events := self._feed.after(self._last_event)):
            self._last_event = events[-1].id
            self._is_over = any(self._is_end(event) for event in events)
        return self._is_over

    def wait(self, seconds: float) -> None:
        """Return when something may have changed, after `seconds` at the latest."""
        if self._is_over:
            time.sleep(seconds)
        else:
            self._feed.wait(seconds)

    def _is_end(self, event: Event) -> bool:
        transition = event.transition
        is_terminal = transition.attempt == self.number and transition.to_status not in LIVE
        return event.experiment_id == self._experiment_id and (
            is_terminal or transition.attempt > self.number
        )
