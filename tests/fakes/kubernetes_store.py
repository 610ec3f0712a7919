"""The objects of a fake Kubernetes cluster, and the verbs of its API server on them, without HTTP.

It behaves like a real API server (Kubernetes 1.31 and newer): it refuses objects that do not fit
the schema or have no valid name, tells 409 from 404, selects by label, and keeps the versions that
watches need.
"""

import itertools
import math
import re
import threading
import time
from bisect import bisect_right
from copy import deepcopy
from datetime import UTC, datetime
from operator import itemgetter

import kubernetes_validate

from tests.fakes.indexed_jobs import as_before_indexed_jobs, check_indexed

OLDEST_VERSION = "1.29"
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-\w.]*[A-Za-z0-9])?", re.A)
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
KINDS = {
    "jobs": ("batch/v1", "Job"),
    "pods": ("v1", "Pod"),
    "nodes": ("v1", "Node"),
    "events": ("v1", "Event"),
    "leases": ("coordination.k8s.io/v1", "Lease"),
    "services": ("v1", "Service"),
    "persistentvolumes": ("v1", "PersistentVolume"),
    "persistentvolumeclaims": ("v1", "PersistentVolumeClaim"),
    "workloads": ("kueue.x-k8s.io/v1beta2", "Workload"),
}


class Refused(Exception):
    """An error answer: an object of kind Status, in the API server's own words."""

    def __init__(self, code, reason, message):
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        }


