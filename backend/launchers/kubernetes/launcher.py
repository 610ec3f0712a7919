"""The launcher that runs each attempt as a Kubernetes Job."""

import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from itertools import islice
from typing import Any

import urllib3
from kubernetes.client.exceptions import ApiException

from backend.domain.attempt import Attempt, Diagnosis
from backend.domain.execution.usage import Usage
from backend.files.log_lines import MAX_TAIL_BYTES
from backend.files.sizes import PIECE_BYTES
from backend.launchers.base import Job, LauncherUnavailable, Observation, Phase
from backend.launchers.exit_codes import quote
from backend.launchers.kubernetes import logs as kubernetes_logs
from backend.launchers.kubernetes import manifest, status
from backend.launchers.kubernetes.api import (
    EVENTS,
    JOB,
    JOBS,
    NODE,
    POD,
    POD_LOG,
    POD_METRICS,
    PODS,
    KubernetesApi,
)
from backend.launchers.kubernetes.errors import no_answer, refused, unavailable
from backend.launchers.kubernetes.gangs.checks import check_gang
from backend.launchers.kubernetes.gangs.indexed_job import is_gang
from backend.launchers.kubernetes.logs import PodLogs
from backend.launchers.kubernetes.metrics_api.pod_metrics import PodMetrics
from backend.launchers.kubernetes.pod_states import job_of
from backend.launchers.kubernetes.queues.workloads import Workloads
from backend.launchers.kubernetes.status import Surroundings
from backend.launchers.kubernetes.watch import Watch, Watcher
from backend.settings import Settings

TIMEOUT = (2.0, 10.0)  # seconds to connect and to answer; a POST must not hang on a dead server
# A queued Job without a diagnosis is observed again: its cause may be an event, and events are not
# watched.
RELOOK_SECONDS = 5.0
MOST_RELOOKED = 100  # Jobs at once, those observed longest ago first
SELECTED = 100  # names in one label selector: proxies allow an address 8 kB
MAX_WARNINGS = 500
PAGE = 100  # objects in one answer; each takes 30 kB of memory while it is read

Object = dict[str, Any]


