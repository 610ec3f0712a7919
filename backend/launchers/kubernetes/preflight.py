"""The preflight check in a cluster: a Job on each node, whose pod is the probe."""

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import urllib3
from kubernetes.client.exceptions import ApiException

from backend.domain.attempt import Diagnosis
from backend.launchers.base import LauncherUnavailable
from backend.launchers.kubernetes.api import CLAIM, JOB, JOBS, NODES, PODS, VOLUME, KubernetesApi
from backend.launchers.kubernetes.errors import no_answer, unavailable
from backend.launchers.kubernetes.manifest import MANAGED_BY
from backend.launchers.kubernetes.probe_manifest import STEP, on_node, probe_job
from backend.launchers.preflight.findings import Claim
from backend.settings import Settings

TIMEOUT = (5.0, 30.0)  # seconds to connect, and between two pieces of an answer
POLL_SECONDS = 1.0
POLLS = 180  # of the pods of a step; an image may have to be pulled first
COMPONENTS = ("preflight", "backend")  # whose pods have the image of the probe

log = logging.getLogger(__name__)


class ClusterSite:
    """The nodes of a cluster, each reached by a Job that only that node may run."""

    def __init__(
        self,
        settings: Settings,
        *,
        polls: int = POLLS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Use the cluster and the claims of `settings`."""
        self._settings, self._polls, self._sleep = settings, polls, sleep
        self._api = KubernetesApi(settings.job_namespace)

    def claims(self) -> list[Claim]:
        """Return the claims of both folders, with the volumes that they are bound to."""
        found = []
        for folder, name in self._claim_names().items():
            claim = self._object(CLAIM, name)
            volume = (claim or {}).get("spec", {}).get("volumeName")
            found.append(
                Claim(folder, name, claim, self._object(VOLUME, volume) if volume else None)
            )
        return found

    def nodes(self) -> list[dict[str, Any]]:
        """Return all nodes."""
        found: list[dict[str, Any]] = self._ask("GET", NODES)["items"]
        return found

    def probe(
        self, step: str, run: str, nodes: Sequence[str], others: Sequence[str]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Run the Jobs of a step, wait for their pods, and delete the Jobs."""
        if not nodes:
            return {}, {}
        image = self._image()
        jobs = {
            node: probe_job(
                f"preflight-{step}-{run[:8]}-{number}",
                image,
                [step, run, node, *others],
                self._settings,
                deadline_seconds=int(self._polls * POLL_SECONDS) + 60,
            )
            for number, node in enumerate(nodes)
        }
        try:
            for node, job in jobs.items():
                self._ask("POST", JOBS, body=on_node(job, node))
            return self._results(step, run, {job["metadata"]["name"]: n for n, job in jobs.items()})
        finally:
            for job in jobs.values():
                self._delete(job["metadata"]["name"])

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def _claim_names(self) -> dict[str, str]:
        return {"input": self._settings.input_pvc, "output": self._settings.output_pvc}

    def _image(self) -> str:
        """Return the image of the pod of this program: it is the probe's, too."""
        for component in COMPONENTS:
            selector = (
                f"app.kubernetes.io/name={MANAGED_BY},app.kubernetes.io/component={component}"
            )
            pods = self._ask("GET", PODS, query={"labelSelector": selector})["items"]
            own = [pod for pod in pods if pod["metadata"]["name"] == os.environ.get("HOSTNAME")]
            for pod in own or pods:
                return str(pod["spec"]["containers"][0]["image"])
        raise LauncherUnavailable(
            Diagnosis(
                "kubernetes_error",
                f"No pod of this program is in the namespace {self._settings.job_namespace}, so "
                "its image is not known.",
                "Apply yaml/preflight.yaml instead, which names the image.",
            )
        )

    def _results(
        self, step: str, run: str, nodes: dict[str, str]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the results by node; `nodes` are those of the Jobs, by name."""
        results: dict[str, Any] = {}
        silent: dict[str, str] = {}
        query = {"labelSelector": f"{STEP}={step}-{run}"}
        waiting = dict(nodes)
        for _ in range(self._polls):
            pods = {
                pod["metadata"]["labels"]["job-name"]: pod
                for pod in self._ask("GET", PODS, query=query)["items"]
            }
            for job, node in list(waiting.items()):
                pod = pods.get(job)
                if pod and pod["status"].get("phase") in ("Succeeded", "Failed"):
                    del waiting[job]
                    if result := _result(pod):
                        results[node] = result
                        continue
                silent[node] = _why_silent(pod)
            if not waiting:
                break
            self._sleep(POLL_SECONDS)
        return results, {node: why for node, why in silent.items() if node not in results}

    def _object(self, path: str, name: str) -> dict[str, Any] | None:
        """Return an object, None if it does not exist or may not be read."""
        try:
            found: dict[str, Any] = self._ask("GET", path, name)
        except ApiMissing:
            return None
        return found

    def _delete(self, name: str) -> None:
        try:
            self._ask("DELETE", JOB, name, query={"propagationPolicy": "Background"})
        except (ApiMissing, LauncherUnavailable) as error:
            log.warning("The Job %s is not deleted, and expires by itself: %s", name, error)

    def _ask(
        self,
        method: str,
        path: str,
        name: str = "",
        *,
        query: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
    ) -> Any:
        """Return the answer of the API server.

        Raises:
            ApiMissing: there is no such object, or this program may not read it.
            LauncherUnavailable: the API server does not answer, or does not allow it.
        """
        try:
            answer = self._api.request(method, path, name, timeout=TIMEOUT, query=query, body=body)
            return json.loads(answer.data)
        except ApiException as error:
            if name and error.status in (403, 404):
                raise ApiMissing(name) from error
            raise unavailable(error) from error
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise no_answer(error) from error


class ApiMissing(Exception):
    """There is no such object, or this program may not read it."""


def _result(pod: dict[str, Any]) -> Any | None:
    """Return what a probe reported, None if it failed."""
    for status in pod["status"].get("containerStatuses", []):
        terminated = status.get("state", {}).get("terminated") or {}
        if terminated.get("exitCode") == 0:
            try:
                return json.loads(terminated.get("message", ""))
            except ValueError:
                return None
    return None


def _why_silent(pod: dict[str, Any] | None) -> str:
    """Return why a probe has reported nothing, as a sentence."""
    if pod is None:
        return "the Job has no pod; `kubectl describe job` says why."
    status = pod["status"]
    for container in status.get("containerStatuses", []):
        state = container.get("state", {})
        if ended := state.get("terminated"):
            return f"the probe ended with exit code {ended['exitCode']}: {ended.get('message', '')}"
        if waiting := state.get("waiting"):
            return f"{waiting.get('reason')}: {waiting.get('message', 'it has not started')}"
    for condition in status.get("conditions", []):
        if condition.get("status") == "False" and condition.get("message"):
            return str(condition["message"])
    return str(status.get("message") or f"its pod is still {status.get('phase')}.")
