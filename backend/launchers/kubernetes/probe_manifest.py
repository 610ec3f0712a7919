"""Renders the Job of a probe, the preflight check on one node. Pure."""

from typing import Any

from backend.launchers.base import Job
from backend.launchers.kubernetes.manifest import MANAGED_BY, POD_SECURITY
from backend.settings import Settings

PROGRAM = "backend.launchers.preflight.probe"
STEP = "hello-flask/preflight"  # the label of all Jobs and pods of a step
KEPT_SECONDS = 600  # should the check be killed before it deletes the Job


def probe_job(
    name: str, image: str, words: list[str], settings: Settings, deadline_seconds: int
) -> Job:
    """Return the Job of a probe, whose pod has the rights and the user of a training pod.

    Args:
        name: of the Job.
        image: of this program.
        words: the arguments of the probe; the first two are the step and the run.
        settings: names the namespace and the claims.
        deadline_seconds: after which Kubernetes ends the Job.
    """
    labels = {
        "app.kubernetes.io/name": MANAGED_BY,
        "app.kubernetes.io/component": "probe",
        STEP: "-".join(words[:2]),
    }
    pod = _pod_spec(image, words, {"input": settings.input_pvc, "output": settings.output_pvc})
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": settings.job_namespace, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": deadline_seconds,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def on_node(job: Job, node: str) -> Job:
    """Return a Job that only this node may run.

    By affinity, not by nodeName, so that the scheduler checks what it checks of a training pod.
    """
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    spec, template = job["spec"], job["spec"]["template"]
    pod = template["spec"] | {"affinity": {"nodeAffinity": required}}
    return job | {"spec": spec | {"template": template | {"spec": pod}}}


def _pod_spec(image: str, words: list[str], claims: dict[str, str]) -> dict[str, Any]:
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "containers": [
            {
                "name": "probe",
                "image": image,
                "command": ["python", "-m", PROGRAM, *words],
                "resources": {
                    "requests": {"cpu": "10m", "memory": "32Mi"},
                    "limits": {"cpu": "1", "memory": "128Mi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                },
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [{"name": folder, "mountPath": f"/{folder}"} for folder in claims],
            }
        ],
        "volumes": [
            {"name": folder, "persistentVolumeClaim": {"claimName": claim}}
            for folder, claim in claims.items()
        ],
    }
