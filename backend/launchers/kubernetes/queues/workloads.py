"""The Workloads of Kueue: read by one list for all Jobs, and only while a Job is suspended.

The places in the queues are written to `OUTPUT_DIR/.queues.json`, where the processes of the web
role read them: those ask Kubernetes nothing. An experiment id cannot begin with a dot.
"""

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kubernetes.client.exceptions import ApiException

from backend.domain.attempt import Diagnosis
from backend.files.untrusted import open_file, opened_root, write_file
from backend.launchers.base import LauncherUnavailable
from backend.launchers.kubernetes.queues import kueue
from backend.launchers.kubernetes.queues.kueue import Workload

API_GROUP = f"/apis/{kueue.GROUP}"
VERSION = re.compile(r"v[0-9][0-9a-z]{0,30}", re.ASCII)
PAGE = 100  # objects in one answer
# Listing takes at most this part of the time, whatever the number of Workloads.
LISTING_SHARE = 20
FAILED_SECONDS = 30.0  # between tries after one that failed: without the right or without Kueue
PLACES = ".queues.json"
MAX_PLACES_BYTES = 8 * 2**20  # far more than the places of a hundred queues take

Object = dict[str, Any]

# Why Workloads cannot be listed, by the status of the answer, given the queue of a Job. 404: there
# is no Kueue, or another version of it than before.
REFUSALS: dict[int | None, Callable[[str], Diagnosis]] = {
    401: lambda _queue: kueue.UNREADABLE,
    403: lambda _queue: kueue.UNREADABLE,
    404: kueue.missing,
}

log = logging.getLogger(__name__)


class Workloads:
    """The Workloads of one namespace, as of the last list. Safe to use from several threads."""

    def __init__(
        self,
        call: Callable[..., bytes],
        output_dir: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read Workloads when they are needed.

        Args:
            call: sends a request, given a method, a path and `query`, and returns the body of the
                answer. Raises ApiException if it is refused, LauncherUnavailable without an answer.
            output_dir: where the places are written.
            clock: returns seconds.
        """
        self._call, self._folder, self._clock = call, output_dir, clock
        self._lock = threading.Lock()
        self._version: str | None = None  # of the API, once it is known
        self._found: dict[str, Workload] = {}  # by the uid of the Job
        self._refusal: Callable[[str], Diagnosis] | None = None  # why there is no list
        self._next = 0.0  # when the next list is allowed
        self._told: dict[str, tuple[str, str, Diagnosis]] = {}  # by Job: uid, queue, diagnosis
        self._written: str | None = None  # the content of PLACES

    def diagnose(self, job: Object) -> Diagnosis:
        """Return why a Job that has a queue is suspended; list the Workloads if that is due."""
        metadata = job["metadata"]
        name, uid = str(metadata["name"]), str(metadata["uid"])
        queue = str((metadata.get("labels") or {}).get(kueue.QUEUE_LABEL))
        with self._lock:
            self._refresh()
            found = self._diagnosis(uid, queue)
            self._told[name] = (uid, queue, found)
        return found

    def forget(self, names: Collection[str] | None = None) -> None:
        """Forget what was said about these Jobs, or about all, which are observed now."""
        with self._lock:
            for name in list(self._told) if names is None else names:
                self._told.pop(name, None)

    def changed(self) -> frozenset[str]:
        """Return the suspended Jobs whose diagnosis is another one now."""
        with self._lock:
            if not self._told:
                self._write({})
                return frozenset()
            self._refresh()
            return frozenset(
                name
                for name, (uid, queue, told) in self._told.items()
                if self._diagnosis(uid, queue) != told
            )

    def waiting(self, job: str) -> Sequence[str]:
        """Return the Jobs of the queue in which a Job waits, in its order, as it was last read."""
        file = open_file(self._folder, [PLACES])
        if file is None:
            return []
        try:
            with file:
                queues = json.loads(file.read(MAX_PLACES_BYTES))
            lists = {name: jobs for name, jobs in queues.items() if isinstance(jobs, list)}
            return [str(one) for one in kueue.place_of(job, lists)]
        except (OSError, ValueError, AttributeError, RecursionError):  # it is damaged
            return []

    def _diagnosis(self, uid: str, queue: str) -> Diagnosis:
        if self._refusal:
            return self._refusal(queue)
        workload = self._found.get(uid)
        if workload is None or workload.is_admitted:  # not taken up yet, or the list is older
            return kueue.TAKEN_UP_LATE
        return workload.diagnosis

    def _refresh(self) -> None:
        """List the Workloads, unless that was done a moment ago."""
        started = self._clock()
        if started < self._next:
            return
        pause = FAILED_SECONDS
        try:
            listed = list(self._list())
            self._found = {one.job_uid: one for one in listed if one.job_uid}
            self._write(kueue.places(listed))
            self._note(None, "")
            pause = LISTING_SHARE * (self._clock() - started)
        except LauncherUnavailable as error:
            log.debug("Workloads cannot be read now: %s", error)  # the last list holds
        except ApiException as error:
            if error.status in REFUSALS:
                self._version, self._found = None, {}
                self._write({})
                self._note(REFUSALS[error.status], f"{error.status} {error.reason}")
            else:  # such as 410: the list took so long that it expired
                log.debug("Workloads cannot be read now: %s", error)
        self._next = self._clock() + pause

    def _note(self, refusal: Callable[[str], Diagnosis] | None, reason: str) -> None:
        """Log once that Workloads cannot be read, and once that they can."""
        if refusal and not self._refusal:
            log.warning("Workloads of Kueue cannot be read: %s", reason)
        elif self._refusal and not refusal:
            log.warning("Workloads of Kueue can be read again.")
        self._refusal = refusal

    def _list(self) -> Iterator[Workload]:
        """Yield all Workloads that have not finished; only one page is held in memory."""
        self._version = self._version or self._served_version()
        path = f"{API_GROUP}/{self._version}/namespaces/{{namespace}}/workloads"
        query = {"limit": str(PAGE)}
        while True:
            page = _object(self._call("GET", path, query=query))
            for body in page.get("items") or []:
                workload = kueue.read_workload(body)
                if workload:
                    yield workload
            following = (page.get("metadata") or {}).get("continue")
            if not following:
                return
            query = query | {"continue": str(following)}

    def _served_version(self) -> str:
        """Return the version of its API that Kueue prefers.

        Raises:
            ApiException: with the status 404, this cluster has no Kueue.
        """
        group = _object(self._call("GET", API_GROUP))
        version = str((group.get("preferredVersion") or {}).get("version"))
        if not VERSION.fullmatch(version):
            raise ApiException(status=404, reason="NotFound")
        return version

    def _write(self, queues: Mapping[str, Sequence[str]]) -> None:
        """Write the places for the web role, if they have changed; none are written without any."""
        content = json.dumps(queues, ensure_ascii=False)
        if self._written is None and not queues and not (self._folder / PLACES).exists():
            self._written = content
        if content == self._written:
            return
        try:
            with opened_root(self._folder) as folder:
                write_file(folder, PLACES, [content.encode()])
        except OSError as error:  # without the folder, nothing else works either, and it is said
            log.debug("The places in the queues cannot be written: %s", error)
            return
        self._written = content


def _object(content: bytes) -> Object:
    """Return the object that the API server has sent.

    Raises:
        LauncherUnavailable: it is none: the error page of a proxy.
    """
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise LauncherUnavailable(kueue.UNREADABLE)
    return found
