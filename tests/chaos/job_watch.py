"""Counts all Jobs ever created in a namespace, including deleted ones."""

import json
import threading
from collections.abc import Iterator

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

WATCH_SECONDS = 5
PAUSE_SECONDS = 0.5


class JobWatch:
    """A watch that resumes from the last version seen, or from a new list if that is too old.

    An outage of the API server therefore hides no Job, because none can be created during it.
    """

    def __init__(self, kubeconfig: str, namespace: str) -> None:
        configuration = client.Configuration()
        config.load_kube_config(kubeconfig, client_configuration=configuration)
        configuration.retries = False
        self._list = client.BatchV1Api(client.ApiClient(configuration)).list_namespaced_job
        self._namespace = namespace
        self._created: dict[str, str] = {}  # name by uid
        self._closed = threading.Event()
        self._version = ""
        self._list_jobs()
        self._thread = threading.Thread(target=self._run, name="job-watch")
        self._thread.start()

    def counts(self) -> dict[str, int]:
        """Return the number of Jobs created so far, by name."""
        names = list(self._created.values())
        return {name: names.count(name) for name in names}

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                for event in self._events():
                    if event["type"] == "ERROR":  # 410: that version is too old
                        self._list_jobs()
                        break
                    metadata = event["object"]["metadata"]
                    self._created[metadata["uid"]] = metadata["name"]
                    self._version = metadata["resourceVersion"]
            except (ApiException, urllib3.exceptions.HTTPError):  # the API server is down
                self._closed.wait(PAUSE_SECONDS)

    def _list_jobs(self) -> None:
        answer = self._list(self._namespace, _preload_content=False, _request_timeout=WATCH_SECONDS)
        listing = json.loads(answer.data)
        names = {job["metadata"]["uid"]: job["metadata"]["name"] for job in listing["items"]}
        self._created |= names
        self._version = listing["metadata"]["resourceVersion"]

    def _events(self) -> Iterator[dict]:
        stream = self._list(
            self._namespace,
            watch=True,
            resource_version=self._version,
            timeout_seconds=WATCH_SECONDS,
            _preload_content=False,
            _request_timeout=(2, WATCH_SECONDS + 5),
        )
        rest = b""
        try:
            for piece in stream.stream(decode_content=False):
                *lines, rest = (rest + piece).split(b"\n")
                yield from (json.loads(line) for line in lines)
        finally:
            stream.close()
