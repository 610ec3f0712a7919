"""Bounds the processor time that an answer takes while it is made and sent."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

ANSWER_SECONDS = 1.5  # of one answer, as of one reading of a curve (files/curves.py)
STREAM_SHARE = 0.05  # of the duration of a stream, in addition to that

T = TypeVar("T")


class ProcessorTime:
    """The processor time that one answer may still take, in whichever threads it is made.

    Attributes:
        was_cut: whether something was left out because the time was used up.
    """

    def __init__(self, share: float = 0.0) -> None:
        """Allow ANSWER_SECONDS, and `share` of the time that passes, but never more at once."""
        self.was_cut = False
        self._share, self._left, self._at = share, ANSWER_SECONDS, time.monotonic()

    def metered(self, items: Iterable[T]) -> Iterator[T]:
        """Yield items until making them has used up the time; the first one is always yielded."""
        iterator, is_used_up = iter(items), False
        while True:
            begun = time.thread_time()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self._spend(time.thread_time() - begun)
            if is_used_up:
                self.was_cut = True
                return
            yield item
            is_used_up = self._left <= 0

    def _spend(self, seconds: float) -> None:
        now = time.monotonic()
        self._left = min(self._left + self._share * (now - self._at), ANSWER_SECONDS) - seconds
        self._at = now
