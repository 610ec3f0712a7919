"""What a Kubernetes API server keeps and does, without the HTTP; tests play its controllers.

It does what a real one does (Kubernetes 1.31 and newer): refuses what does not fit the schema or
has no valid name, tells 409 from 404, selects by label, keeps versions for watches. The controllers
and the kubelet are the tests themselves: `run`, `finish`, `wait_in_pod` and so on write the status
that a real cluster would.
"""

import itertools
import re
import threading
import time
from copy import deepcopy
from datetime import UTC, datetime, timedelta, timezone

import kubernetes_validate

NODE_ZONE = timezone(timedelta(hours=9))
OLDEST_VERSION = "1.29"
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-\w.]*[A-Za-z0-9])?", re.A)
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
KINDS = {
    "jobs": ("batch/v1", "Job"),
    "pods": ("v1", "Pod"),
    "nodes": ("v1", "Node"),
    "events": ("v1", "Event"),
}


class Refused(Exception):
    """An answer of kind Status with the code of an error, in the API server's own words."""

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


class Cluster:
    """The objects, the verbs of the API on them, and what controllers do."""

    def __init__(self):
        self.invalid = []  # why a body was refused: no test sends such a one on purpose
        self._objects = {resource: {} for resource in KINDS}
        self.pods_end_slowly = False  # a deleted pod stays until `vanish`
        self._logs = {}  # by pod: (time, line) of each, the last perhaps without its end
        self._logs_are_cut = 0
        self._events = []  # (version, resource, type, object)
        self._version = itertools.count(1000)
        self._last_version = self._oldest_version = next(self._version)
        self._watches_are_cut = 0
        self._hushed = None  # watches tell no event from this one on
        self._changed = threading.Condition()

    # What the cluster's users and controllers do

    def jobs(self):
        """Give every Job by name."""
        with self._changed:
            return {key[1]: deepcopy(job) for key, job in self._objects["jobs"].items()}

    def put(self, resource, body):
        """Create an object, or replace it."""
        with self._changed:
            metadata = body["metadata"]
            key = (metadata.get("namespace"), metadata["name"])
            kind = "MODIFIED" if key in self._objects[resource] else "ADDED"
            self._store(resource, key, body, kind)

    def add_node(self, name, *, ready):
        """Have a node."""
        status = {"conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}]}
        self.put("nodes", {"metadata": {"name": name}, "status": status})

    def add_pod(self, job_name, node=None, created=None):
        """Make the next pod of a Job, and return its name."""
        job = self.jobs()[job_name]
        number = sum(name.startswith(f"{job_name}-") for _, name in self._objects["pods"])
        name = f"{job_name}-{number}xyzw"
        metadata = job["spec"]["template"]["metadata"] | {
            "name": name,
            "namespace": job["metadata"]["namespace"],
            "uid": f"uid-of-{name}",
            "ownerReferences": [
                {"kind": "Job", "name": job_name, "uid": job["metadata"]["uid"], "controller": True}
            ],
            "creationTimestamp": created or _now(),
        }
        spec = job["spec"]["template"]["spec"] | ({"nodeName": node} if node else {})
        self.put("pods", {"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}})
        return name

    def set_pod(self, name, phase, state=None, **status):
        """Let the kubelet write a pod's status; `state` is the trainer's container's."""
        (pod,) = (deepcopy(pod) for key, pod in self._objects["pods"].items() if key[1] == name)
        pod["status"] = {"phase": phase} | status
        if state is not None:
            trainer = pod["spec"]["containers"][0]
            pod["status"]["containerStatuses"] = [
                {"name": trainer["name"], "image": trainer["image"], "state": state}
            ]
        self.put("pods", pod)

    def set_job(self, name, **status):
        """Let the Job controller write a Job's status; what was there before stays."""
        job = self.jobs()[name]
        job["status"] = job.get("status", {}) | status
        self.put("jobs", job)

    def run(self, job_name, *, node="node-1", ready=True):
        """Let a pod of the Job run its trainer; return the pod's name."""
        pod = self.add_pod(job_name, node=node)
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        state = {"running": {"startedAt": _now()}}
        self.set_pod(pod, "Running", state, conditions=[condition])
        self.set_job(job_name, active=1, ready=1, startTime=_now())
        return pod

    def wait_in_pod(self, job_name, reason, message):
        """Let a pod of the Job wait, for the reason that the kubelet gives."""
        pod = self.add_pod(job_name)
        self.set_pod(pod, "Pending", {"waiting": {"reason": reason, "message": message}})
        self.set_job(job_name, active=1, startTime=_now())

    def finish(self, pod, exit_code, last_words="", reason=None):
        """Let the trainer end, and its Job with it."""
        job_name = pod.rpartition("-")[0]
        ended = {"exitCode": exit_code, "finishedAt": _now(), "startedAt": _now()}
        ended |= {"reason": reason or ("Error" if exit_code else "Completed")}
        ended |= {"message": last_words} if last_words else {}
        self.set_pod(pod, "Failed" if exit_code else "Succeeded", {"terminated": ended})
        at = {"status": "True", "lastTransitionTime": _now()}
        if exit_code == 0:
            conditions = [at | {"type": "SuccessCriteriaMet"}, at | {"type": "Complete"}]
            end = {"succeeded": 1, "completionTime": _now()}
        else:
            why = {"reason": "BackoffLimitExceeded", "message": "Job has reached the limit"}
            conditions = [at | why | {"type": "FailureTarget"}, at | why | {"type": "Failed"}]
            end = {"failed": 1}
        self.set_job(job_name, active=0, ready=0, conditions=conditions, **end)

    def warn(self, resource, name, reason, message):
        """Tell of trouble with an object, as controllers and the kubelet do."""
        (about,) = (o for key, o in self._objects[resource].items() if key[1] == name)
        metadata = {"name": f"{name}.{next(self._version):x}", "namespace": "default"}
        involved = {"kind": about["kind"], "name": name, "uid": about["metadata"].get("uid")}
        event = {"metadata": metadata, "involvedObject": involved, "type": "Warning"}
        self.put("events", event | {"reason": reason, "message": message, "lastTimestamp": _now()})

    def write_log(self, pod, text, at=None):
        """Let the trainer print, at a time of its own if `at` says so."""
        with self._changed:
            lines = self._logs.setdefault(pod, [])
            for line in re.findall(rb"[^\n]*\n|[^\n]+", text.encode()):
                if lines and not lines[-1][1].endswith(b"\n"):
                    lines[-1] = (lines[-1][0], lines[-1][1] + line)
                else:
                    lines.append((at or datetime.now(NODE_ZONE), line))
            self._changed.notify_all()

    def cut_logs(self):
        """Cut the connection of everybody who follows a log, in the middle of a line."""
        with self._changed:
            self._logs_are_cut += 1
            self._changed.notify_all()

    def vanish(self, pod):
        """Let a pod go that was deleted, and its log with it."""
        with self._changed:
            (key,) = (key for key in self._objects["pods"] if key[1] == pod)
            self._store("pods", key, self._objects["pods"][key], "DELETED")

    def evict(self, pod):
        """Let a pod be deleted while its Job goes on: a drain, or a taint."""
        with self._changed:
            (key,) = (key for key in self._objects["pods"] if key[1] == pod)
            self._end_pod(key)

    def remove_job(self, job_name):
        """Let the Job's time-to-live, or a person, take it with its pods."""
        with self._changed:
            (key,) = (key for key in self._objects["jobs"] if key[1] == job_name)
            self._delete_job(key, "Background")

    def expire_versions(self):
        """Forget the past, as etcd's compaction does: open and new watches of it get 410 Gone."""
        with self._changed:
            self._oldest_version = self._last_version = next(self._version)
            self._changed.notify_all()

    def hush_watches(self):
        """Let open watches tell nothing any more, as if what is between had died."""
        with self._changed:
            self._hushed = len(self._events)
            self._changed.notify_all()

    def cut_watches(self):
        """Cut the connection of every open watch."""
        with self._changed:
            self._watches_are_cut += 1
            self._changed.notify_all()

    # Requests, called by the handlers with the lock held

    def create(self, resource, namespace, body):
        self._check(resource, namespace, body)
        name = body["metadata"]["name"]
        if (namespace, name) in self._objects[resource]:
            raise Refused(409, "AlreadyExists", f'{_full(resource)} "{name}" already exists')
        job = deepcopy(body)
        metadata = job["metadata"]
        metadata["namespace"] = namespace
        metadata["uid"] = f"job-uid-{next(self._version)}"
        metadata["creationTimestamp"] = _now()
        owner = {
            "job-name": name,
            "controller-uid": metadata["uid"],
            "batch.kubernetes.io/job-name": name,
            "batch.kubernetes.io/controller-uid": metadata["uid"],
        }
        template = job["spec"]["template"].setdefault("metadata", {})
        template["labels"] = template.get("labels", {}) | owner
        return self._store(resource, (namespace, name), job, "ADDED")

    def read(self, resource, namespace, name):
        found = self._objects[resource].get((namespace, name))
        if found is None:
            raise Refused(404, "NotFound", f'{_full(resource)} "{name}" not found')
        return found

    def listing(self, resource, namespace, selector, limit, first=0):
        items = [
            one
            for (space, _), one in sorted(self._objects[resource].items(), key=str)
            if space == namespace and _selected(one, selector)
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
            # as a real server does, without kind and apiVersion
            "items": [
                {k: v for k, v in one.items() if k not in ("kind", "apiVersion")} for one in items
            ],
        }

    def delete(self, resource, namespace, name, propagation):
        self.read(resource, namespace, name)
        self._delete_job((namespace, name), propagation)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}

    def log(self, namespace, name, query):
        """Give the log of a pod as it is."""
        self._check_log(namespace, name)
        return b"".join(_lines(self._logs.get(name, []), query)).decode()

    def follow_log(self, namespace, name, query, stopped):
        """Give the log of a pod piece by piece until its container ends; None: the cut."""
        given, cuts = 0, self._logs_are_cut
        while True:
            with self._changed:
                fresh = b"".join(_lines(self._logs.get(name, []), query))[given:]
                pod = self._objects["pods"].get((namespace, name))
                states = ((pod or {}).get("status", {}).get("containerStatuses") or [{}])[0]
                over = pod is None or "terminated" in states.get("state", {})
                cut = cuts != self._logs_are_cut or stopped.is_set()
                if not (fresh or over or cut):
                    self._changed.wait(1)
                    continue
            if cut:
                yield fresh[: len(fresh) // 2]
                yield None
                return
            if fresh:
                given += len(fresh)
                yield fresh
            elif over:
                return

    def _check_log(self, namespace, name):
        pod = self.read("pods", namespace, name)
        states = (pod["status"].get("containerStatuses") or [{"state": {"waiting": {}}}])[0]
        if "waiting" in states["state"]:
            raise Refused(
                400,
                "BadRequest",
                f'container "{pod["spec"]["containers"][0]["name"]}" in pod "{name}" is waiting to '
                "start: ContainerCreating",
            )

    def check_version(self, resource, version):
        """Refuse a list at a version that the cache of these objects has not reached."""
        current = max((at for at, what, *_ in self._events if what == resource), default=0)
        if version > current:
            message = f"Timeout: Too large resource version: {version}, current: {current}"
            raise Refused(504, "Timeout", message)

    def events(self, resource, namespace, selector, version, seconds, stopped):
        """Give the events of a watch as they come; None to cut its connection."""
        deadline = time.monotonic() + seconds
        position, cuts = 0, self._watches_are_cut
        while True:
            with self._changed:
                while (
                    position == len(self._events)
                    and version >= self._oldest_version
                    and cuts == self._watches_are_cut
                    and not stopped.is_set()
                ):
                    if not self._changed.wait(deadline - time.monotonic()):
                        return
                if cuts != self._watches_are_cut or stopped.is_set():
                    yield None
                    return
                fresh, position = self._events[position : self._hushed], len(self._events)
                too_old = version < self._oldest_version
            if too_old:
                message = f"too old resource version: {version} ({self._oldest_version})"
                yield {"type": "ERROR", "object": Refused(410, "Expired", message).status}
                return
            for at, of, kind, changed in fresh:
                wanted = of == resource and changed["metadata"].get("namespace") == namespace
                if at > version and wanted and _selected(changed, selector):
                    yield {"type": kind, "object": changed}

    def _store(self, resource, key, body, kind):
        stored = deepcopy(body)
        version, name = KINDS[resource]
        stored |= {"apiVersion": version, "kind": name}
        self._last_version = next(self._version)
        stored["metadata"].setdefault("creationTimestamp", _now())
        stored["metadata"]["resourceVersion"] = str(self._last_version)
        if kind == "DELETED":
            self._objects[resource].pop(key, None)
        else:
            self._objects[resource][key] = stored
        self._events.append((self._last_version, resource, kind, stored))
        self._changed.notify_all()
        return stored

    def _delete_job(self, key, propagation):
        """Delete a Job. batch/v1 leaves its pods behind unless it is told otherwise."""
        job = self._objects["jobs"][key]
        owned = [
            pod
            for pod, body in self._objects["pods"].items()
            if any(o["uid"] == job["metadata"]["uid"] for o in body["metadata"]["ownerReferences"])
        ]
        if propagation == "Foreground" and owned:
            job["metadata"]["deletionTimestamp"] = _now()
            self._store("jobs", key, job, "MODIFIED")
            return
        self._store("jobs", key, job, "DELETED")
        for pod in owned if propagation == "Background" else ():
            self._end_pod(pod)

    def _end_pod(self, key):
        pod = self._objects["pods"][key]
        if self.pods_end_slowly:
            pod["metadata"]["deletionTimestamp"] = _now()
            self._store("pods", key, pod, "MODIFIED")
        else:
            self._store("pods", key, pod, "DELETED")

    def _check(self, resource, namespace, body):
        """Refuse what a real server refuses; note it down, for no test sends such a body."""
        try:
            for version in (OLDEST_VERSION, kubernetes_validate.latest_version()):
                kubernetes_validate.validate(body, version, strict=True)
            _check_names(namespace, body)
        except (kubernetes_validate.ValidationError, AssertionError) as error:
            self.invalid.append(str(error))
            message = f'{_full(resource)} "{body["metadata"].get("name")}" is invalid: {error}'
            raise Refused(422, "Invalid", message) from error


def _check_names(namespace, body):
    """Check what the schemas leave open: names, labels and mount paths."""
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


def _selected(body, selector):
    """Apply a label selector: of the kind `a=b,c=d`, or of the kind `a in (b,c)`."""
    labels = body["metadata"].get("labels", {})
    if among := re.fullmatch(r"(\S+) in \((.*)\)", selector):
        return labels.get(among[1]) in among[2].split(",")
    terms = [term.partition("=")[::2] for term in selector.split(",") if term]
    return all(labels.get(key) == value for key, value in terms)


def _lines(lines, query):
    """Choose and write the lines of a log as the kubelet does, its times in the node's zone."""
    since = query.get("sinceTime")
    for at, line in lines:
        if since and at < datetime.fromisoformat(since):
            continue
        stamp = f"{at:%Y-%m-%dT%H:%M:%S.%f}000+09:00 ".encode()
        yield stamp + line if query.get("timestamps") in ("true", "True") else line


def _full(resource):
    return "jobs.batch" if resource == "jobs" else resource


def _now():
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
