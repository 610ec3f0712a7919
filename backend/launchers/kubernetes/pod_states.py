"""What a pod says of itself: its part of the log, and whether it has begun, ended or is leaving."""

import re
from typing import Any

from backend.launchers.base import Departure
from backend.launchers.kubernetes.gangs.indexed_job import rank_of
from backend.launchers.kubernetes.manifest import UID

Pod = dict[str, Any]

ENDED_POD_PHASES = ("Succeeded", "Failed")


def part_of(pod: Pod) -> str:
    """Return the name of the log part that a pod prints; sorted by name, parts are by age."""
    metadata = pod["metadata"]
    created = re.sub("[-:]", "", str(metadata["creationTimestamp"]))
    return f"{created}-{metadata['name']}"


def job_of(pod: Pod) -> str:
    """Return the name of the Job that a pod belongs to."""
    return str((pod["metadata"].get("labels") or {}).get("job-name", ""))


def has_started(pod: Pod) -> bool:
    """Return whether a container of a pod runs or has run."""
    return any("running" in state or "terminated" in state for state in _states(pod))


def may_have_started(pod: Pod) -> bool:
    """Return whether the container may run although the kubelet has not reported it yet.

    The kubelet of an old Kubernetes never does if the pod is deleted in that moment.
    """
    waiting = [state.get("waiting") or {} for state in _states(pod)]
    is_starting = all(each.get("reason") in (None, "ContainerCreating") for each in waiting)
    return is_starting and bool((pod.get("spec") or {}).get("nodeName"))


def has_ended(pod: Pod) -> bool:
    """Return whether all containers of a pod have ended."""
    states = _states(pod)
    if states and all("terminated" in state for state in states):
        return True
    return (pod.get("status") or {}).get("phase") in ENDED_POD_PHASES


def is_leaving(pod: Pod) -> bool:
    """Return whether a pod that may have printed something is being deleted."""
    is_deleted = bool(pod["metadata"].get("deletionTimestamp"))
    return is_deleted and (has_started(pod) or may_have_started(pod))


def departure_of(event: dict[str, Any]) -> Departure | None:
    """Return which part of a log an event of a watch of pods is about to remove, or has removed.

    A pod without any output to be lost is passed over, and so is one of somebody else.
    """
    pod = event["object"]
    is_gone = event["type"] == "DELETED"
    if not (has_started(pod) if is_gone else is_leaving(pod)):
        return None
    uid = (pod["metadata"].get("annotations") or {}).get(UID)
    return uid and Departure(job_of(pod), uid, rank_of(pod), part_of(pod), is_gone)


def _states(pod: Pod) -> list[dict[str, Any]]:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return [status.get("state") or {} for status in statuses]
