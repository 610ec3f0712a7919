"""Runs as Kubernetes Jobs, through the official client."""

import json
import logging
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from backend.launchers import job_manifest, job_status, kubernetes_logs
from backend.launchers.base import (
    Diagnosis,
    Job,
    LauncherRefused,
    LauncherUnavailable,
    Observation,
    Phase,
    Run,
)
from backend.launchers.diagnosis import quota_exceeded, quote
from backend.launchers.job_status import Surroundings
from backend.launchers.kubernetes_logs import PodLogs
from backend.launchers.kubernetes_watch import Watch, Watcher
from backend.settings import SERVICE_ACCOUNT, Settings, SettingsError

TIMEOUT = (2.0, 10.0)  # seconds to connect and to answer; a POST must not hang on a dead server
RELOOK_SECONDS = 5.0  # what waits without a reason is looked at again: events wake no watch
MAX_WARNINGS = 500

log = logging.getLogger(__name__)


class KubernetesLauncher:
    """Starts each run as a Job in `settings.job_namespace`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._api = client.ApiClient(_configuration())
        self._batch = client.BatchV1Api(self._api)
        self._core = client.CoreV1Api(self._api)
        self._watcher: Watcher | None = None
        self._waiting: frozenset[str] = frozenset()  # without a reason: an event may tell it
        self._next_relook = 0.0
        self.log_source = PodLogs(
            pods=self._pods_of, pod=self._pod, log=self._log, open_log=self._open_log
        )

    def render(self, run: Run) -> Job:
        """Make the whole Job, without sending it."""
        return job_manifest.render(run, self._settings)

    def submit(self, job: Job) -> str:
        """Create the Job; one of the same name and run that is there already is adopted."""
        name = str(job["metadata"]["name"])
        namespace = self._settings.job_namespace
        try:
            self._call(self._batch.create_namespaced_job, namespace, body=job)
        except ApiException as error:
            if error.status != 409:
                raise _refusal(error) from error
            self._adopt(name, job["metadata"]["annotations"][job_manifest.UID])
        return name

    def observe(self, handles: Collection[str] | None = None) -> Mapping[str, Observation]:
        """List all our Jobs and their pods in two calls, or look at some."""
        try:
            pods, jobs = self._all() if handles is None else self._some(handles)
        except ApiException as error:
            raise _unavailable(error) from error
        pods_of: dict[str, list[dict[str, Any]]] = {}
        for pod in pods:
            pods_of.setdefault(_job_of(pod), []).append(pod)
        around = Surroundings(self._node_is_ready, cache(self._warnings), datetime.now(UTC))
        observations = {
            _name(job): job_status.observation(job, pods_of.pop(_name(job), []), around)
            for job in jobs
        }
        for name, left in pods_of.items():
            if seen := job_status.of_pods_left(left, around):
                observations[name] = seen
        self._waiting -= frozenset(self._waiting if handles is None else handles)
        self._waiting |= {
            name
            for name, seen in observations.items()
            if seen.phase is Phase.QUEUED and seen.diagnosis is None
        }
        return observations

    def changes(self, timeout: float) -> frozenset[str] | None:
        """Wait until the API server tells of a change among our Jobs and pods."""
        if self._watcher is None:
            space, ours = self._settings.job_namespace, job_manifest.SELECTOR
            jobs = partial(self._batch.list_namespaced_job, space, label_selector=ours)
            pods = partial(self._core.list_namespaced_pod, space, label_selector=ours)
            self._watcher = Watcher([Watch(jobs, _name), Watch(pods, _job_of)])
        changed = self._watcher.wait(timeout)
        if changed is None or time.monotonic() < self._next_relook:
            return changed
        self._next_relook = time.monotonic() + RELOOK_SECONDS
        return changed | self._waiting

    def cancel(self, handle: str) -> None:
        """Delete the Job; the garbage collector ends its pods."""
        try:
            self._call(
                self._batch.delete_namespaced_job,
                handle,
                self._settings.job_namespace,
                propagation_policy="Background",
            )
        except ApiException as error:
            if error.status != 404:
                raise _unavailable(error) from error

    def forget(self, run: Run) -> None:
        """Delete the Job with its pods, if it is the one that was made for this run."""
        namespace = self._settings.job_namespace
        try:
            job = self._object(self._batch.read_namespaced_job, run.handle, namespace)
            if (job["metadata"].get("annotations") or {}).get(job_manifest.UID) != run.uid:
                return
            # A Job of the same name that was made in between has another uid: 409.
            self._call(
                self._batch.delete_namespaced_job,
                run.handle,
                namespace,
                body={
                    "propagationPolicy": "Background",
                    "preconditions": {"uid": job["metadata"]["uid"]},
                },
            )
        except ApiException as error:
            if error.status not in (404, 409):
                raise _unavailable(error) from error

    def close(self) -> None:
        """End the watches and close the connections."""
        if self._watcher:
            self._watcher.close()
        self._api.close()

    def _all(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        namespace, selector = self._settings.job_namespace, job_manifest.SELECTOR
        pods = self._items(self._core.list_namespaced_pod, namespace, label_selector=selector)
        jobs = self._items(self._batch.list_namespaced_job, namespace, label_selector=selector)
        return pods, jobs

    def _some(self, handles: Collection[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Read each of the Jobs, and list the pods of all.

        The pods come out of the API server's cache, in which a label need not be looked for in
        every pod of the namespace; it is asked to be as new as the watch (Kubernetes documentation,
        API Concepts, Resource versions).
        """
        namespace = self._settings.job_namespace
        version = self._watcher.watches[1].version if self._watcher else None
        pods = self._items(
            self._core.list_namespaced_pod,
            namespace,
            label_selector=f"job-name in ({','.join(handles)})",
            **({"resource_version": version} if version else {}),
        )
        jobs = []
        for handle in handles:
            try:
                jobs.append(self._object(self._batch.read_namespaced_job, handle, namespace))
            except ApiException as error:
                if error.status != 404:
                    raise
        return pods, jobs

    def _pods_of(self, handle: str) -> list[dict[str, Any]]:
        namespace, selector = self._settings.job_namespace, f"job-name={handle}"
        try:
            return self._items(self._core.list_namespaced_pod, namespace, label_selector=selector)
        except ApiException as error:
            raise _unavailable(error) from error

    def _pod(self, name: str) -> dict[str, Any] | None:
        try:
            return self._object(self._core.read_namespaced_pod, name, self._settings.job_namespace)
        except ApiException as error:
            if error.status == 404:
                return None
            raise _unavailable(error) from error

    def _log(self, pod: str) -> bytes:
        namespace = self._settings.job_namespace
        try:
            return self._call(self._core.read_namespaced_pod_log, pod, namespace, timestamps=True)
        except ApiException as error:
            if error.status in (400, 404):  # 400: the container has not started
                return b""
            raise _unavailable(error) from error

    def _open_log(self, pod: str, since: str | None) -> urllib3.BaseHTTPResponse | None:
        """Follow a pod's log; the client's own method does not know `sinceTime`."""
        query = [("follow", "true"), ("timestamps", "true")]
        query += [("sinceTime", since)] if since else []
        request = self._api.param_serialize(
            method="GET",
            resource_path="/api/v1/namespaces/{namespace}/pods/{name}/log",
            path_params={"namespace": self._settings.job_namespace, "name": pod},
            query_params=query,
            header_params={"Accept": "*/*"},
            auth_settings=["BearerToken"],
        )
        timeout = (TIMEOUT[0], kubernetes_logs.SILENCE_SECONDS)
        try:
            answer = self._api.call_api(*request, _request_timeout=timeout)
        except urllib3.exceptions.HTTPError as error:
            raise _no_answer(error) from error
        if answer.status == 200:
            stream: urllib3.BaseHTTPResponse = answer.response
            return stream
        answer.response.close()
        if answer.status in (400, 404):
            return None
        raise _unavailable(ApiException(status=answer.status, reason=answer.reason))

    def _adopt(self, name: str, uid: str) -> None:
        """Accept the Job that has our name already if it was made for the same run.

        Raises:
            LauncherUnavailable: it was made for another one; it goes with its time to live, or
                when somebody deletes it.
        """
        try:
            job = self._object(self._batch.read_namespaced_job, name, self._settings.job_namespace)
        except ApiException as error:
            raise _unavailable(error) from error  # 404: deleted since; the next try creates it
        annotations = job["metadata"].get("annotations") or {}
        if annotations.get(job_manifest.UID) != uid:
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
                self._core.list_namespaced_event,
                self._settings.job_namespace,
                field_selector="type=Warning",
                limit=MAX_WARNINGS,
            )
        except ApiException as error:
            if error.status == 403:  # a Role of an older version of yaml/setup/3_crb.yaml
                return []
            raise

    def _node_is_ready(self, name: str) -> bool:
        try:
            node = self._object(self._core.read_node, name)
        except ApiException as error:
            return bool(error.status != 404)  # gone is not ready; not allowed to look tells nothing
        conditions = (node.get("status") or {}).get("conditions") or []
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def _items(
        self, method: Callable[..., Any], *args: str, **options: str | int
    ) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._object(method, *args, **options)["items"]
        return items

    def _object(
        self, method: Callable[..., Any], *args: str, **options: str | int
    ) -> dict[str, Any]:
        content = self._call(method, *args, **options)
        try:
            found = json.loads(content)
        except ValueError as error:  # a proxy's page
            raise _no_answer(error) from error
        if not isinstance(found, dict) or not found.keys() & {"items", "metadata"}:
            raise _no_answer(ValueError(f"it answers {quote(repr(found))}"))
        return found

    def _call(self, method: Callable[..., Any], *args: str, **options: Any) -> bytes:
        """Call the API server: the raw body back, always with a time limit.

        Raises:
            LauncherUnavailable: it does not answer.
            ApiException: it answers with an error.
        """
        try:
            response = method(*args, _preload_content=False, _request_timeout=TIMEOUT, **options)
            body: bytes = response.data
            return body
        except urllib3.exceptions.HTTPError as error:
            raise _no_answer(error) from error
        except ApiException as error:
            if not error.status or error.status >= 500 or error.status == 429:
                raise _no_answer(error) from error
            raise


def _name(job: dict[str, Any]) -> str:
    return str(job["metadata"]["name"])


def _job_of(pod: dict[str, Any]) -> str:
    return str((pod["metadata"].get("labels") or {}).get("job-name", ""))


def _configuration() -> client.Configuration:
    configuration = client.Configuration()
    if SERVICE_ACCOUNT.is_dir():
        config.load_incluster_config(client_configuration=configuration)
    else:
        try:
            config.load_kube_config(client_configuration=configuration)
        except config.ConfigException as error:
            raise SettingsError([f"KUBECONFIG names no usable cluster: {error}"]) from error
    # A create that timed out is resolved by looking, not by sending it again unseen.
    configuration.retries = False
    return configuration


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
