"""Runs as Kubernetes Jobs, through the official client."""

import json
import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache, partial
from itertools import islice
from typing import Any

import urllib3
from kubernetes.client.exceptions import ApiException

from backend.domain.attempt import Attempt, Diagnosis
from backend.launchers.base import Job, LauncherRefused, LauncherUnavailable, Observation, Phase
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
    PODS,
    KubernetesApi,
)
from backend.launchers.kubernetes.diagnosis import quota_exceeded
from backend.launchers.kubernetes.logs import PodLogs
from backend.launchers.kubernetes.status import Surroundings
from backend.launchers.kubernetes.watch import Watch, Watcher
from backend.settings import Settings

TIMEOUT = (2.0, 10.0)  # seconds to connect and to answer; a POST must not hang on a dead server
RELOOK_SECONDS = 5.0  # what waits without a reason is looked at again: events wake no watch
MOST_RELOOKED = 100  # of these at once, those first whose last look is the longest ago
SELECTED = 100  # names in one label selector: proxies let an address have 8 kB
MAX_WARNINGS = 500
PAGE = 100  # objects in one answer; each takes 30 kB of memory while it is read

Object = dict[str, Any]

log = logging.getLogger(__name__)


class KubernetesLauncher:
    """Starts each run as a Job in `settings.job_namespace`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._api = KubernetesApi(settings.job_namespace)
        self._watcher: Watcher | None = None
        # Jobs that wait without a reason, by their last look: an event may tell the reason.
        self._waiting: dict[str, None] = {}
        self._next_relook = 0.0
        self.log_source = PodLogs(
            pods=self._pods_of, pod=self._pod, log=self._log, open_log=self._open_log
        )

    def render(self, attempt: Attempt) -> Job:
        """Make the whole Job, without sending it."""
        return manifest.render(attempt, self._settings)

    def submit(self, job: Job) -> str:
        """Create the Job; one of the same name and run that is there already is adopted."""
        name = str(job["metadata"]["name"])
        try:
            self._call("POST", JOBS, body=job)
        except ApiException as error:
            if error.status != 409:
                raise _refusal(error) from error
            self._adopt(name, job["metadata"]["annotations"][manifest.UID])
        return name

    def observe(self, handles: Collection[str] | None = None) -> Mapping[str, Observation]:
        """List all our Jobs and their pods, page by page, or look at some."""
        try:
            pods, jobs = self._all() if handles is None else self._some(handles)
            observations = self._observations(pods, jobs)
        except ApiException as error:
            raise _unavailable(error) from error
        for handle in list(self._waiting) if handles is None else handles:
            self._waiting.pop(handle, None)
        for name, seen in observations.items():
            if seen.phase is Phase.QUEUED and seen.diagnosis is None:
                self._waiting[name] = None
        return observations

    def changes(self, timeout: float) -> frozenset[str] | None:
        """Wait until the API server tells of a change among our Jobs and pods."""
        if self._watcher is None:
            jobs, pods = partial(self._list_ours, JOBS), partial(self._list_ours, PODS)
            self._watcher = Watcher([Watch(jobs, _name), Watch(pods, _job_of)])
        changed = self._watcher.wait(timeout)
        if changed is None or time.monotonic() < self._next_relook:
            return changed
        self._next_relook = time.monotonic() + RELOOK_SECONDS
        return changed.union(islice(self._waiting, MOST_RELOOKED))

    def cancel(self, handle: str) -> None:
        """Delete the Job; the garbage collector ends its pods."""
        try:
            self._call("DELETE", JOB, handle, query={"propagationPolicy": "Background"})
        except ApiException as error:
            if error.status != 404:
                raise _unavailable(error) from error

    def delete_job(self, attempt: Attempt) -> None:
        """Delete the Job with its pods, if it is the one that was made for this run."""
        try:
            job = self._object(JOB, attempt.handle)
            if (job["metadata"].get("annotations") or {}).get(manifest.UID) != attempt.uid:
                return
            # A Job of the same name that was made in between has another uid: 409.
            same = {"uid": job["metadata"]["uid"]}
            options = {"propagationPolicy": "Background", "preconditions": same}
            self._call("DELETE", JOB, attempt.handle, body=options)
        except ApiException as error:
            if error.status not in (404, 409):
                raise _unavailable(error) from error

    def close(self) -> None:
        """End the watches and close the connections."""
        if self._watcher:
            self._watcher.close()
        self._api.close()

    def _observations(
        self, pods: Iterable[Object], jobs: Iterable[Object]
    ) -> dict[str, Observation]:
        pods_of: dict[str, list[Object]] = {}
        for pod in pods:
            pods_of.setdefault(_job_of(pod), []).append(pod)
        around = Surroundings(self._node_is_ready, cache(self._warnings), datetime.now(UTC))
        observations = {
            _name(job): status.observation(job, pods_of.pop(_name(job), []), around) for job in jobs
        }
        for name, left in pods_of.items():
            if seen := status.of_pods_left(left, around):
                observations[name] = seen
        return observations

    def _all(self) -> tuple[Iterable[Object], Iterable[Object]]:
        pods = [_what_is_asked_of(pod) for pod in self._pages(PODS)]
        return pods, self._pages(JOBS)

    def _some(self, handles: Collection[str]) -> tuple[Iterable[Object], Iterable[Object]]:
        """Read each of the Jobs, and list the pods of all.

        The pods come out of the API server's cache, in which a label need not be looked for in
        every pod of the namespace; it is asked to be as new as the last change that the watch told
        of (Kubernetes documentation, API Concepts, Resource versions). The version of a list will
        not do: it is the cluster's, which that cache may reach with the next change of a pod only.
        """
        version = self._watcher.watches[1].told if self._watcher else None
        newest = {"resourceVersion": version} if version else {}
        pods: list[Object] = []
        names = list(handles)
        for start in range(0, len(names), SELECTED):
            some = ",".join(names[start : start + SELECTED])
            query = {"labelSelector": f"job-name in ({some})"}
            pods += self._items(PODS, query | newest)
        jobs = []
        for handle in handles:
            try:
                jobs.append(self._object(JOB, handle))
            except ApiException as error:
                if error.status != 404:
                    raise
        return pods, jobs

    def _pods_of(self, handle: str) -> list[dict[str, Any]]:
        try:
            return self._items(PODS, {"labelSelector": f"job-name={handle}"})
        except ApiException as error:
            raise _unavailable(error) from error

    def _pod(self, name: str) -> dict[str, Any] | None:
        try:
            return self._object(POD, name)
        except ApiException as error:
            if error.status == 404:
                return None
            raise _unavailable(error) from error

    def _log(self, pod: str) -> bytes:
        try:
            return self._call("GET", POD_LOG, pod, query={"timestamps": "true"})
        except ApiException as error:
            if error.status in (400, 404):  # 400: the container has not started
                return b""
            raise _unavailable(error) from error

    def _open_log(self, pod: str, since: str | None) -> urllib3.BaseHTTPResponse | None:
        query = {"follow": "true", "timestamps": "true"} | ({"sinceTime": since} if since else {})
        timeout = (TIMEOUT[0], kubernetes_logs.SILENCE_SECONDS)
        try:
            return self._api.request("GET", POD_LOG, pod, query=query, timeout=timeout)
        except urllib3.exceptions.HTTPError as error:
            raise _no_answer(error) from error
        except ApiException as error:
            if error.status in (400, 404):
                return None
            raise _unavailable(error) from error

    def _adopt(self, name: str, uid: str) -> None:
        """Accept the Job that has our name already if it was made for the same run.

        Raises:
            LauncherUnavailable: it was made for another one; it goes with its time to live, or
                when somebody deletes it.
        """
        try:
            job = self._object(JOB, name)
        except ApiException as error:
            raise _unavailable(error) from error  # 404: deleted since; the next try creates it
        annotations = job["metadata"].get("annotations") or {}
        if annotations.get(manifest.UID) != uid:
            raise LauncherUnavailable(
                Diagnosis(
                    "job_name_taken",
                    f"An older Job {name} is still there, of a run that was forgotten since.",
                    f"Delete it: `kubectl delete job {name}`. This run then starts by itself.",
                )
            )

    def _warnings(self) -> list[dict[str, Any]]:
        """List the warnings of the namespace; none if we may not."""
        try:
            return self._items(
                EVENTS, {"fieldSelector": "type=Warning", "limit": str(MAX_WARNINGS)}
            )
        except ApiException as error:
            if error.status == 403:  # a Role of an older version of yaml/setup/3_crb.yaml
                return []
            raise

    def _node_is_ready(self, name: str) -> bool:
        try:
            node = self._object(NODE, name)
        except ApiException as error:
            return bool(error.status != 404)  # gone is not ready; not allowed to look tells nothing
        conditions = (node.get("status") or {}).get("conditions") or []
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def _list_ours(
        self, path: str, query: Mapping[str, str], timeout: tuple[float, float]
    ) -> urllib3.BaseHTTPResponse:
        query = {**query, "labelSelector": manifest.SELECTOR}
        return self._api.request("GET", path, query=query, timeout=timeout)

    def _pages(self, path: str) -> Iterator[Object]:
        """List what is ours, as of one moment; a page at a time, so that memory holds no more.

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
        except ValueError as error:  # a proxy's page
            raise _no_answer(error) from error
        if not isinstance(found, dict) or not found.keys() & {"items", "metadata"}:
            raise _no_answer(ValueError(f"it answers {quote(repr(found))}"))
        return found

    def _call(self, method: str, path: str, name: str = "", **options: Any) -> bytes:
        """Call the API server: the whole body of its answer.

        Raises:
            LauncherUnavailable: it does not answer.
            ApiException: it answers with an error.
        """
        try:
            return self._api.request(method, path, name, timeout=TIMEOUT, **options).data
        except urllib3.exceptions.HTTPError as error:
            raise _no_answer(error) from error
        except ApiException as error:
            if not error.status or error.status >= 500 or error.status == 429:
                raise _no_answer(error) from error
            raise