class ObjectStore:
    """Objects, versions and watch events.

    The request handlers call `create`, `read`, `listing`, `delete` and `check_version` with
    `changed` held.

    Attributes:
        changed: the condition that guards the store; notified on every change.
        objects: by resource, then by (namespace, name).
        invalid: why request bodies were refused; no test sends an invalid body on purpose.
        knows_indexed_jobs: whether it is Kubernetes 1.22 or newer; an older one drops the field.
        validates: whether created objects are checked against the schemas, which is slow.
        pods_end_slowly: whether a deleted pod stays until `vanish` removes it.
        most_events: how many events are kept for watches; None: all. A real API server keeps those
            of some minutes.
    """

    def __init__(self):
        self.changed = threading.Condition()
        self.objects = {resource: {} for resource in KINDS}
        self.invalid = []
        self.knows_indexed_jobs = True
        self.validates = True
        self.pods_end_slowly = False
        self.versions = itertools.count(1000)
        self.most_events = None
        self._events = []  # (version, resource, type, object), the oldest first
        self._latest = {}  # by resource: the version of its last change
        self._last_version = self._oldest_version = next(self.versions)
        self._watches_cut = 0
        self._silent_from = math.inf  # watches deliver no event from this version on

    def create(self, resource, namespace, body, *, is_dry_run=False):
        if self.validates:
            self._validate(resource, namespace, body)
        if not self.knows_indexed_jobs:
            body = as_before_indexed_jobs(body)
        name = body["metadata"]["name"]
        if (namespace, name) in self.objects[resource]:
            raise Refused(409, "AlreadyExists", f'{_full(resource)} "{name}" already exists')
        job = deepcopy(body)
        metadata = job["metadata"]
        metadata["namespace"] = namespace
        metadata["uid"] = f"job-uid-{next(self.versions)}"
        metadata["creationTimestamp"] = now()
        owner = {
            "job-name": name,
            "controller-uid": metadata["uid"],
            "batch.kubernetes.io/job-name": name,
            "batch.kubernetes.io/controller-uid": metadata["uid"],
        }
        template = job["spec"]["template"].setdefault("metadata", {})
        template["labels"] = template.get("labels", {}) | owner
        if is_dry_run:  # Kubernetes documentation, API Concepts, Dry-run
            return job
        return self.store(resource, (namespace, name), job, "ADDED")

    def create_lease(self, namespace, body):
        kubernetes_validate.validate(body, kubernetes_validate.latest_version(), strict=True)
        name = body["metadata"]["name"]
        if (namespace, name) in self.objects["leases"]:
            raise Refused(409, "AlreadyExists", f'leases.coordination.k8s.io "{name}" exists')
        return self.store("leases", (namespace, name), body, "ADDED")

    def update_lease(self, namespace, name, body):
        """Replace a lease, in the version that the client has read."""
        kubernetes_validate.validate(body, kubernetes_validate.latest_version(), strict=True)
        current = self.read("leases", namespace, name)["metadata"]["resourceVersion"]
        if body["metadata"].get("resourceVersion") != current:
            message = (
                "the object has been modified; please apply your changes to the latest version"
            )
            raise Refused(409, "Conflict", f"Operation cannot be fulfilled: {message}")
        return self.store("leases", (namespace, name), body, "MODIFIED")

    def read(self, resource, namespace, name):
        found = self.objects[resource].get((namespace, name))
        if found is None:
            raise Refused(404, "NotFound", f'{_full(resource)} "{name}" not found')
        return found

    def listing(self, resource, namespace, selector, limit, first=0):
        items = [
            body
            for (of_namespace, _), body in sorted(
                self.objects[resource].items(), key=lambda item: str(item[0])
            )
            if of_namespace == namespace and _is_selected(body, selector)
        ]
        version, kind = KINDS[resource]
        metadata = {"resourceVersion": str(self._last_version)}
        items = items[first:]
        if limit and len(items) > limit:
            metadata |= {"remainingItemCount": len(items) - limit, "continue": str(first + limit)}
            items = items[:limit]
        return {
            "apiVersion": version,
            "kind": f"{kind}List",
            "metadata": metadata,
            # A real API server omits kind and apiVersion from the items of a list.
            "items": [
                {k: v for k, v in body.items() if k not in ("kind", "apiVersion")} for body in items
            ],
        }

    def delete(self, resource, namespace, name, propagation):
        self.read(resource, namespace, name)
        self.delete_job((namespace, name), propagation)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}

    def check_version(self, resource, version):
        """Refuse a list at a version that the cache of these objects has not reached."""
        current = self._latest.get(resource, 0)
        if version > current:
            message = f"Timeout: Too large resource version: {version}, current: {current}"
            raise Refused(504, "Timeout", message)

    def events(self, resource, namespace, selector, version, seconds, stopped):
        """Yield the events of a watch as they happen, and None if its connection is to be cut."""
        deadline = time.monotonic() + seconds
        seen, cuts = version, self._watches_cut
        while True:
            with self.changed:
                while (
                    not (self._events and self._events[-1][0] > seen)
                    and seen >= self._oldest_version
                    and cuts == self._watches_cut
                    and not stopped.is_set()
                ):
                    if not self.changed.wait(deadline - time.monotonic()):
                        return
                if cuts != self._watches_cut or stopped.is_set():
                    yield None
                    return
                first = bisect_right(self._events, seen, key=itemgetter(0))
                fresh, oldest = self._events[first:], self._oldest_version
            if seen < oldest:
                message = f"too old resource version: {seen} ({oldest})"
                yield {"type": "ERROR", "object": Refused(410, "Expired", message).status}
                return
            seen = max(seen, fresh[-1][0]) if fresh else seen
            for at, of_resource, kind, body in fresh:
                is_wanted = (
                    of_resource == resource and body["metadata"].get("namespace") == namespace
                )
                if at < self._silent_from and is_wanted and _is_selected(body, selector):
                    yield {"type": kind, "object": body}

    def expire_versions(self):
        """Drop old versions, as etcd's compaction does: their watches get 410 Gone."""
        with self.changed:
            self._oldest_version = self._last_version = next(self.versions)
            self.changed.notify_all()

    def silence_watches(self):
        """Deliver no more events to open watches, as if the network between had died silently."""
        with self.changed:
            self._silent_from = next(self.versions)
            self.changed.notify_all()

    def cut_watches(self):
        """Cut the connection of every open watch."""
        with self.changed:
            self._watches_cut += 1
            self.changed.notify_all()

    def store(self, resource, key, body, kind):
        """Store an object under a new version, and return it; `kind` is the watch event's type."""
        stored = deepcopy(body)
        version, name = KINDS[resource]
        stored |= {"apiVersion": version, "kind": name}
        self._last_version = next(self.versions)
        stored["metadata"].setdefault("creationTimestamp", now())
        stored["metadata"]["resourceVersion"] = str(self._last_version)
        if kind == "DELETED":
            self.objects[resource].pop(key, None)
        else:
            self.objects[resource][key] = stored
        self._events.append((self._last_version, resource, kind, stored))
        self._latest[resource] = self._last_version
        if self.most_events and len(self._events) > 2 * self.most_events:
            self._oldest_version = self._events[-self.most_events - 1][0]
            del self._events[: -self.most_events]
        self.changed.notify_all()
        return stored

    def delete_job(self, key, propagation):
        """Delete a Job; batch/v1 orphans its pods unless `propagation` says otherwise."""
        job = self.objects["jobs"][key]
        owned = [
            pod
            for pod, body in self.objects["pods"].items()
            if any(o["uid"] == job["metadata"]["uid"] for o in body["metadata"]["ownerReferences"])
        ]
        if propagation == "Foreground" and owned:
            job["metadata"]["deletionTimestamp"] = now()
            self.store("jobs", key, job, "MODIFIED")
            return
        self.store("jobs", key, job, "DELETED")
        for pod in owned if propagation == "Background" else ():
            self.delete_pod(pod)

    def delete_pod(self, key):
        """Delete a pod, or only mark it as deleted if pods with a node end slowly."""
        pod = self.objects["pods"][key]
        if self.pods_end_slowly and pod["spec"].get("nodeName"):
            pod["metadata"]["deletionTimestamp"] = now()
            self.store("pods", key, pod, "MODIFIED")
        else:
            self.store("pods", key, pod, "DELETED")

    def _validate(self, resource, namespace, body):
        """Refuse what a real API server refuses, and record why in `invalid`."""
        try:
            for version in (OLDEST_VERSION, kubernetes_validate.latest_version()):
                kubernetes_validate.validate(body, version, strict=True)
            _check_names(namespace, body)
            check_indexed(body)
        except (kubernetes_validate.ValidationError, AssertionError) as error:
            self.invalid.append(str(error))
            message = f'{_full(resource)} "{body["metadata"].get("name")}" is invalid: {error}'
            raise Refused(422, "Invalid", message) from error


