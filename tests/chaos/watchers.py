"""Clients that only watch, and hold on to the program meanwhile: dashboards, streams, downloads."""

import http.client
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tests.chaos.clients import ANSWER_SECONDS, Api, path_of, status_of
from tests.chaos.evidence import Request
from tests.chaos.plan import ExperimentPlan

NAME = "(watcher)"
PAUSE_SECONDS = 0.5
EVENTS = {"Accept": "text/event-stream"}


@contextmanager
def watching(api: Api, address: str, plans: Sequence[ExperimentPlan]) -> Iterator[None]:
    """Watch at `address` in threads during the block; `api` records each answer."""
    ended = threading.Event()
    followed = [f"{path_of(plan.experiment_id)}/logs" for plan in plans[:2]]
    watchers = [
        *(Watcher(api, address, "/ui", {}) for _ in range(2)),
        *(Watcher(api, address, "/events", EVENTS) for _ in range(2)),
        *(Watcher(api, address, f"{path}?follow=true", {}) for path in followed),
        *(Watcher(api, address, f"{path_of(plans[0].experiment_id)}/files.zip", {}),),
    ]
    threads = [threading.Thread(target=one.run, args=(ended,), daemon=True) for one in watchers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for watcher in watchers:
            watcher.close()
        for thread in threads:
            thread.join()


class Watcher:
    """Requests one path again and again, and reads each answer to its end."""

    def __init__(self, api: Api, address: str, path: str, headers: dict[str, str]) -> None:
        self._api, self._address = api, address
        self._path, self._headers = path, headers
        self._connection: http.client.HTTPConnection | None = None

    def run(self, ended: threading.Event) -> None:
        """Watch until `ended`; an answer that breaks off is requested again."""
        while not ended.is_set():
            status = None
            with suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
                self._connection = http.client.HTTPConnection(self._address, timeout=ANSWER_SECONDS)
                self._connection.request("GET", self._path, headers=self._headers)
                answer = self._connection.getresponse()
                status = status_of(answer)
                while answer.read1(65536) and not ended.is_set():
                    time.sleep(PAUSE_SECONDS / 10)
            self.close()
            self._api.requests.append(Request(NAME, "watch", status))
            ended.wait(PAUSE_SECONDS)

    def close(self) -> None:
        """Close the connection, which ends the answer that is being read."""
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
