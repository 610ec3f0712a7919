"""Watches Jobs and pods for changes.

A watch yields only the names of changed Jobs; their state is then read separately. A watch alone
is not reliable: each one is limited in time, and everything is listed from time to time, and at
once when a watch may have missed a change (Kubernetes documentation, API Concepts, Efficient
detection of changes).
"""

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import urllib3
from kubernetes.client.exceptions import ApiException

WATCH_SECONDS = 30
SHORT_SECONDS = 1.0  # a watch that ends sooner counts as a failure
LONGEST_PAUSE = 2.0  # seconds between two watches

log = logging.getLogger(__name__)

List = Callable[[Mapping[str, str], tuple[float, float]], urllib3.BaseHTTPResponse]


class Watch:
    """One watched list, and the position reached in it.

    Attributes:
        reported: the resource version of the last reported change; None before the first.
    """

    def __init__(
        self,
        listing: List,
        job_of: Callable[[dict[str, Any]], str],
        note: Callable[[dict[str, Any]], object] = lambda event: None,
    ) -> None:
        """Prepare a watch.

        Args:
            listing: requests the list, given a query and a time limit.
            job_of: returns the name of the Job that a listed object belongs to.
            note: called with every event, before it is reported.
        """
        self.reported: str | None = None
        self._version: str | None = None  # where the next watch continues
        self._listing, self._job_of, self._note = listing, job_of, note

    def begin(self) -> None:
        """Start at the current state; earlier changes are not reported."""
        answer = self._listing({"limit": "1"}, (2, 10))
        self._version = json.loads(answer.data)["metadata"]["resourceVersion"]
        self.reported = None

    def follow(self, report: Callable[[str], None]) -> None:
        """Call `report` with the name of every changed Job, for at most WATCH_SECONDS.

        Raises:
            ApiException: the server refused or ended the watch.
            urllib3.exceptions.HTTPError: the connection failed.
            ValueError, LookupError: the answer is not that of an API server.
        """
        query = {"watch": "true", "timeoutSeconds": str(WATCH_SECONDS)}
        if self._version:
            query["resourceVersion"] = self._version
        stream = self._listing(query, (2, WATCH_SECONDS + 10))
        try:
            for line in stream:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiException(status=status.get("code"), reason=status.get("message"))
                self._version = event["object"]["metadata"]["resourceVersion"]
                self.reported = self._version
                self._note(event)
                report(self._job_of(event["object"]))
        finally:
            stream.close()


class Watcher:
    """Runs watches, each in its own thread, and collects the names of changed Jobs."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        """Start the threads."""
        self._changed = threading.Condition()
        self._names: set[str] = set()
        self._everything = True  # any Job may have changed
        self._broken = set(watches)  # those that may have missed a change
        self._closed = threading.Event()
        for number, watch in enumerate(watches):
            threading.Thread(
                target=self._run, args=(watch,), name=f"watch-{number}", daemon=True
            ).start()

    def wait(self, timeout: float) -> frozenset[str] | None:
        """Wait for a change, and return the names of the Jobs that changed since the last call.

        Returns:
            None if any Job may have changed, which is always so while a watch is broken; an empty
            set after `timeout` seconds without a change.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._names or self._everything or self._closed.is_set(), timeout
            )
            everything = self._everything or bool(self._broken)
            names = frozenset(self._names)
            self._names.clear()
            self._everything = False
        return None if everything else names

    def close(self) -> None:
        """Stop watching; a thread that waits for the server stops after its time limit."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()

    def _run(self, watch: Watch) -> None:
        pause = 0.0
        while not self._closed.wait(pause * random.uniform(0.5, 1.0)):  # noqa: S311  (jitter)
            started, failure = time.monotonic(), ""
            try:
                if watch in self._broken:
                    watch.begin()
                    self._report_begin(watch)
                watch.follow(self._report)
            except (ApiException, urllib3.exceptions.HTTPError, ValueError, LookupError) as error:
                if self._closed.is_set():
                    return
                failure = str(error)
                with self._changed:
                    self._broken.add(watch)
            if time.monotonic() - started > SHORT_SECONDS and not failure:
                pause = 0.0
            else:
                pause = min(LONGEST_PAUSE, 2 * pause + 0.2)
                log.info("A watch ended; the next one starts in %.1f s: %s", pause, failure)

    def _report(self, name: str) -> None:
        with self._changed:
            self._names.add(name)
            self._changed.notify_all()

    def _report_begin(self, watch: Watch) -> None:
        with self._changed:
            self._broken.discard(watch)
            self._everything = True  # changes from before the watch began
            self._changed.notify_all()