def now():
    """Return the current time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _check_names(namespace, body):
    """Check what the schemas do not: names, labels and mount paths."""
    metadata, template = body["metadata"], body["spec"]["template"]
    name = metadata["name"]
    assert DNS_LABEL.fullmatch(name), f"metadata.name: {name!r}"
    assert len(name) <= 63, f"metadata.name: {name!r} is too long for its pods' label"
    assert metadata.get("namespace", namespace) == namespace, "metadata.namespace: another one"
    for labels in (metadata.get("labels", {}), template.get("metadata", {}).get("labels", {})):
        for key, value in labels.items():
            assert LABEL_KEY.fullmatch(key), f"metadata.labels: {key!r}"
            assert LABEL_VALUE.fullmatch(value), f"metadata.labels: {value!r}"
            assert len(value) <= 63, f"metadata.labels: {value!r}"
    for container in template["spec"]["containers"]:
        assert container["image"], "image: Required value"
        for mount in container.get("volumeMounts", []):
            assert ":" not in mount["mountPath"], f"mountPath: {mount['mountPath']!r}"
            assert not {"..", ""} & set(mount.get("subPath", "x").split("/")), "subPath"


def _is_selected(body, selector):
    """Return whether a label selector, `a=b,c=d` or `a in (b,c)`, selects an object."""
    labels = body["metadata"].get("labels", {})
    if among := re.fullmatch(r"(\S+) in \((.*)\)", selector):
        return labels.get(among[1]) in among[2].split(",")
    terms = [term.partition("=")[::2] for term in selector.split(",") if term]
    return all(labels.get(key) == value for key, value in terms)


def _full(resource):
    return "jobs.batch" if resource == "jobs" else resource
