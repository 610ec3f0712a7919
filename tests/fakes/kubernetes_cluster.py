"""A fake Kubernetes cluster, whose controllers and kubelet are played by the tests.

`run`, `finish`, `wait_in_pod` and so on write the status that a real cluster would write.
"""

import re
from collections import Counter
from copy import deepcopy
from datetime import datetime, timedelta, timezone

from tests.fakes.indexed_jobs import INDEX, is_indexed, pod_of_index
from tests.fakes.kubernetes_store import ObjectStore, Refused, now

NODE_ZONE = timezone(timedelta(hours=9))


class Cluster(ObjectStore):
    """The stored objects, what controllers do to them, and the logs of pods.

    Attributes:
        serves_metrics: whether metrics.k8s.io is served.
    """

    def __init__(self):
        super().__init__()
        self.serves_metrics = False
        self._measured = {}  # by pod: its usage, as quantities
        self._logs = {}  # by pod: (time, line) pairs; the last line may be incomplete
        self._logs_cut = 0
        self._pods_made = Counter()  # by Job

    def jobs(self):
        """Return every Job by name."""
        with self.changed:
            return {key[1]: deepcopy(job) for key, job in self.objects["jobs"].items()}

    def put(self, resource, body):
        """Create an object, or replace it."""
        with self.changed:
            metadata = body["metadata"]
            key = (metadata.get("namespace"), metadata["name"])
            kind = "MODIFIED" if key in self.objects[resource] else "ADDED"
            self.store(resource, key, body, kind)

    def add_node(self, name, *, ready):
        """Add a node."""
        status = {"conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}]}
        self.put("nodes", {"metadata": {"name": name}, "status": status})

    def add_pod(self, job_name, node=None, created=None, index=None):
        """Create the next pod of a Job, and return its name; `index` is that of an Indexed Job."""
        job = self.jobs()[job_name]
        assert not job["spec"].get("suspend"), "the Job controller makes no pod for it"
        number = self._pods_made[job_name]  # no name is used again, as of the real ones
        self._pods_made[job_name] += 1
        name = f"{job_name}-{number}xyzw" if index is None else f"{job_name}-{index}-{number}xyzw"
        template = job["spec"]["template"]
        metadata, spec = template["metadata"], template["spec"]
        if index is not None:
            assert is_indexed(job), "its pods have no index"
            metadata, spec = pod_of_index(job, template, index)
        metadata = metadata | {
            "name": name,
            "namespace": job["metadata"]["namespace"],
            "uid": f"uid-of-{name}",
            "ownerReferences": [
                {"kind": "Job", "name": job_name, "uid": job["metadata"]["uid"], "controller": True}
            ],
            "creationTimestamp": created or now(),
        }
        spec = spec | ({"nodeName": node} if node else {})
        self.put("pods", {"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}})
        return name

    def set_pod(self, name, phase, state=None, **status):
        """Write a pod's status as the kubelet does; `state` is that of the trainer's container."""
        (pod,) = (deepcopy(pod) for key, pod in self.objects["pods"].items() if key[1] == name)
        pod["status"] = {"phase": phase} | status
        if state is not None:
            trainer = pod["spec"]["containers"][0]
            pod["status"]["containerStatuses"] = [
                {"name": trainer["name"], "image": trainer["image"], "state": state}
            ]
        self.put("pods", pod)

    def set_job(self, name, **status):
        """Update a Job's status as the Job controller does; other fields stay."""
        job = self.jobs()[name]
        job["status"] = job.get("status", {}) | status
        self.put("jobs", job)

    def run(self, job_name, *, node="node-1", ready=True, index=None):
        """Start the trainer in a new pod of the Job, and return the pod's name."""
        pod = self.add_pod(job_name, node=node, index=index)
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        state = {"running": {"startedAt": now()}}
        self.set_pod(pod, "Running", state, conditions=[condition])
        self.set_job(job_name, active=1, ready=1, startTime=now())
        return pod

    def run_gang(self, job_name):
        """Start the trainer in a pod for each index of an Indexed Job; return the pods' names."""
        nodes = self.jobs()[job_name]["spec"]["completions"]
        pods = [self.run(job_name, index=index) for index in range(nodes)]
        self.set_job(job_name, active=nodes, ready=nodes)
        return pods

    def measure(self, pod, cpu, memory):
        """Measure what a pod uses, as metrics-server does; `cpu` and `memory` are quantities."""
        self.serves_metrics = True
        self._measured[pod] = {"cpu": cpu, "memory": memory}

    def pod_metrics(self, namespace, selector):
        """Return a PodMetricsList (Kubernetes documentation, Resource metrics pipeline)."""
        pods = self.listing("pods", namespace, selector, 0)["items"]
        items = [
            {
                "metadata": {
                    key: pod["metadata"].get(key) for key in ("name", "namespace", "labels")
                },
                "timestamp": now(),
                "window": "15s",
                "containers": [
                    {"name": one["name"], "usage": self._measured[pod["metadata"]["name"]]}
                    for one in pod["spec"]["containers"]
                ],
            }
            for pod in pods
            if pod["metadata"]["name"] in self._measured
        ]
        kind = {"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}}
        return kind | {"items": items}

    def wait_in_pod(self, job_name, reason, message):
        """Add a pod to the Job whose container waits for a reason that the kubelet gives."""
        pod = self.add_pod(job_name)
        self.set_pod(pod, "Pending", {"waiting": {"reason": reason, "message": message}})
        self.set_job(job_name, active=1, startTime=now())

    def owner_of(self, pod):
        """Return the name of the Job of a pod."""
        (body,) = (body for key, body in self.objects["pods"].items() if key[1] == pod)
        return body["metadata"]["ownerReferences"][0]["name"]

    def finish(self, pod, exit_code, last_words="", reason=None):
        """End the trainer, and its Job with it; `last_words` are the termination message.

        An Indexed Job has succeeded once each of its indexes has; it fails with its first pod, and
        the Job controller then deletes the others (Kubernetes documentation, Jobs).
        """
        job_name = self.owner_of(pod)
        ended = {"exitCode": exit_code, "finishedAt": now(), "startedAt": now()}
        ended |= {"reason": reason or ("Error" if exit_code else "Completed")}
        ended |= {"message": last_words} if last_words else {}
        self.set_pod(pod, "Failed" if exit_code else "Succeeded", {"terminated": ended})
        at = {"status": "True", "lastTransitionTime": now()}
        if is_indexed(self.jobs()[job_name]) and not self._has_ended_gang(job_name, exit_code):
            return
        if exit_code == 0:
            conditions = [at | {"type": "SuccessCriteriaMet"}, at | {"type": "Complete"}]
            end = {"succeeded": 1, "completionTime": now()}
        else:
            why = {"reason": "BackoffLimitExceeded", "message": "Job has reached the limit"}
            conditions = [at | why | {"type": "FailureTarget"}, at | why | {"type": "Failed"}]
            end = {"failed": 1}
        self.set_job(job_name, active=0, ready=0, conditions=conditions, **end)

    def _has_ended_gang(self, job_name, exit_code):
        """Return whether an Indexed Job has ended; if a pod has failed, delete the active ones."""
        job = self.jobs()[job_name]
        assert job["spec"]["backoffLimit"] == 0, "its failed pods would be replaced"
        pods = [
            (key, pod)
            for key, pod in self.objects["pods"].items()
            if pod["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
        ]
        if exit_code:
            with self.changed:
                for key, pod in pods:
                    if pod["status"]["phase"] not in ("Succeeded", "Failed"):
                        self.delete_pod(key)
            return True
        done = {
            pod["metadata"]["annotations"][INDEX]
            for _, pod in pods
            if pod["status"]["phase"] == "Succeeded"
        }
        return len(done) == job["spec"]["completions"]

    def suspend(self, job_name):
        """Suspend a Job as Kueue does; the Job controller deletes its pods that have not ended.

        Kubernetes documentation, Jobs, Suspending a Job; `startTime` is cleared since 1.35.
        """
        job = self.jobs()[job_name]
        job["spec"]["suspend"] = True
        why = {"reason": "JobSuspended", "message": "Job suspended", "lastTransitionTime": now()}
        status = job.get("status", {}) | {"active": 0, "ready": 0}
        status.pop("startTime", None)
        job["status"] = status | {"conditions": [why | {"type": "Suspended", "status": "True"}]}
        self.put("jobs", job)
        with self.changed:
            for key, pod in list(self.objects["pods"].items()):
                owner = pod["metadata"]["ownerReferences"][0]["uid"]
                is_active = pod["status"]["phase"] not in ("Succeeded", "Failed")
                if owner == job["metadata"]["uid"] and is_active:
                    self.delete_pod(key)

    def resume(self, job_name):
        """Resume a suspended Job; the Job controller may make its next pod."""
        job = self.jobs()[job_name]
        job["spec"]["suspend"] = False
        why = {"reason": "JobResumed", "message": "Job resumed", "lastTransitionTime": now()}
        conditions = [why | {"type": "Suspended", "status": "False"}]
        job["status"] = job.get("status", {}) | {"startTime": now(), "conditions": conditions}
        self.put("jobs", job)

    def stop_pod(self, pod, exit_code=143):
        """End a pod that is being deleted, whose trainer exits on SIGTERM; its Job counts it.

        Kubernetes documentation, Jobs, Pod failure policy: the first rule that matches decides.
        Those of this product match exit codes and conditions; this pod has no condition.
        """
        job_name = self.owner_of(pod)
        ended = {"exitCode": exit_code, "finishedAt": now(), "startedAt": now(), "reason": "Error"}
        self.set_pod(pod, "Failed", {"terminated": ended})
        self.vanish(pod)
        job = self.jobs()[job_name]
        rules = job["spec"]["podFailurePolicy"]["rules"]
        matching = (r for r in rules if exit_code in r.get("onExitCodes", {}).get("values", ()))
        action = next(matching, {"action": "Count"})["action"]
        failed = job["status"].get("failed", 0) + (action != "Ignore")
        self.set_job(job_name, failed=failed)
        if action == "FailJob" or failed > job["spec"]["backoffLimit"]:
            why = {"reason": "BackoffLimitExceeded", "message": "Job has reached the limit"}
            at = {"status": "True", "lastTransitionTime": now()}
            conditions = [at | why | {"type": "FailureTarget"}, at | why | {"type": "Failed"}]
            self.set_job(job_name, conditions=conditions)

    def warn(self, resource, name, reason, message):
        """Emit a Warning event about an object, as controllers and the kubelet do."""
        (about,) = (o for key, o in self.objects[resource].items() if key[1] == name)
        metadata = {"name": f"{name}.{next(self.versions):x}", "namespace": "default"}
        involved = {"kind": about["kind"], "name": name, "uid": about["metadata"].get("uid")}
        event = {"metadata": metadata, "involvedObject": involved, "type": "Warning"}
        self.put("events", event | {"reason": reason, "message": message, "lastTimestamp": now()})

    def vanish(self, pod):
        """Remove a deleted pod that was slow to end, and its log with it."""
        with self.changed:
            (key,) = (key for key in self.objects["pods"] if key[1] == pod)
            self.store("pods", key, self.objects["pods"][key], "DELETED")

    def evict(self, pod):
        """Delete a pod but not its Job, as a drain or a taint does."""
        with self.changed:
            (key,) = (key for key in self.objects["pods"] if key[1] == pod)
            self.delete_pod(key)

    def remove_job(self, job_name):
        """Delete a Job with its pods, as its time-to-live or a person does."""
        with self.changed:
            (key,) = (key for key in self.objects["jobs"] if key[1] == job_name)
            self.delete_job(key, "Background")

    # Logs

    def write_log(self, pod, text, at=None):
        """Append what the trainer prints, at the time `at` or now."""
        with self.changed:
            lines = self._logs.setdefault(pod, [])
            for line in re.findall(rb"[^\n]*\n|[^\n]+", text.encode()):
                if lines and not lines[-1][1].endswith(b"\n"):
                    lines[-1] = (lines[-1][0], lines[-1][1] + line)
                else:
                    lines.append((at or datetime.now(NODE_ZONE), line))
            self.changed.notify_all()

    def cut_logs(self):
        """Cut every connection that follows a log, in the middle of a line."""
        with self.changed:
            self._logs_cut += 1
            self.changed.notify_all()

    def log(self, namespace, name, query):
        """Return the log of a pod as it is now."""
        self._check_log(namespace, name)
        return b"".join(_lines(self._logs.get(name, []), query)).decode()

    def follow_log(self, namespace, name, query, stopped):
        """Yield the log of a pod until its container ends, and None if the log is cut."""
        sent, cuts = 0, self._logs_cut
        while True:
            with self.changed:
                fresh = b"".join(_lines(self._logs.get(name, []), query))[sent:]
                pod = self.objects["pods"].get((namespace, name))
                container = ((pod or {}).get("status", {}).get("containerStatuses") or [{}])[0]
                has_ended = pod is None or "terminated" in container.get("state", {})
                is_cut = cuts != self._logs_cut or stopped.is_set()
                if not (fresh or has_ended or is_cut):
                    self.changed.wait(1)
                    continue
            if is_cut:
                yield fresh[: len(fresh) // 2]
                yield None
                return
            if fresh:
                sent += len(fresh)
                yield fresh
            elif has_ended:
                return

    def _check_log(self, namespace, name):
        pod = self.read("pods", namespace, name)
        container = (pod["status"].get("containerStatuses") or [{"state": {"waiting": {}}}])[0]
        if "waiting" in container["state"]:
            raise Refused(
                400,
                "BadRequest",
                f'container "{pod["spec"]["containers"][0]["name"]}" in pod "{name}" is waiting to '
                "start: ContainerCreating",
            )


def _lines(lines, query):
    """Yield the requested lines of a log as the kubelet does, with times in the node's zone."""
    since = query.get("sinceTime")
    for at, line in lines:
        if since and at < datetime.fromisoformat(since):
            continue
        stamp = f"{at:%Y-%m-%dT%H:%M:%S.%f}000+09:00 ".encode()
        yield stamp + line if query.get("timestamps") in ("true", "True") else line
