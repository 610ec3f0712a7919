"""A Lease of coordination.k8s.io, which one process holds as long as it renews it.

As in client-go's leaderelection, clocks of different nodes are never compared: a lease has expired
if this process has seen the same renewal for longer than its duration.
"""

import json
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import urllib3
from kubernetes.client.exceptions import ApiException

from backend.launchers.kubernetes.api import LEASE, LEASES, KubernetesApi
from backend.launchers.kubernetes.errors import no_answer, unavailable
from backend.launchers.kubernetes.manifest import MANAGED_BY
from backend.settings import Settings

# With RETRY_SECONDS and TIMEOUT below 15: that long nobody works after a leader was killed.
DURATION_SECONDS = 10
TIMEOUT = (1.0, 2.0)  # seconds to connect, and to answer


class Lease:
    """The lease that the settings name, in the namespace of the Jobs."""

    def __init__(
        self,
        settings: Settings,
        *,
        identity: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Compete for the lease.

        Args:
            settings: name the lease and its namespace.
            identity: of this process, as it stands in the lease; by default host and process id.
            clock: returns seconds.
        """
        self._name = settings.reconcile_lease
        self._namespace = settings.job_namespace
        self._identity = identity or f"{socket.gethostname()}_{os.getpid()}_{time.time_ns()}"
        self._clock = clock
        self._api = KubernetesApi(settings.job_namespace)
        self._seen: tuple[Any, ...] = ()
        self._seen_at = 0.0

    def try_hold(self) -> bool:
        """Create, take or renew the lease unless another process holds it.

        Raises:
            LauncherUnavailable: the API server does not answer, or does not allow it.
        """
        lease = self._ask("GET", LEASE, self._name)
        if lease is None:
            return self._ask("POST", LEASES, body=self._renewed({}, 0)) is not None
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder not in ("", self._identity) and not self._has_expired(spec):
            return False
        changes = int(spec.get("leaseTransitions") or 0) + (holder != self._identity)
        return self._ask("PUT", LEASE, self._name, body=self._renewed(lease, changes)) is not None

    def release(self) -> None:
        """Leave the lease without a holder, if it is this process's."""
        try:
            lease = self._ask("GET", LEASE, self._name)
            if lease and lease["spec"].get("holderIdentity") == self._identity:
                lease["spec"]["holderIdentity"] = ""
                self._ask("PUT", LEASE, self._name, body=lease)
        except Exception:  # noqa: S110  (it expires by itself)
            pass
        self._api.close()

    def _has_expired(self, spec: dict[str, Any]) -> bool:
        now = self._clock()
        seen = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        return now - self._seen_at > DURATION_SECONDS

    def _renewed(self, lease: dict[str, Any], changes: int) -> dict[str, Any]:
        """Return the lease as held by this process since now, in the version that was read."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = lease.get("spec") or {}
        is_ours = spec.get("holderIdentity") == self._identity
        metadata = lease.get("metadata") or {
            "name": self._name,
            "namespace": self._namespace,
            "labels": {"app.kubernetes.io/name": MANAGED_BY},
        }
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": DURATION_SECONDS,
                "acquireTime": spec.get("acquireTime") if is_ours else now,
                "renewTime": now,
                "leaseTransitions": changes,
            },
        }

    def _ask(
        self, method: str, path: str, name: str = "", *, body: dict[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Return the object; None if it does not exist, or has changed or been created meanwhile.

        Raises:
            LauncherUnavailable: the API server does not answer, or does not allow it.
        """
        try:
            answer = self._api.request(method, path, name, timeout=TIMEOUT, body=body)
            found: dict[str, Any] = json.loads(answer.data)
        except ApiException as error:
            if error.status in (404, 409):
                return None
            raise unavailable(error) from error
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise no_answer(error) from error
        return found
