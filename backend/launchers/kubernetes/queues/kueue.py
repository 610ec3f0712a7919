"""The queues of Kueue: how a Job waits in one, and why it waits. Pure.

Sources: the documentation of Kueue (Run A Kubernetes Job, Workload, Workload Priority Class, Labels
and Annotations), its API reference (`kueue.x-k8s.io`; the fields used here are the same in v1beta1,
which Kueue serves until 0.19, and in v1beta2, since 0.15), and its KEP-10852 (the reasons since
0.19).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend.domain.attempt import Attempt, Diagnosis
from backend.domain.execution.priority import Priority
from backend.launchers.exit_codes import quote
from backend.settings import Settings

GROUP = "kueue.x-k8s.io"
QUEUE_LABEL = f"{GROUP}/queue-name"
PRIORITY_LABEL = f"{GROUP}/priority-class"
# 128 + SIGTERM: how a trainer ends that is asked to stop. A Job that is suspended counts such a pod
# as failed, and would fail for good after a few preemptions (backoffLimit).
EXIT_STOPPED = 143
MOST_PLACED = 1000  # of each queue, those whose place is known: as the visibility API of Kueue

# The reasons of a condition QuotaReserved that is false, if waiting alone does not help.
UNUSABLE_REASONS = {
    "Inadmissible",  # until 0.18, and later with the feature of KEP-10852 disabled
    "Misconfigured",
    "NoMatchingFlavor",
    "ExceedsMaxQuota",
}
# The reasons of an eviction after which a Workload queues behind those that came meanwhile.
REQUEUED_LAST = {"PodsReadyTimeout", "AdmissionCheck"}

TAKEN_UP_LATE = Diagnosis(
    "suspended",
    "The Job is suspended: its queue has not admitted it yet.",
    "Wait for its turn. If `kubectl get workloads` shows none for it, check that Kueue runs and "
    "manages this namespace.",
)
UNREADABLE = Diagnosis(
    "suspended",
    "The Job is suspended: its queue has not admitted it yet.",
    "Wait for its turn; `kubectl get workloads` shows the queue. With the right to list Workloads "
    "(yaml/kueue/) its words appear here.",
)


@dataclass(frozen=True)
class Workload:
    """What Kueue has decided about one Workload, which stands for a Job in its queue.

    Attributes:
        job: the name of the Job; empty if something else waits in the queue.
        job_uid: the uid of the Job, which tells it from an older one of that name.
        queue: the LocalQueue.
        priority: the highest comes first.
        since: by which those of one priority are ordered, in RFC 3339 and UTC.
        is_pending: whether it waits for quota, and so has a place in its queue.
        is_admitted: whether its Job may run.
        diagnosis: why its Job is suspended, if it is.
    """

    job: str
    job_uid: str
    queue: str
    priority: int
    since: str
    is_pending: bool
    is_admitted: bool
    diagnosis: Diagnosis


def queue_of(attempt: Attempt, settings: Settings) -> str:
    """Return the LocalQueue that admits the Job of an attempt; empty for none.

    The operator names it, in the model's entry or JOB_QUEUE. A person chooses among queues by the
    size of an experiment, if the entry names a queue for it.
    """
    return attempt.program.queue or settings.job_queue


def labels(attempt: Attempt, settings: Settings) -> dict[str, str]:
    """Return the labels by which Kueue takes up the Job of an attempt; none without a queue."""
    queue = queue_of(attempt, settings)
    classes = dict(attempt.program.workload_priority_classes)
    priority = classes.get(attempt.priority or Priority.NORMAL)
    if not queue:
        return {}
    return {QUEUE_LABEL: queue} | ({PRIORITY_LABEL: priority} if priority else {})


def missing(queue: str) -> Diagnosis:
    """Return the diagnosis of a Job whose queue is in a cluster without Kueue."""
    return Diagnosis(
        "queue_unusable",
        f"The Job waits for the queue {queue} of Kueue, which this cluster does not have.",
        "Install Kueue: the experiment then starts by itself. Or remove JOB_QUEUE, and `queue` "
        "from the model's entry; then cancel the experiment and retry it.",
    )


def read_workload(body: Mapping[str, Any]) -> Workload | None:
    """Return what a Workload says about its Job; None if that has ended."""
    metadata, spec = body["metadata"], body.get("spec") or {}
    conditions = _conditions(body)
    if _is_true(conditions, "Finished"):
        return None
    owners = metadata.get("ownerReferences") or []
    owner: Mapping[str, Any] = next((one for one in owners if one.get("kind") == "Job"), {})
    evicted = conditions.get("Evicted") or {}
    is_last = _is_true(conditions, "Evicted") and evicted.get("reason") in REQUEUED_LAST
    since = evicted.get("lastTransitionTime") if is_last else metadata.get("creationTimestamp")
    is_active = spec.get("active") is not False
    return Workload(
        job=str(owner.get("name") or ""),
        job_uid=str(owner.get("uid") or ""),
        queue=str(spec.get("queueName") or ""),
        priority=int(spec.get("priority") or 0),
        since=str(since or ""),
        is_pending=is_active and not _is_true(conditions, "QuotaReserved"),
        is_admitted=is_active and _is_true(conditions, "Admitted"),
        diagnosis=_diagnose(body, conditions),
    )


def places(workloads: Iterable[Workload]) -> dict[str, list[str]]:
    """Return the Jobs that wait, by queue and in its order: by priority, then by age.

    A queue of the strategy BestEffortFIFO starts a later one before, if only that one fits.
    """
    queues: dict[str, list[Workload]] = {}
    for workload in workloads:
        if workload.is_pending:
            queues.setdefault(workload.queue, []).append(workload)
    return {
        queue: [one.job for one in sorted(waiting, key=_order)[:MOST_PLACED]]
        for queue, waiting in sorted(queues.items())
    }


def place_of(job: str, queues: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Return the queue that a Job waits in; empty if it waits in none."""
    return next((waiting for waiting in queues.values() if job in waiting), [])


