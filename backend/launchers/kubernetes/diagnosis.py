"""Why a Job waits or has failed, in words that say what to do. Pure: dicts in, Diagnosis out.

The words of the container runtime and the scheduler are those of Kubernetes' documentation
(Images, Pod Lifecycle, Jobs) and of its source (pkg/kubelet/images/types.go,
pkg/scheduler/framework).
"""

import re
from typing import Any

from backend.domain.attempt import Diagnosis
from backend.launchers.exit_codes import exit_code, quote
from backend.launchers.kubernetes.manifest import CONTAINER

_IMAGE = {
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
}
_CONTAINER = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
}
_EVICTION = {"Evicted", "Preempting", "NodeLost", "NodeShutdown", "Shutdown", "Terminated"}
_UNSCHEDULABLE = (
    (r"nvidia\.com/gpu", "unschedulable_gpu", "Lower JOB_GPU, or wait for a node with a free GPU."),
    (r"Insufficient cpu", "unschedulable_cpu", "Wait for other runs to end, or lower JOB_CPU."),
    (
        r"Insufficient memory",
        "unschedulable_memory",
        "Wait for other runs to end, or lower JOB_MEMORY.",
    ),
    (
        r"persistentvolumeclaim \S+ not found",
        "claim_missing",
        "Apply yaml/setup/1_pvc_input.yaml and 1_pvc_output.yaml, or correct INPUT_PVC and "
        "OUTPUT_PVC.",
    ),
    (
        r"unbound",
        "claim_unbound",
        "Apply yaml/setup/0_pv_input.yaml and 0_pv_output.yaml; `kubectl get pv,pvc` must show "
        "both claims as Bound.",
    ),
    (
        r"volume node affinity",
        "unschedulable_volume",
        "The host name in yaml/setup/0_pv_*.yaml must be that of a node that is Ready: "
        "`kubectl get nodes -L kubernetes.io/hostname`.",
    ),
    (
        r"affinity|selector|taint",
        "unschedulable_affinity",
        "Check the node's labels and taints with `kubectl describe node`.",
    ),
)


