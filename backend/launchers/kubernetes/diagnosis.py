"""Why a Job waits or has failed. Pure: takes Kubernetes objects as dicts, returns a Diagnosis."""

import re
from typing import Any

from backend.domain.attempt import Diagnosis
from backend.launchers.exit_codes import diagnose_exit_code, quote
from backend.launchers.kubernetes.manifest import CONTAINER

# The words of Kubernetes, in the order in which a pod meets them. Sources: its documentation
# (Images, Pod Lifecycle, Jobs), pkg/scheduler/framework and pkg/kubelet/images/types.go.

# No pod: the reasons of a Job's events.
CREATE_EVENTS = ("FailedCreate",)

# No node: what the scheduler's message contains, our reason, and the remedy. The first one counts.
UNSCHEDULABLE = (
    (r"nvidia\.com/gpu", "unschedulable_gpu", "Lower JOB_GPU, or wait for a node with a free GPU."),
    (
        r"Insufficient cpu",
        "unschedulable_cpu",
        "Wait for other experiments to end, or lower JOB_CPU.",
    ),
    (
        r"Insufficient memory",
        "unschedulable_memory",
        "Wait for other experiments to end, or lower JOB_MEMORY.",
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
        r"node\(s\) were unschedulable",  # cordoned; before what the other nodes lack
        "unschedulable_cordoned",
        "`kubectl uncordon NODE` lets the node take pods again; `kubectl get nodes` shows it as "
        "SchedulingDisabled.",
    ),
    (
        r"volume node affinity|PersistentVolume's node affinity",  # until 1.33; since 1.34
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

# No volume: the reasons of a pod's events.
MOUNT_EVENTS = ("FailedMount", "FailedAttachVolume")

# No container: the reasons of its state `waiting`.
IMAGE_REASONS = {
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
}
CONTAINER_REASONS = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
}

# Ended early: the reasons of a pod's status, or (1.26 and newer) a condition of it.
EVICTION_REASONS = {
    "Evicted",
    "Preempting",
    "NodeLost",
    "NodeShutdown",
    "Shutdown",
    "Terminated",
}
EVICTION_CONDITION = "DisruptionTarget"


def diagnose_pending(pod: dict[str, Any]) -> Diagnosis | None:
    """Return why a pending pod does not run, or None if nothing is wrong."""
    status = pod.get("status") or {}
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return _unschedulable(condition.get("message"))
    waiting = (_trainer(status).get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason"), quote(waiting.get("message"))
    if reason in IMAGE_REASONS:
        image = _trainer(status).get("image") or "of the model"
        return Diagnosis(
            "image_not_pulled",
            f"The image {image} cannot be pulled: {message or reason}",
            "Check AE_MODEL_IMAGE_URL and that the image was pushed: "
            "`curl http://REGISTRY/v2/autoencoder/tags/list` from the node. "
            "The experiment starts by itself once the image is available.",
        )
    if reason in CONTAINER_REASONS:
        return Diagnosis(
            "container_not_started",
            f"The container cannot be started: {message or reason}",
            "Check the model image, and the pod with `kubectl describe pod`.",
        )
    return None


def diagnose_unmounted(pod: dict[str, Any], warnings: list[dict[str, Any]]) -> Diagnosis | None:
    """Return why the volumes of a pod are not mounted, according to its events; else None."""
    message = _newest(warnings, pod["metadata"], MOUNT_EVENTS)
    if message is None:
        return None
    return Diagnosis(
        "volume_not_mounted",
        f"A volume of the experiment cannot be mounted: {quote(message)}",
        "Check that the folders in yaml/setup/0_pv_*.yaml exist on their host. The experiment "
        "starts by itself once they can be mounted.",
    )


def diagnose_without_pod(job: dict[str, Any], warnings: list[dict[str, Any]]) -> Diagnosis | None:
    """Return why a Job has no pod, according to the Job and its events; else None."""
    if (job.get("spec") or {}).get("suspend"):
        return Diagnosis(
            "suspended",
            "The Job is suspended: its queue has not admitted it yet.",
            "Wait for its turn; `kubectl get workloads` shows the queue.",
        )
    message = _newest(warnings, job["metadata"], CREATE_EVENTS)
    if message is None:
        return None
    if "exceeded quota" in message:
        return diagnose_quota(message)
    return Diagnosis(
        "pod_refused",
        f"Kubernetes refuses the experiment's pod: {quote(message)}",
        "Check the namespace's LimitRange and Pod Security, and the JOB_* variables. The "
        "experiment then starts by itself.",
    )


def diagnose_quota(message: str) -> Diagnosis:
    """Return the diagnosis of a ResourceQuota that leaves no room for the Job or its pod."""
    return Diagnosis(
        "quota_exceeded",
        f"The namespace's quota is used up: {quote(message)}",
        "Wait for other experiments to end, or raise the ResourceQuota. The experiment then "
        "starts by itself.",
    )


def diagnose_failed(condition: dict[str, Any], pods: list[dict[str, Any]]) -> Diagnosis:
    """Return why a Job has failed, from its condition `Failed` and its pods, oldest first."""
    if condition.get("reason") == "DeadlineExceeded":
        return Diagnosis(
            "deadline_exceeded",
            "The experiment took longer than JOB_DEADLINE_SECONDS and was stopped.",
            "Raise JOB_DEADLINE_SECONDS, or train fewer epochs.",
        )
    for pod in reversed(pods):
        found = _diagnose_ended(pod)
        if found:
            return found
    return Diagnosis(
        "job_failed",
        f"Kubernetes ended the Job: {quote(condition.get('message')) or 'it gives no reason'}",
        "Examine it with `kubectl describe job`.",
    )


def diagnose_restart(pods: list[dict[str, Any]]) -> Diagnosis | None:
    """Return why the newest pod ended although its Job continues; `pods` are oldest first."""
    return _diagnose_ended(pods[-1]) if pods else None


def diagnose_node(node: str) -> Diagnosis:
    """Return the diagnosis of a running pod whose node does not answer."""
    return Diagnosis(
        "node_not_ready",
        f"The node {quote(node)} does not answer; the experiment may have died with it.",
        "Check `kubectl get nodes`. The experiment continues from its checkpoint on another node, "
        "or on this one when it is back.",
    )


def _unschedulable(message: str | None) -> Diagnosis:
    for pattern, reason, remedy in UNSCHEDULABLE:
        if re.search(pattern, message or ""):
            return Diagnosis(reason, f"No node can take the experiment: {quote(message)}", remedy)
    return Diagnosis(
        "unschedulable",
        f"No node can take the experiment: {quote(message) or 'the scheduler gives no reason'}",
        "Examine the pod with `kubectl describe pod`.",
    )


def _diagnose_ended(pod: dict[str, Any]) -> Diagnosis | None:
    status = pod.get("status") or {}
    eviction = _eviction(status)
    if eviction:
        return Diagnosis(
            "evicted",
            f"The node evicted the experiment: {quote(eviction)}",
            "Raise JOB_MEMORY if memory ran short, or free disk space on the node; then retry: "
            "training continues from the checkpoint.",
        )
    container = _trainer(status)
    state, last_state = container.get("state") or {}, container.get("lastState") or {}
    terminated = state.get("terminated") or last_state.get("terminated")
    if not terminated:
        return None
    code, message = terminated.get("exitCode"), terminated.get("message")
    if terminated.get("reason") == "OOMKilled":
        return Diagnosis(
            "out_of_memory",
            "The trainer needed more memory than JOB_MEMORY allows and was killed.",
            "Raise JOB_MEMORY, or train on less data.",
        )
    if code == 0:
        return None
    name = pod["metadata"].get("name", "")
    return diagnose_exit_code(code, message, f"`kubectl logs {name}`")


def _eviction(status: dict[str, Any]) -> str | None:
    """Return the message of an eviction, or None if the pod was not evicted."""
    if status.get("reason") in EVICTION_REASONS:
        return status.get("message") or str(status["reason"])
    for condition in status.get("conditions") or []:
        if condition.get("type") == EVICTION_CONDITION and condition.get("status") == "True":
            return condition.get("message") or str(condition.get("reason"))
    return None


def _newest(
    warnings: list[dict[str, Any]], metadata: dict[str, Any], reasons: tuple[str, ...]
) -> str | None:
    """Return the message of an object's newest event with one of these reasons, or None."""
    events = [
        event
        for event in warnings
        if (event.get("involvedObject") or {}).get("uid") == metadata.get("uid")
        and event.get("reason") in reasons
    ]
    newest = max(events, key=_last_seen, default=None)
    return None if newest is None else str(newest.get("message"))


def _last_seen(event: dict[str, Any]) -> str:
    """Return when an event was last seen, in RFC 3339 and UTC, which sorts as text."""
    series = (event.get("series") or {}).get("lastObservedTime")
    return str(series or event.get("lastTimestamp") or event.get("eventTime") or "")


def _trainer(status: dict[str, Any]) -> dict[str, Any]:
    """Return the status of the trainer's container; a pod may have sidecars too."""
    containers: list[dict[str, Any]] = status.get("containerStatuses") or []
    return next((each for each in containers if each.get("name") == CONTAINER), {})