def _order(workload: Workload) -> tuple[int, str, str]:
    return -workload.priority, workload.since, workload.job


def _diagnose(body: Mapping[str, Any], conditions: Mapping[str, Mapping[str, Any]]) -> Diagnosis:
    """Return why the Job of a Workload is suspended, in the words of its conditions."""
    spec, name = body.get("spec") or {}, body["metadata"].get("name")
    queue = spec.get("queueName")
    reserved = conditions.get("QuotaReserved") or {}
    if spec.get("active") is False:
        why = quote((conditions.get("Evicted") or reserved).get("message"))
        return Diagnosis(
            "queue_unusable",
            f"The queue {queue} has deactivated the experiment's Workload: {why}"
            if why
            else f"The queue {queue} has deactivated the experiment's Workload.",
            f"Set `spec.active` of the Workload {name} to true, or cancel the experiment.",
        )
    if _is_true(conditions, "Evicted"):
        return _diagnose_evicted(str(queue), conditions)
    if _is_true(conditions, "QuotaReserved"):
        checks = _checks(body)
        return Diagnosis(
            "suspended",
            f"The queue {queue} has quota for the experiment, and waits for admission checks: "
            f"{checks}"
            if checks
            else f"The queue {queue} has quota for the experiment, and admits it soon.",
            f"Wait; `kubectl describe workload {name}` shows the admission checks.",
        )
    now = quote(reserved.get("message"))
    if reserved.get("reason") in UNUSABLE_REASONS:
        return Diagnosis(
            "queue_unusable",
            f"The queue {queue} cannot admit the experiment: {now or reserved['reason']}",
            "Check `kubectl get localqueues,clusterqueues`, `queue` in the model's entry, and "
            "JOB_QUEUE. The experiment starts by itself once its queue can admit it.",
        )
    return Diagnosis(
        "suspended",
        f"The queue {queue} has not admitted the experiment yet: {now}"
        if now
        else f"The queue {queue} has not admitted the experiment yet.",
        "Wait for its turn, or for other experiments to end.",
    )


def _diagnose_evicted(queue: str, conditions: Mapping[str, Mapping[str, Any]]) -> Diagnosis:
    """Return the diagnosis of a Workload that had been admitted before."""
    evicted = conditions["Evicted"]
    is_preempted = _is_true(conditions, "Preempted") and evicted.get("reason") == "Preempted"
    told = conditions["Preempted"] if is_preempted else evicted
    why = quote(told.get("message") or evicted.get("message")) or quote(evicted.get("reason"))
    reserved = conditions.get("QuotaReserved") or {}
    now = quote(reserved.get("message"))
    message = f"The queue {queue} has taken back the place of the experiment: {why}"
    if now and now != why:
        message = (
            f"The queue {queue} has taken back the place of the experiment ({why}), and has not "
            f"admitted it again yet: {now}"
        )
    found = Diagnosis(
        "preempted",
        message,
        "Nothing: it continues from its checkpoint once its queue admits it again.",
    )
    return found if evicted.get("reason") == "Preempted" else replace(found, reason="suspended")


def _checks(body: Mapping[str, Any]) -> str:
    """Return the admission checks that are not ready, with what they say."""
    checks = (body.get("status") or {}).get("admissionChecks") or []
    words = [
        f"{check.get('name')} ({check.get('message') or check.get('state')})"
        for check in checks
        if check.get("state") != "Ready"
    ]
    return quote(", ".join(words))


def _conditions(body: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found = (body.get("status") or {}).get("conditions") or []
    return {str(condition.get("type")): condition for condition in found}


def _is_true(conditions: Mapping[str, Mapping[str, Any]], kind: str) -> bool:
    return (conditions.get(kind) or {}).get("status") == "True"
