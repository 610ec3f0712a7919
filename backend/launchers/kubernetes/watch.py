"""Watches of the API server that say which Jobs to look at again; how they are is then asked.

A watch is not safe to trust alone: every one is bounded, what it did not tell is found by a list
of everything now and then, and by one at once when it may have missed something (Kubernetes
documentation, API Concepts, Efficient detection of changes).
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
SHORT_SECONDS = 1.0  # a watch that ends sooner was refused, whatever it says
LONGEST_PAUSE = 2.0

log = logging.getLogger(__name__)

List = Callable[[Mapping[str, str], tuple[float, float]], urllib3.BaseHTTPResponse]


class Watch:
    """What to watch, and how far it has been.

    Attributes:
        told: the resource version of the newest change that was told of; None before the first.
    """

    def __init__(self, listing: List, job_of: Callable[[dict[str, Any]], str]) -> None:
        """Watch what `listing` lists, which takes a query and a time limit.

        `job_of` names the Job that one of the objects belongs to.
        """
        self.told: str | None = None
        self._version: str | None = None  # where to go on
        self._listing, self._job_of = listing, job_of

    def begin(self) -> None:
        """Let the watch begin now; what happened before, it does not tell."""
        answer = self._listing({"limit": "1"}, (2, 10))
        self._version = json.loads(answer.data)["metadata"]["resourceVersion"]
        self.told = None

    def follow(self, tell: Callable[[str], None]) -> None:
        """Tell the name of every Job that something changes of, for WATCH_SECONDS at most."""
        query = {"watch": "true", "timeoutSeconds": str(WATCH_SECONDS)}
        query |= {"resourceVersion": self._version} if self._version else {}
        stream = self._listing(query, (2, WATCH_SECONDS + 10))
        try:
            for line in stream:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiException(status=status.get("code"), reason=status.get("message"))
                self._version = self.told = event["object"]["metadata"]["resourceVersion"]
                tell(self._job_of(event["object"]))
        finally:
            stream.close()


class Watcher:
    """Runs watches, each in a thread of its own."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        """Start watching."""
        self.watches = watches
        self._told = threading.Condition()
        self._names: set[str] = set()
        self._everything = True
        self._blind = set(watches)
        self._closed = threading.Event()
        for number, watch in enumerate(watches):
            threading.Thread(
                target=self._run, args=(watch,), name=f"watch-{number}", daemon=True
            ).start()

    def wait(self, timeout: float) -> frozenset[str] | None:
        """Name the Jobs that have changed since the last call; wait until there is one.

        Returns:
            None if any Job may have changed, as it may while a watch cannot be had; no name after
            `timeout` seconds without a change.
        """
        with self._told:
            self._told.wait_for(
                lambda: self._names or self._everything or self._closed.is_set(), timeout
            )
            everything = self._everything or bool(self._blind)
            names, self._names, self._everything = frozenset(self._names), set(), False
        return None if everything else names

    def close(self) -> None:
        """End the watches; a thread that waits for the server ends with its time limit."""
        self._closed.set()
        with self._told:
            self._told.notify_all()

    def _run(self, watch: Watch) -> None:
        pause = 0.0
        while not self._closed.wait(pause * random.uniform(0.5, 1.0)):  # noqa: S311  (jitter)
            started, trouble = time.monotonic(), ""
            try:
                if watch in self._blind:
                    watch.begin()
                    self._see(watch)
                watch.follow(self._tell)
            except (ApiException, urllib3.exceptions.HTTPError, ValueError, LookupError) as error:
                if self._closed.is_set():
                    return
                trouble = str(error)
                with self._told:
                    self._blind.add(watch)
            if time.monotonic() - started > SHORT_SECONDS and not trouble:
                pause = 0.0
            else:
                pause = min(LONGEST_PAUSE, 2 * pause + 0.2)
                log.info("A watch ended, the next one starts in %.1f s: %s", pause, trouble)

    def _tell(self, name: str) -> None:
        with self._told:
            self._names.add(name)
            self._told.notify_all()

    def _see(self, watch: Watch) -> None:
        with self._told:
            self._blind.discard(watch)
            self._everything = True  # for what happened before the watch begins
            self._told.notify_all()