def _what_is_asked_of(pod: Object) -> Object:
    """Keep the parts of a pod that status looks at: the others are most of it."""
    kept = {name: part for name, part in pod["metadata"].items() if name != "managedFields"}
    node = (pod.get("spec") or {}).get("nodeName")
    return {"metadata": kept, "spec": {"nodeName": node}, "status": pod.get("status")}


def _name(job: dict[str, Any]) -> str:
    return str(job["metadata"]["name"])


def _job_of(pod: dict[str, Any]) -> str:
    return str((pod["metadata"].get("labels") or {}).get("job-name", ""))


def _no_answer(error: Exception) -> LauncherUnavailable:
    log.warning("The Kubernetes API server does not answer: %s", error)
    return LauncherUnavailable(
        Diagnosis(
            "kubernetes_unreachable",
            "The Kubernetes API server does not answer.",
            "Nothing: the run is submitted when it answers again.",
        )
    )


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(error.body or "")["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def _unavailable(error: ApiException) -> LauncherUnavailable:
    """Say what stands between us and the Jobs; all of it can be mended without this process."""
    message = _message(error)
    if error.status == 403 and "exceeded quota" in message:
        return LauncherUnavailable(quota_exceeded(message))
    if error.status in (401, 403):
        return LauncherUnavailable(
            Diagnosis(
                "kubernetes_forbidden",
                f"Kubernetes does not allow it: {message}",
                "Apply yaml/setup/2_sa.yaml and 3_crb.yaml, and name that serviceAccount in "
                "4_pod.yaml. The run then starts by itself.",
            )
        )
    return LauncherUnavailable(
        Diagnosis(
            "kubernetes_error",
            f"Kubernetes answered {error.status}: {message}",
            "Check JOB_NAMESPACE and the cluster. The run starts by itself when it is mended.",
        )
    )


def _refusal(error: ApiException) -> LauncherRefused | LauncherUnavailable:
    if error.status not in (400, 422):
        return _unavailable(error)
    return LauncherRefused(
        Diagnosis(
            "job_refused",
            f"Kubernetes refuses the Job: {_message(error)}",
            "Check the JOB_* variables and AE_MODEL_IMAGE_URL of the server.",
        )
    )
