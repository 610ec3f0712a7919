"""What a gang needs of the cluster, checked before its Job is created."""

import json
from collections.abc import Callable

from kubernetes.client.exceptions import ApiException

from backend.domain.attempt import Diagnosis
from backend.launchers.base import Job, LauncherRefused, LauncherUnavailable
from backend.launchers.kubernetes.api import JOBS, SERVICE_OBJECT
from backend.launchers.kubernetes.errors import no_answer, refused, unavailable
from backend.launchers.kubernetes.gangs.indexed_job import SERVICE, is_gang


def check_gang(job: Job, call: Callable[..., bytes]) -> None:
    """Raise unless the cluster can train with several nodes.

    An API server that does not know Indexed Jobs drops the field, and would start as many equal
    pods. So it is asked first what it would store (Kubernetes documentation, API Concepts,
    Dry-run).

    Args:
        job: the rendered Job.
        call: sends a request, given a method, a path and further options, and returns the body of
            the answer. Raises ApiException if it is refused, LauncherUnavailable without an answer.

    Raises:
        LauncherRefused: the cluster has no Indexed Jobs, or refuses this one.
        LauncherUnavailable: it cannot be known now, or the Service is missing.
    """
    try:
        stored = json.loads(call("POST", JOBS, query={"dryRun": "All"}, body=job))
    except ApiException as error:
        if error.status == 409:  # it exists, so it was checked before
            return
        raise refused(error) from error
    except ValueError as error:  # the error page of a proxy
        raise no_answer(error) from error
    if not is_gang(stored):
        raise LauncherRefused(
            Diagnosis(
                "gang_unsupported",
                "This cluster cannot train with several nodes: its Kubernetes has no Indexed Jobs.",
                "Upgrade Kubernetes to 1.24 or newer and retry, or choose a model whose entry has "
                "no `nodes`.",
            )
        )
    _check_service(call)


def _check_service(call: Callable[..., bytes]) -> None:
    try:
        call("GET", SERVICE_OBJECT, SERVICE)
    except ApiException as error:
        if error.status == 403:  # yaml/setup/3_crb.yaml of an older version was applied
            return
        if error.status != 404:
            raise unavailable(error) from error
        raise LauncherUnavailable(
            Diagnosis(
                "service_missing",
                f"The Service {SERVICE}, by which the nodes of an experiment find each other, is "
                "missing in the namespace of the Jobs.",
                "Apply yaml/5_svc.yaml, or `kubectl apply -k` the overlay that is used. The "
                "experiment then starts by itself.",
            )
        ) from error
