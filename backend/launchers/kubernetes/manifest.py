"""Renders an attempt as a Kubernetes Job. Pure.

Follows the Kubernetes documentation: Jobs, Pod Security Standards (restricted), Volumes (subPath),
Define Dependent Environment Variables ($$).
"""

import json
from collections.abc import Sequence
from typing import Any

from backend.domain.attempt import Attempt
from backend.domain.execution.priority import Priority
from backend.launchers.base import Job
from backend.launchers.exit_codes import EXITS_FOR_GOOD
from backend.launchers.kubernetes.gangs.indexed_job import of_gang
from backend.launchers.kubernetes.queues import kueue
from backend.settings import Settings

MANAGED_BY = "hello-flask"
SELECTOR = f"app.kubernetes.io/managed-by={MANAGED_BY},app.kubernetes.io/component=training"
EXPERIMENT_ID = "hello-flask/experiment-id"
UID = "hello-flask/uid"
RUN = "hello-flask/run"  # the attempt as JSON: from its Job alone an experiment can be restored
CONTAINER = "train"
USER = 10001  # owns the shared folders; the backend's image runs as the same user
STOP_SECONDS = 30  # for the trainer's last checkpoint after SIGTERM
POD_SECURITY = {  # of every pod that this program starts
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}


def render(attempt: Attempt, settings: Settings) -> Job:
    """Return the complete Job of an attempt.

    The trainer sees the input folder read-only and, of the output folder, only its own. What a
    user sent appears in environment values, annotations and the name of that folder only.
    """
    labels = {
        "app.kubernetes.io/name": attempt.model,
        "app.kubernetes.io/component": "training",
        "app.kubernetes.io/managed-by": MANAGED_BY,
    }
    annotations = {EXPERIMENT_ID: attempt.experiment_id, UID: attempt.uid}
    queue = kueue.labels(attempt, settings)
    spec: dict[str, Any] = {
        "completions": 1,
        "parallelism": 1,
        "backoffLimit": settings.job_backoff_limit,
        # No ttlSecondsAfterFinished: it could delete the Job before its log is saved.
        # Kubernetes before 1.26 ignores it and counts every failure against backoffLimit.
        "podFailurePolicy": {"rules": _failure_rules(is_queued=bool(queue))},
        "template": {
            "metadata": {"labels": labels, "annotations": annotations},
            "spec": _pod_spec(attempt, settings),
        },
    }
    if settings.job_deadline_seconds:
        spec["activeDeadlineSeconds"] = settings.job_deadline_seconds
    if queue:
        # Kueue's webhook does it, too. Without a webhook that answers for this namespace, the Job
        # would train outside of its queue; so it waits, and its diagnosis says what is missing.
        spec["suspend"] = True
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": attempt.handle,
            "namespace": settings.job_namespace,
            "labels": labels | queue,
            "annotations": annotations | {RUN: json.dumps(attempt.to_fields(), ensure_ascii=False)},
        },
        "spec": spec,
    }
    return of_gang(job, attempt.nodes) if attempt.nodes else job


def _failure_rules(*, is_queued: bool) -> list[dict[str, Any]]:
    """Return the rules of podFailurePolicy; the first one that matches a failed pod counts."""
    rules: list[dict[str, Any]] = [
        {"action": "FailJob", "onExitCodes": _exit_codes(EXITS_FOR_GOOD)},
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
    ]
    if is_queued:
        rules.append({"action": "Ignore", "onExitCodes": _exit_codes([kueue.EXIT_STOPPED])})
    return rules


def _exit_codes(codes: Sequence[int]) -> dict[str, Any]:
    return {"containerName": CONTAINER, "operator": "In", "values": list(codes)}


def _pod_spec(attempt: Attempt, settings: Settings) -> dict[str, Any]:
    # A mountPath must not contain ':', which some runtimes use to separate source and target.
    folder = "run" if ":" in attempt.experiment_id else attempt.experiment_id
    output_dir = f"/output/{folder}"
    environment = attempt.environment(input_dir="/input", output_dir=output_dir)
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": STOP_SECONDS,
        # The kernel drops a signal that PID 1 of a namespace does not handle (pid_namespaces(7)).
        # So a cancelled pod whose program does not handle SIGTERM, or not yet, would train on until
        # it is killed. With the pause container as PID 1, SIGTERM ends any program.
        "shareProcessNamespace": True,
        "securityContext": POD_SECURITY,
        "containers": [
            {
                "name": CONTAINER,
                "image": attempt.program.image or settings.model_image,
                "env": [
                    {"name": name, "value": _literal(value)} for name, value in environment.items()
                ],
                "resources": _resources(attempt, settings),
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                },
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [
                    {"name": "input", "mountPath": "/input", "readOnly": True},
                    {"name": "output", "mountPath": output_dir, "subPath": attempt.experiment_id},
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  (its own volume)
                ],
            }
        ],
        "volumes": [
            {
                "name": "input",
                "persistentVolumeClaim": {"claimName": settings.input_pvc, "readOnly": True},
            },
            {"name": "output", "persistentVolumeClaim": {"claimName": settings.output_pvc}},
            # No sizeLimit: only the author of a model knows how much it needs.
            {"name": "tmp", "emptyDir": {}},
        ],
        **_priority(attempt),
    }


def _priority(attempt: Attempt) -> dict[str, str]:
    name = dict(attempt.program.priority_classes).get(attempt.priority or Priority.NORMAL)
    return {"priorityClassName": name} if name else {}


def _literal(value: str) -> str:
    """Return an environment value in which the kubelet expands no `$(NAME)`."""
    return value.replace("$", "$$")


def _resources(attempt: Attempt, settings: Settings) -> dict[str, dict[str, str]]:
    own = dict(attempt.program.resources)
    memory, gpus = own.get("memory", settings.job_memory), own.get("gpu", str(settings.job_gpu))
    # No cpu limit: a trainer may use what is idle on its node.
    requests = {"cpu": own.get("cpu", settings.job_cpu), "memory": memory}
    limits = {"memory": memory}
    gpu = {"nvidia.com/gpu": gpus} if gpus != "0" else {}
    return {"requests": requests | gpu, "limits": limits | gpu}
