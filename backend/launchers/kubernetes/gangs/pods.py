"""What the pods of a gang say together. Pure: takes Kubernetes objects as dicts."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from backend.domain.attempt import Diagnosis
from backend.launchers.exit_codes import EXIT_PEER_LOST
from backend.launchers.kubernetes.gangs.indexed_job import rank_of

Pod = dict[str, Any]


def newest_by_rank(pods: Iterable[Pod]) -> dict[int, Pod]:
    """Return the newest pod of each worker that has one, by rank; `pods` are oldest first.

    A pod is replaced if its queue took back the place of the gang.
    """
    return dict(sorted({rank_of(pod): pod for pod in pods}.items()))


def by_blame(pods: Sequence[Pod]) -> list[Pod]:
    """Return the pods of a gang that has failed, the one that ended it first.

    That is the first that failed by itself: the others fail because they have lost it, or end
    because the Job controller deletes them.
    """
    return sorted(pods, key=_blame)


def of_worker(diagnosis: Diagnosis, rank: int) -> Diagnosis:
    """Return a diagnosis as that of one worker of a gang."""
    return replace(diagnosis, message=f"Worker {rank}: {diagnosis.message}")


def _blame(pod: Pod) -> tuple[bool, bool, str, int]:
    """Return what sorts pods, the one to blame first."""
    status = pod.get("status") or {}
    states = [one.get("state") or {} for one in status.get("containerStatuses") or []]
    ends = [state["terminated"] for state in states if state.get("terminated")]
    is_lost = any(end.get("exitCode") == EXIT_PEER_LOST for end in ends)
    # In RFC 3339 and UTC, which sorts as text. A rejected or evicted pod may have no container.
    ended_at = min((str(end.get("finishedAt") or "") for end in ends), default="")
    return status.get("phase") != "Failed", is_lost, ended_at, rank_of(pod)
