"""Why a Job waits or has failed. Pure: takes Kubernetes objects as dicts, returns a Diagnosis."""

import re
from typing import Any

from backend.domain.attempt import Diagnosis
from backend.launchers.exit_codes import diagnose_exit_code, quote
from backend.launchers.kubernetes.manifest import CONTAINER

# The words of Kubernetes, in the order in which a pod meets them. Sources: its documentation
# (Images, Pod Lifecycle, Jobs), pkg/scheduler/framework/plugins, pkg/kubelet and
# pkg/controller/job. tests/unit/launchers/words.json holds samples by version.

# No pod: the reasons of a Job's events.
CREATE_EVENTS = ("FailedCreate",)

# No node: what the scheduler's message contains, our reason, and the remedy. The first one counts.
UNSCHEDULABLE = (
    (
        # Not the taint of the same name, which keeps pods without a GPU away from GPU nodes.
        r"Insufficient nvidia\.com/gpu",
        "unschedulable_gpu",
        "Lower JOB_GPU, or wait for a node with a free GPU.",
    ),
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
        r"persistentvolumeclaim \S+ (not found|is being deleted)",
        "claim_missing",
        "Apply yaml/setup/1_pvc_input.yaml and 1_pvc_output.yaml, or correct INPUT_PVC and "
        "OUTPUT_PVC.",
    ),
    (
        # Without a volume, or with one that was deleted.
        r"unbound|bound to non-existent|persistentvolume \S+ not found|persistent volumes to bind",
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
        r"volume node affinity|PersistentVolume's node affinity",  # until 1.32; since 1.33
        "unschedulable_volume",
        "The host name in yaml/setup/0_pv_*.yaml must be that of a node that is Ready: "
        "`kubectl get nodes -L kubernetes.io/hostname`.",
    ),
    (
        r"affinity|selector|taint|topology spread",
        "unschedulable_affinity",
        "Check the node's labels and taints with `kubectl describe node`.",
    ),
)

# No volume, or no network: the reasons of a pod's events.
MOUNT_EVENTS = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")
SANDBOX_EVENTS = ("FailedCreatePodSandBox", "FailedPodSandBoxStatus", "NetworkNotReady")
# The condition (1.29 and newer) that is true once a pod has its volumes and its network.
PREPARED_CONDITION = "PodReadyToStartContainers"

# No container: the reasons of its state `waiting`.
IMAGE_REASONS = {
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}
CONTAINER_REASONS = {
    "CreateContainerConfigError",
    "PreCreateHookError",
    "CreateContainerError",
    "PreStartHookError",
    "RunContainerError",
    "CrashLoopBackOff",
}
# The reasons of its state `terminated` if the container's program never began.
START_REASONS = {"StartError", "ContainerCannotRun"}
# The same, if the container was lost: its exit code says nothing.
LOST_REASONS = {"ContainerStatusUnknown"}

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


# A Job without a queue that somebody has suspended.
SUSPENDED = Diagnosis(
    "suspended",
    "The Job is suspended, and has no queue that would resume it.",
    "Set JOB_QUEUE if Kueue manages this namespace. Otherwise resume it with `kubectl patch job`, "
    "or cancel the experiment.",
)


def diagnose_pending(pod: dict[str, Any]) -> Diagnosis | None:
    """Return why a pending pod does not run, or None if nothing is wrong."""
    status = pod.get("status") or {}
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("reason") in ("Unschedulable", "SchedulerError"):
        return _unschedulable(scheduled.get("message"))
    if scheduled.get("reason") == "SchedulingGated":
        return Diagnosis(
            "suspended",
            f"The pod is held back: {quote(scheduled.get('message'))}",
            "Wait until its scheduling gates are removed; `kubectl describe pod` names them.",
        )
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


def diagnose_unprepared(pod: dict[str, Any], warnings: list[dict[str, Any]]) -> Diagnosis | None:
    """Return why a pod has no volumes or no network, according to its events; else None."""
    if _condition(pod.get("status") or {}, PREPARED_CONDITION).get("status") == "True":
        return None  # the events are from before
    event = _newest(warnings, pod["metadata"], MOUNT_EVENTS + SANDBOX_EVENTS)
    if event is None:
        return None
    message = quote(event.get("message"))
    if event.get("reason") in SANDBOX_EVENTS:
        return Diagnosis(
            "container_not_started",
            f"The node cannot prepare the experiment's pod: {message}",
            "Check the node's network plugin and container runtime. The experiment then starts by "
            "itself.",
        )
    return Diagnosis(
        "volume_not_mounted",
        f"A volume of the experiment cannot be mounted: {message}",
        "Check that the folders in yaml/setup/0_pv_*.yaml exist on their host. The experiment "
        "starts by itself once they can be mounted.",
    )


