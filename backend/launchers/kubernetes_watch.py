"""Watches of the API server that say when to look again; what changed is then read from a list.

A watch is not safe to trust alone: every one is bounded, and each end of one counts as a change,
so that a fresh list follows (Kubernetes documentation, API Concepts, Efficient detection of
changes).
"""

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import urllib3
from kubernetes.client.exceptions import ApiException

WATCH_SECONDS = 30
SHORT_SECONDS = 1.0  # a watch that ends sooner was refused, whatever it says
LONGEST_PAUSE = 10.0

log = logging.getLogger(__name__)

List = Callable[..., Any]


class Watcher:
    """Runs one watch for each kind of object, each in a thread of its own."""

    def __init__(self, lists: Sequence[List]) -> None:
        """Start watching.

        `lists` are calls of the client that list objects and take its keywords (`watch` ...).
        """
        self._changed = threading.Event()
        self._closed = threading.Event()
        for number, listing in enumerate(lists):
            threading.Thread(
                target=self._run, args=(listing,), name=f"watch-{number}", daemon=True
            ).start()

    def wait(self, timeout: float) -> None:
        """Return when something has changed since the last call, or after `timeout` seconds."""
        self._changed.wait(timeout)
        self._changed.clear()

    def close(self) -> None:
        """End the watches; a thread that waits for the server ends with its time limit."""
        self._closed.set()
        self._changed.set()

    def _run(self, listing: List) -> None:
        pause = 0.0
        while not self._closed.wait(pause * random.uniform(0.5, 1.0)):  # noqa: S311  (jitter)
            started, trouble = time.monotonic(), ""
            try:
                self._watch(listing)
            except (ApiException, urllib3.exceptions.HTTPError, ValueError, LookupError) as error:
                trouble = str(error)
            if time.monotonic() - started > SHORT_SECONDS and not trouble:
                pause = 0.0
            else:
                pause = min(LONGEST_PAUSE, 2 * pause + 0.2)
                log.warning("A watch ended, the next one starts in %.1f s: %s", pause, trouble)
            self._changed.set()

    def _watch(self, listing: List) -> None:
        answer = listing(limit=1, _preload_content=False, _request_timeout=WATCH_SECONDS)
        version = json.loads(answer.data)["metadata"]["resourceVersion"]
        self._changed.set()  # for what happened before that version
        stream = listing(
            watch=True,
            resource_version=version,
            timeout_seconds=WATCH_SECONDS,
            _preload_content=False,
            _request_timeout=(2, WATCH_SECONDS + 10),
        )
        try:
            for _ in stream.stream(decode_content=False):
                self._changed.set()
                if self._closed.is_set():
                    return
        finally:
            stream.close()
