"""Reads what pods use from the metrics API, if the cluster serves it.

Kubernetes documentation, Resource metrics pipeline. It is optional: metrics-server or the like has
to be installed, and the account of this program has to be allowed to list pods of it.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping

import urllib3
from kubernetes.client.exceptions import ApiException

from backend.domain.execution.usage import Usage
from backend.launchers.kubernetes.metrics_api.answer import usage_by_job

READ_SECONDS = 15.0  # between two readings: metrics-server measures as often
RETRY_SECONDS = 600.0  # until a cluster that does not serve it, or denies it, is asked again
MAX_BYTES = 32 * 2**20  # of one answer, which takes about 1 kB for each pod
REASONS = {
    401: "the API server refuses the token",
    403: "the Role of the backend does not allow it: apply yaml/setup/3_crb.yaml of this version",
    404: "the cluster does not serve metrics.k8s.io: install metrics-server to have it",
    503: "the metrics API does not answer",
}

log = logging.getLogger(__name__)


class PodMetrics:
    """What the pods of Jobs use. It is used by one thread."""

    def __init__(self, list_metrics: Callable[[], urllib3.BaseHTTPResponse]) -> None:
        """Read the answers of `list_metrics`, which asks for all pods of ours at once."""
        self._list_metrics = list_metrics
        self._next_reading = 0.0
        self._why_unknown: str | None = None  # as it was logged last

    def read(self, handles: Collection[str]) -> Mapping[str, Usage]:
        """Return what the pods of these Jobs use, by the name of the Job; of none within a time.

        READ_SECONDS have to pass before the next reading. That it is not known is logged once.
        """
        if not handles or time.monotonic() < self._next_reading:
            return {}
        self._next_reading = time.monotonic() + READ_SECONDS
        try:
            used = usage_by_job(self._content(), handles)
        except ApiException as error:
            self._next_reading = time.monotonic() + RETRY_SECONDS
            self._log(REASONS.get(error.status or 0) or f"the API server answers {error.status}")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self._log(f"the API server does not answer: {type(error).__name__}")
        except ValueError as error:
            self._next_reading = time.monotonic() + RETRY_SECONDS
            self._log(f"the answer of metrics.k8s.io cannot be used: {error}")
        else:
            self._why_unknown = None
            return used
        return {}

    def _content(self) -> bytes:
        response = self._list_metrics()
        content: bytes = response.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            response.close()
            raise ValueError(f"it is longer than {MAX_BYTES} bytes")
        response.release_conn()
        return content

    def _log(self, why: str) -> None:
        if why != self._why_unknown:
            log.info("What experiments use is not known: %s", why)
        self._why_unknown = why
