"""Turns errors of the API server into launcher errors."""

import json
import logging
import re

from kubernetes.client.exceptions import ApiException

from backend.domain.attempt import Diagnosis
from backend.launchers.base import LauncherRefused, LauncherUnavailable
from backend.launchers.kubernetes.diagnosis import diagnose_quota

log = logging.getLogger(__name__)

ACCOUNT = re.compile(r"system:serviceaccount:([a-z0-9-]+):")
DEDICATED = "hello-flask"  # the namespace of yaml/dedicated/


def no_answer(error: Exception) -> LauncherUnavailable:
    """Return the error of an API server that does not answer, and log it."""
    log.warning("The Kubernetes API server does not answer: %s", error)
    return LauncherUnavailable(
        Diagnosis(
            "kubernetes_unreachable",
            "The Kubernetes API server does not answer.",
            "Nothing: the experiment is submitted when it answers again.",
        )
    )


def unavailable(error: ApiException) -> LauncherUnavailable:
    """Return the error of a request that failed and may succeed without restarting this process."""
    message = _message_of(error)
    if error.status == 403 and "exceeded quota" in message:
        return LauncherUnavailable(diagnose_quota(message))
    if error.status in (401, 403):
        return LauncherUnavailable(
            Diagnosis(
                "kubernetes_forbidden",
                f"Kubernetes does not allow it: {message}",
                f"{_remedy(message)} The experiment then starts by itself.",
            )
        )
    return LauncherUnavailable(
        Diagnosis(
            "kubernetes_error",
            f"Kubernetes answered {error.status}: {message}",
            "Check JOB_NAMESPACE and the cluster. The experiment starts by itself once they are "
            "in order.",
        )
    )


def refused(error: ApiException) -> LauncherRefused | LauncherUnavailable:
    """Return the error of a Job that could not be created."""
    if error.status not in (400, 422):
        return unavailable(error)
    return LauncherRefused(
        Diagnosis(
            "job_refused",
            f"Kubernetes refuses the Job: {_message_of(error)}",
            "Check the JOB_* variables and AE_MODEL_IMAGE_URL of the server.",
        )
    )


def _remedy(message: str) -> str:
    """Return how to get the rights of yaml/setup/3_crb.yaml back, where this backend runs.

    The file itself is for the namespace default: applied for another one, it would take the right
    to read nodes from the account there and give everything to one of the same name in default.
    """
    account = ACCOUNT.search(message)
    namespace = account[1] if account else "default"
    if namespace == "default":
        return (
            "Apply yaml/setup/2_sa.yaml and 3_crb.yaml, and name that serviceAccount in 4_pod.yaml."
        )
    if namespace == DEDICATED:
        return (
            "Run `kubectl apply -k yaml/dedicated/`, which restores the Role and its binding. Do "
            "not apply yaml/setup/3_crb.yaml, which is for the namespace default."
        )
    return (
        f"Apply the objects of yaml/setup/3_crb.yaml with the namespace {namespace} in place of "
        "default."
    )


def _message_of(error: ApiException) -> str:
    try:
        return str(json.loads(error.body or "")["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)