def diagnose_without_pod(
    job: dict[str, Any], pods: list[dict[str, Any]], warnings: list[dict[str, Any]]
) -> Diagnosis | None:
    """Return why a Job has no live pod, according to the Job and its events; else None.

    An event counts only if no pod has been created since: `pods` are those that ended, oldest
    first, and `status.active` counts one that the Job controller does not miss yet.
    """
    event = _newest(warnings, job["metadata"], CREATE_EVENTS)
    if event is None or (job.get("status") or {}).get("active"):
        return None
    if pods and _last_seen(event) <= str(pods[-1]["metadata"].get("creationTimestamp")):
        return None
    message = str(event.get("message"))
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
    name = pod["metadata"].get("name", "")
    return _diagnose_terminated(terminated, name) if terminated else _diagnose_rejected(status)


def _diagnose_terminated(terminated: dict[str, Any], pod: str) -> Diagnosis | None:
    """Return why the container of a pod of that name ended, or None if it succeeded."""
    code, message = terminated.get("exitCode"), terminated.get("message")
    if terminated.get("reason") == "OOMKilled":
        return Diagnosis(
            "out_of_memory",
            "The trainer needed more memory than JOB_MEMORY allows and was killed.",
            "Raise JOB_MEMORY, or train on less data.",
        )
    if terminated.get("reason") in START_REASONS:
        return Diagnosis(
            "container_not_started",
            f"The trainer's program cannot be started: {quote(message)}",
            "Check that the model image contains the program that it starts; then retry.",
        )
    if terminated.get("reason") in LOST_REASONS:
        return Diagnosis(
            "evicted",
            f"The node lost the experiment's container: {quote(message)}",
            "Check the node with `kubectl describe node`; then retry: training continues from the "
            "checkpoint.",
        )
    return diagnose_exit_code(code, message, f"`kubectl logs {pod}`") if code != 0 else None


def _diagnose_rejected(status: dict[str, Any]) -> Diagnosis | None:
    """Return why the kubelet rejected a pod, which never had a container then; else None."""
    if status.get("phase") != "Failed" or not status.get("reason"):
        return None
    message = quote(status.get("message")) or status["reason"]
    return Diagnosis(
        "pod_refused",
        f"The node refused the experiment's pod: {message}",
        "Check the node with `kubectl describe node`, and the JOB_* variables; then retry.",
    )


def _eviction(status: dict[str, Any]) -> str | None:
    """Return the message of an eviction, or None if the pod was not evicted."""
    if status.get("reason") in EVICTION_REASONS:
        return status.get("message") or str(status["reason"])
    condition = _condition(status, EVICTION_CONDITION)
    if condition.get("status") == "True":
        return condition.get("message") or str(condition.get("reason"))
    return None


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return a pod's condition of this type; empty if it has none."""
    conditions: list[dict[str, Any]] = status.get("conditions") or []
    return next((each for each in conditions if each.get("type") == kind), {})


def _newest(
    warnings: list[dict[str, Any]], metadata: dict[str, Any], reasons: tuple[str, ...]
) -> dict[str, Any] | None:
    """Return an object's newest event with one of these reasons, or None."""
    events = [
        event
        for event in warnings
        if (event.get("involvedObject") or {}).get("uid") == metadata.get("uid")
        and event.get("reason") in reasons
    ]
    return max(events, key=_last_seen, default=None)


def _last_seen(event: dict[str, Any]) -> str:
    """Return when an event was last seen, in RFC 3339 and UTC, which sorts as text."""
    series = (event.get("series") or {}).get("lastObservedTime")
    return str(series or event.get("lastTimestamp") or event.get("eventTime") or "")


def _trainer(status: dict[str, Any]) -> dict[str, Any]:
    """Return the status of the trainer's container; a pod may have sidecars too."""
    containers: list[dict[str, Any]] = status.get("containerStatuses") or []
    return next((each for each in containers if each.get("name") == CONTAINER), {})