class KubernetesLauncher:
    """Runs each attempt as a Job in `settings.job_namespace`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._api = KubernetesApi(settings.job_namespace)
        self._watcher: Watcher | None = None
        self._pod_watch: Watch | None = None
        # Queued Jobs without a diagnosis, observed longest ago first; a dict as an ordered set.
        self._unexplained: dict[str, None] = {}
        self._next_relook = 0.0
        self._workloads = Workloads(self._call, settings.output_dir)
        self._metrics = PodMetrics(partial(self._list_ours, POD_METRICS, {}, TIMEOUT))
        self.log_source = PodLogs(
            list_pods=self._pods_of,
            get_pod=self._pod,
            read_log=self._read_log,
            open_log=self._open_log,
            max_bytes=max(MAX_TAIL_BYTES, settings.log_max_bytes),
        )

    def render(self, attempt: Attempt) -> Job:
        """Return the complete Job of an attempt, without sending it."""
        return manifest.render(attempt, self._settings)

    def submit(self, job: Job) -> str:
        """Create a Job and return its name; adopt the Job that the same attempt already has."""
        name = str(job["metadata"]["name"])
        if is_gang(job):
            check_gang(job, self._call)
        try:
            self._call("POST", JOBS, body=job)
        except ApiException as error:
            if error.status != 409:
                raise refused(error) from error
            self._adopt(name, job["metadata"]["annotations"][manifest.UID])
        return name

    def observe(self, handles: Collection[str] | None = None) -> Mapping[str, Observation]:
        """Return the observations of these Jobs, or of all Jobs with our labels, by name."""
        self._workloads.forget(handles)
        try:
            pods, jobs = self._list_all() if handles is None else self._read_some(handles)
            observations = self._observations(pods, jobs)
        except ApiException as error:
            raise unavailable(error) from error
        for handle in list(self._unexplained) if handles is None else handles:
            self._unexplained.pop(handle, None)
        for name, seen in observations.items():
            if seen.phase is Phase.QUEUED and seen.diagnosis is None:
                self._unexplained[name] = None
        return observations

    def changes(self, timeout: float) -> frozenset[str] | None:
        """Wait until the API server reports a change of our Jobs or pods."""
        if self._watcher is None:
            job_watch = Watch(partial(self._list_ours, JOBS), _name)
            self._pod_watch = Watch(
                partial(self._list_ours, PODS), job_of, note=self.log_source.note
            )
            self._watcher = Watcher([job_watch, self._pod_watch])
        changed = self._watcher.wait(timeout)
        if changed is None or time.monotonic() < self._next_relook:
            return changed
        self._next_relook = time.monotonic() + RELOOK_SECONDS
        unexplained = islice(self._unexplained, MOST_RELOOKED)
        return changed.union(unexplained, self._workloads.changed())

    def waiting(self, handle: str) -> Sequence[str]:
        """Return the queue of Kueue that a Job waits in, as the reconciler last read it.

        Without a queue, nothing is known: the scheduler of Kubernetes decides which pod is next.
        """
        return self._workloads.waiting(handle)

    def usage(self, handles: Collection[str]) -> Mapping[str, Usage]:
        """Return what the pods of these Jobs use, if the cluster measures it."""
        return self._metrics.read(handles)

    def cancel(self, handle: str) -> None:
        """Delete a Job; the garbage collector ends its pods."""
        try:
            self._call("DELETE", JOB, handle, query={"propagationPolicy": "Background"})
        except ApiException as error:
            if error.status != 404:
                raise unavailable(error) from error

    def delete_job(self, attempt: Attempt) -> None:
        """Delete a Job with its pods, if it was made for this attempt."""
        try:
            job = self._object(JOB, attempt.handle)
            if (job["metadata"].get("annotations") or {}).get(manifest.UID) != attempt.uid:
                return
            # 409 if another Job of the same name has been created since: its uid differs.
            precondition = {"uid": job["metadata"]["uid"]}
            options = {"propagationPolicy": "Background", "preconditions": precondition}
            self._call("DELETE", JOB, attempt.handle, body=options)
        except ApiException as error:
            if error.status not in (404, 409):
                raise unavailable(error) from error

    def close(self) -> None:
        """Stop the watches and close the connections."""
        if self._watcher:
            self._watcher.close()
        self._api.close()

    def _observations(
        self, pods: Iterable[Object], jobs: Iterable[Object]
    ) -> dict[str, Observation]:
        pods_of: dict[str, list[Object]] = {}
        for pod in pods:
            pods_of.setdefault(job_of(pod), []).append(pod)
        surroundings = Surroundings(
            self._node_is_ready,
            cache(self._warnings),
            datetime.now(UTC),
            self._workloads.diagnose,
        )
        observations = {}
        for job in jobs:
            pods_of_job = pods_of.pop(_name(job), [])
            observations[_name(job)] = status.observation(job, pods_of_job, surroundings)
        for name, orphans in pods_of.items():
            seen = status.observation_of_orphans(orphans, surroundings)
            if seen:
                observations[name] = seen
        return observations

    def _list_all(self) -> tuple[Iterable[Object], Iterable[Object]]:
        pods = [_reduced(pod) for pod in self._pages(PODS)]
        return pods, self._pages(JOBS)

    def _read_some(self, handles: Collection[str]) -> tuple[Iterable[Object], Iterable[Object]]:
        """Return the pods of these Jobs, and the Jobs that exist.

        A Job may have got a pod, and have been deleted, after its pods were read. So those of a Job
        that is gone are read once more, and not from a cache.

        With a resource version, the pods come from the cache of the API server, which finds them by
        label without reading every pod of the namespace (Kubernetes documentation, API Concepts,
        Resource versions). It is the version of the last change of a pod that the watch reported.
        The version of a list is not used: it is that of the whole cluster, and the cache may reach
        it only with the next change of a pod.
        """
        version = self._pod_watch.reported if self._pod_watch else None
        newest = {"resourceVersion": version} if version else {}
        pods = self._pods_of_jobs(list(handles), newest)
        jobs, gone = [], set[str]()
        for handle in handles:
            try:
                jobs.append(self._object(JOB, handle))
            except ApiException as error:
                if error.status != 404:
                    raise
                gone.add(handle)
        if gone:
            pods = [pod for pod in pods if job_of(pod) not in gone]
            pods += self._pods_of_jobs(sorted(gone), {})
        return pods, jobs

    def _pods_of_jobs(self, names: Sequence[str], query: Mapping[str, str]) -> list[Object]:
        pods: list[Object] = []
        for start in range(0, len(names), SELECTED):
            selected = ",".join(names[start : start + SELECTED])
            pods += self._items(PODS, {"labelSelector": f"job-name in ({selected})", **query})
        return pods

    def _pods_of(self, handle: str) -> list[dict[str, Any]]:
        try:
            return self._items(PODS, {"labelSelector": f"job-name={handle}"})
        except ApiException as error:
            raise unavailable(error) from error

    def _pod(self, name: str) -> dict[str, Any] | None:
        try:
            return self._object(POD, name)
        except ApiException as error:
            if error.status == 404:
                return None
            raise unavailable(error) from error

    def _read_log(self, pod: str) -> Iterator[bytes]:
        query = {"timestamps": "true"}
        try:
            response = self._api.request("GET", POD_LOG, pod, query=query, timeout=TIMEOUT)
        except urllib3.exceptions.HTTPError as error:
            raise no_answer(error) from error
        except ApiException as error:
            if error.status in (400, 404):  # 400: the container has not started
                return iter(())
            raise unavailable(error) from error
        return _pieces(response)

    def _open_log(self, pod: str, since: str | None) -> urllib3.BaseHTTPResponse | None:
        query = {"follow": "true", "timestamps": "true"}
        if since:
            query["sinceTime"] = since
        timeout = (TIMEOUT[0], kubernetes_logs.SILENCE_SECONDS)
        try:
            return self._api.request("GET", POD_LOG, pod, query=query, timeout=timeout)
        except urllib3.exceptions.HTTPError as error:
            raise no_answer(error) from error
        except ApiException as error:
            if error.status in (400, 404):
                return None
            raise unavailable(error) from error

    def _adopt(self, name: str, uid: str) -> None:
        """Accept the Job that already has this name if it was made for the same experiment.

        Raises:
            LauncherUnavailable: it was made for another one. The name is free once that Job
                expires or is deleted.
        """
        try:
            job = self._object(JOB, name)
        except ApiException as error:
            raise unavailable(error) from error  # 404: deleted meanwhile; the next try creates it
        annotations = job["metadata"].get("annotations") or {}
        if annotations.get(manifest.UID) != uid:
            raise LauncherUnavailable(
                Diagnosis(
                    "job_name_taken",
                    f"An older Job {name} still exists, of an experiment that was deleted.",
                    f"Delete it: `kubectl delete job {name}`. This experiment then starts by "
                    "itself.",
                )
            )

    def _warnings(self) -> list[dict[str, Any]]:
        """Return the warning events of the namespace; none without the right to list them."""
        try:
            return self._items(
                EVENTS, {"fieldSelector": "type=Warning", "limit": str(MAX_WARNINGS)}
            )
        except ApiException as error:
            if error.status == 403:  # yaml/setup/3_crb.yaml of an older version was applied
                return []
            raise

    def _node_is_ready(self, name: str) -> bool:
        try:
            node = self._object(NODE, name)
        except ApiException as error:
            # Without the right to read nodes, a node counts as ready; one that is gone does not.
            return bool(error.status != 404)
        conditions = (node.get("status") or {}).get("conditions") or []
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def _list_ours(
        self, path: str, query: Mapping[str, str], timeout: tuple[float, float]
    ) -> urllib3.BaseHTTPResponse:
        query = {**query, "labelSelector": manifest.SELECTOR}
        return self._api.request("GET", path, query=query, timeout=timeout)

    def _pages(self, path: str) -> Iterator[Object]:
        """Yield all objects with our labels, as of one moment; only one page is held in memory.

        Kubernetes documentation, API Concepts, Retrieving large results sets in chunks.
        """
        query = {"labelSelector": manifest.SELECTOR, "limit": str(PAGE)}
        while True:
            page = self._object(path, query=query)
            yield from page["items"]
            following = page["metadata"].get("continue")
            if not following:
                return
            query["continue"] = following

    def _items(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._object(path, query=query)["items"]
        return items

    def _object(
        self, path: str, name: str = "", query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        content = self._call("GET", path, name, query=query)
        try:
            found = json.loads(content)
        except ValueError as error:  # the error page of a proxy
            raise no_answer(error) from error
        if not isinstance(found, dict) or not found.keys() & {"items", "metadata"}:
            raise no_answer(ValueError(f"unexpected answer: {quote(repr(found))}"))
        return found

    def _call(self, method: str, path: str, name: str = "", **options: Any) -> bytes:
        """Send a request to the API server and return the body of its answer.

        Raises:
            LauncherUnavailable: the server does not answer, or is overloaded.
            ApiException: it answered with another error.
        """
        try:
            return self._api.request(method, path, name, timeout=TIMEOUT, **options).data
        except urllib3.exceptions.HTTPError as error:
            raise no_answer(error) from error
        except ApiException as error:
            if not error.status or error.status >= 500 or error.status == 429:
                raise no_answer(error) from error
            raise


def _reduced(pod: Object) -> Object:
    """Return the parts of a pod that `status` uses: most of it takes memory for nothing."""
    kept = {name: part for name, part in pod["metadata"].items() if name != "managedFields"}
    node = (pod.get("spec") or {}).get("nodeName")
    return {"metadata": kept, "spec": {"nodeName": node}, "status": pod.get("status")}


def _pieces(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Yield the body of an answer in pieces.

    Raises:
        LauncherUnavailable: the connection was lost.
    """
    try:
        yield from response.stream(PIECE_BYTES, decode_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise no_answer(error) from error
    finally:
        response.close()


def _name(job: dict[str, Any]) -> str:
    return str(job["metadata"]["name"])