def diagnose_pending(pod: dict[str, Any]) -> Diagnosis | None:
    """Say why a pod that should run does not, or None while nothing is wrong."""
    status = pod.get("status") or {}
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return _unschedulable(condition.get("message"))
    waiting = (_trainer(status).get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason"), quote(waiting.get("message"))
    if reason in _IMAGE:
        image = _trainer(status).get("image") or "of the model"
        return Diagnosis(
            "image_not_pulled",
            f"The image {image} cannot be pulled: {message or reason}",
            "Check AE_MODEL_IMAGE_URL and that the image was pushed: "
            "`curl http://REGISTRY/v2/autoencoder/tags/list` from the node. "
            "The run starts by itself once the image is there.",
        )
    if reason in _CONTAINER:
        return Diagnosis(
            "container_not_started",
            f"The container cannot be started: {message or reason}",
            "Check the model image, and the pod with `kubectl describe pod`.",
        )
    return None


def diagnose_unmounted(pod: dict[str, Any], warnings: list[dict[str, Any]]) -> Diagnosis | None:
    """Say why a pod that waits for its volumes does not get them, from events of its namespace."""
    message = _newest(warnings, pod["metadata"], ("FailedMount", "FailedAttachVolume"))
    if message is None:
        return None
    return Diagnosis(
        "volume_not_mounted",
        f"A volume of the run cannot be mounted: {quote(message)}",
        "Check that the folders in yaml/setup/0_pv_*.yaml are there on their host. The run starts "
        "by itself once they can be mounted.",
    )


def diagnose_without_pod(job: dict[str, Any], warnings: list[dict[str, Any]]) -> Diagnosis | None:
    """Say why a Job gets no pod, from the Job and events of its namespace."""
    if (job.get("spec") or {}).get("suspend"):
        return Diagnosis(
            "suspended",
            "The Job is suspended: its queue has not admitted it yet.",
            "Wait for its turn; `kubectl get workloads` shows the queue.",
        )
    message = _newest(warnings, job["metadata"], ("FailedCreate",))
    if message is None:
        return None
    if "exceeded quota" in message:
        return quota_exceeded(message)
    return Diagnosis(
        "pod_refused",
        f"Kubernetes refuses the run's pod: {quote(message)}",
        "Check the namespace's LimitRange and Pod Security, and the JOB_* variables. The run then "
        "starts by itself.",
    )


def quota_exceeded(message: str) -> Diagnosis:
    """Say that a ResourceQuota leaves no room for the Job or its pod."""
    return Diagnosis(
        "quota_exceeded",
        f"The namespace's quota is used up: {quote(message)}",
        "Wait for other runs to end, or raise the ResourceQuota. The run then starts by itself.",
    )


def diagnose_failed(condition: dict[str, Any], pods: list[dict[str, Any]]) -> Diagnosis:
    """Say why a Job has failed, from its condition `Failed` and its pods, the newest last."""
    if condition.get("reason") == "DeadlineExceeded":
        return Diagnosis(
            "deadline_exceeded",
            "The run took longer than JOB_DEADLINE_SECONDS and was ended.",
            "Raise JOB_DEADLINE_SECONDS, or train fewer epochs.",
        )
    for pod in reversed(pods):
        found = _diagnose_ended(pod)
        if found:
            return found
    return Diagnosis(
        "job_failed",
        f"Kubernetes ended the Job: {quote(condition.get('message')) or 'it gives no reason'}",
        "Look at it with `kubectl describe job`.",
    )


def diagnose_restart(pods: list[dict[str, Any]]) -> Diagnosis | None:
    """Say why the newest pod ended while its Job goes on to a next one."""
    return _diagnose_ended(pods[-1]) if pods else None


def node_not_ready(node: str) -> Diagnosis:
    """Say that the node of a running pod does not answer."""
    return Diagnosis(
        "node_not_ready",
        f"The node {quote(node)} does not answer; the run may have died with it.",
        "Check `kubectl get nodes`. The run goes on from its checkpoint on another node, or on "
        "this one when it is back.",
    )


def _unschedulable(message: str | None) -> Diagnosis:
    for pattern, reason, remedy in _UNSCHEDULABLE:
        if re.search(pattern, message or ""):
            return Diagnosis(reason, f"No node can take the run: {quote(message)}", remedy)
    return Diagnosis(
        "unschedulable",
        f"No node can take the run: {quote(message) or 'the scheduler gives no reason'}",
        "Look at the pod with `kubectl describe pod`.",
    )


def _diagnose_ended(pod: dict[str, Any]) -> Diagnosis | None:
    status = pod.get("status") or {}
    evicted = _eviction(status)
    if evicted:
        return Diagnosis(
            "evicted",
            f"The node put the run out: {quote(evicted)}",
            "Raise JOB_MEMORY if memory ran short, or free disk space on the node; then retry: it "
            "goes on from its checkpoint.",
        )
    container = _trainer(status)
    ended = (container.get("state") or {}).get("terminated") or (
        container.get("lastState") or {}
    ).get("terminated")
    if not ended:
        return None
    code, message = ended.get("exitCode"), quote(ended.get("message"))
    if ended.get("reason") == "OOMKilled":
        return Diagnosis(
            "out_of_memory",
            "The trainer needed more memory than JOB_MEMORY allows and was killed.",
            "Raise JOB_MEMORY, or train on less data.",
        )
    if code == 0:
        return None
    name = pod["metadata"].get("name", "")
    return exit_code(code, message, f"`kubectl logs {name}`")


def _eviction(status: dict[str, Any]) -> str | None:
    if status.get("reason") in _EVICTION:
        return status.get("message") or str(status["reason"])
    for condition in status.get("conditions") or []:  # Kubernetes 1.26 and newer
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return condition.get("message") or str(condition.get("reason"))
    return None


def _newest(
    warnings: list[dict[str, Any]], metadata: dict[str, Any], reasons: tuple[str, ...]
) -> str | None:
    """Give the message of the newest event of an object that has one of the reasons."""
    found = [
        event
        for event in warnings
        if (event.get("involvedObject") or {}).get("uid") == metadata.get("uid")
        and event.get("reason") in reasons
    ]
    newest = max(found, key=_time_of, default=None)
    return None if newest is None else str(newest.get("message"))


def _time_of(event: dict[str, Any]) -> str:
    """When it was last seen; RFC 3339 in UTC sorts as text."""
    series = (event.get("series") or {}).get("lastObservedTime")
    return str(series or event.get("lastTimestamp") or event.get("eventTime") or "")


def _trainer(status: dict[str, Any]) -> dict[str, Any]:
    """Find the trainer's container among a pod's statuses; sidecars may stand beside it."""
    containers: list[dict[str, Any]] = status.get("containerStatuses") or []
    return next((one for one in containers if one.get("name") == CONTAINER), {})
