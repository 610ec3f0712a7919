"""What a Job has in addition if several nodes train its experiment: it is an Indexed Job. Pure.

Follows the Kubernetes documentation: Jobs (Completion mode, Pod backoff failure policy), Job with
Pod-to-Pod Communication, DNS for Services and Pods (hostname and subdomain).
"""

from typing import Any

from backend.domain.execution.gang import MASTER_PORT, variables
from backend.launchers.base import Job

SERVICE = "hello-flask-training"  # of yaml/5_svc.yaml; pods find each other by its name
GANG_LABEL = "hello-flask/gang"  # of pods, which yaml/networkpolicy.yaml lets reach each other
INDEX = "batch.kubernetes.io/job-completion-index"  # an annotation of each pod: its rank
INDEXED = "Indexed"


def of_gang(job: Job, nodes: int) -> Job:
    """Return the Job of one node as that of a gang.

    The pod with index 0 is the worker with rank 0. The first pod that fails ends the Job: the
    others cannot go on without it, and the next attempt starts all of them from the checkpoint.
    So a pod that was evicted is not replaced either.
    """
    spec = job["spec"]
    rules = [rule for rule in spec["podFailurePolicy"]["rules"] if "onPodConditions" not in rule]
    template = spec["template"]
    labels = template["metadata"]["labels"] | {GANG_LABEL: "true"}
    gang = spec | {
        "completions": nodes,
        "parallelism": nodes,
        "completionMode": INDEXED,
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": rules},
        "template": {
            "metadata": template["metadata"] | {"labels": labels},
            "spec": _pod_spec(template["spec"], job["metadata"]["name"], nodes),
        },
    }
    return job | {"spec": gang}


def is_gang(job: Job) -> bool:
    """Return whether a Job, rendered or observed, is that of a gang."""
    return (job.get("spec") or {}).get("completionMode") == INDEXED


def nodes_of(job: Job) -> int:
    """Return how many pods a Job has at the same time: 1 unless it is that of a gang."""
    return int(job["spec"].get("completions") or 1) if is_gang(job) else 1


def rank_of(pod: dict[str, Any]) -> int:
    """Return the rank of the worker in a pod; 0 in one that is of no gang."""
    index = (pod["metadata"].get("annotations") or {}).get(INDEX, "0")
    return int(index) if str(index).isdecimal() else 0


def _pod_spec(spec: dict[str, Any], job: str, nodes: int) -> dict[str, Any]:
    # The Job controller gives each pod the host name `<job>-<index>`; with the subdomain, DNS
    # resolves `<job>-<index>.<service>` in the namespace.
    container = spec["containers"][0]
    shared = variables(nodes, f"{job}-0.{SERVICE}", MASTER_PORT)
    rank = {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX}']"}}
    env = [
        *container["env"],
        *({"name": name, "value": value} for name, value in shared.items()),
        # As the Job controller defines JOB_COMPLETION_INDEX, which it adds after these variables:
        # a reference to it here would not be expanded.
        {"name": "NODE_RANK", "valueFrom": rank},
    ]
    return spec | {"subdomain": SERVICE, "containers": [container | {"env": env}]}
