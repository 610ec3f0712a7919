"""A fake Kueue, whose decisions are made by the tests.

As its documentation describes it (Workload, Run A Kubernetes Job, Troubleshooting Jobs; API
reference of kueue.x-k8s.io): its webhook suspends a Job that names a queue, it makes a Workload for
it, and resumes the Job once that is admitted.
"""

from copy import deepcopy

from tests.fakes.kubernetes_store import now

QUEUE = "kueue.x-k8s.io/queue-name"
PRIORITY = "kueue.x-k8s.io/priority-class"
NO_QUOTA = (
    "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor "
    "default-flavor, 1 more needed"
)


class FakeKueue:
    """The Kueue of a fake cluster.

    Attributes:
        version: that of its API; v1beta1 until Kueue 0.19, v1beta2 since.
        priorities: the value of each WorkloadPriorityClass.
    """

    def __init__(self, cluster, version="v1beta2", **priorities):
        self.version, self.priorities = version, priorities
        self._cluster = cluster
        cluster.kueue = self

    def group(self):
        """Return what is served of its API."""
        served = {"groupVersion": f"kueue.x-k8s.io/{self.version}", "version": self.version}
        common = {"kind": "APIGroup", "apiVersion": "v1", "name": "kueue.x-k8s.io"}
        return common | {"versions": [served], "preferredVersion": served}

    def take_up(self, job):
        """Suspend a new Job that names a queue, and make its Workload; return the Job."""
        metadata = job["metadata"]
        queue = metadata["labels"].get(QUEUE)
        if queue is None:
            return job
        if not job["spec"].get("suspend"):
            job = deepcopy(job)
            job["spec"]["suspend"] = True
            self._cluster.put("jobs", job)
        owner = {"apiVersion": "batch/v1", "kind": "Job", "controller": True}
        owner |= {"name": metadata["name"], "uid": metadata["uid"]}
        self.add(
            f"job-{metadata['name']}-abc12",
            queue,
            priority=self.priorities.get(metadata["labels"].get(PRIORITY), 0),
            owner=owner,
            namespace=metadata["namespace"],
            template=job["spec"]["template"],
            count=job["spec"].get("parallelism", 1),
        )
        return job

    def add(
        self, name, queue, *, priority=0, owner=None, namespace="default", template=None, count=1
    ):
        """Add a Workload: without an `owner`, one of somebody else.

        It has quota for all of its `count` pods, or for none.
        """
        foreign = {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": name, "uid": f"uid-{name}"}
        owner = owner or foreign
        metadata = {"name": name, "namespace": namespace, "uid": f"workload-{name}"}
        metadata |= {"labels": {"kueue.x-k8s.io/job-uid": owner["uid"]}, "ownerReferences": [owner]}
        pods = [{"name": "main", "count": count, "template": template or {}}]
        spec = {"queueName": queue, "priority": priority, "active": True, "podSets": pods}
        self._cluster.put("workloads", {"metadata": metadata, "spec": spec, "status": {}})

    def wait(self, job_name, message=NO_QUOTA, reason="Pending"):
        """Leave a Job in its queue, for a reason."""
        self._set(job_name, QuotaReserved=("False", reason, message))

    def reserve(self, job_name, **checks):
        """Reserve quota for a Job, which waits for admission checks."""
        reserved = "True", "QuotaReserved", "Quota reserved in ClusterQueue cluster-queue"
        states = [
            {"name": name, "state": "Pending", "message": message, "lastTransitionTime": now()}
            for name, message in checks.items()
        ]
        self._set(job_name, states, QuotaReserved=reserved)

    def admit(self, job_name):
        """Admit a Job, and resume it."""
        by = "by ClusterQueue cluster-queue"
        again = "False", "QuotaReserved", "Previously: it was evicted"
        known = self._workload(job_name)["status"].get("conditions", [])
        before = {"Evicted", "Preempted"} & {each["type"] for each in known}
        self._set(
            job_name,
            QuotaReserved=("True", "QuotaReserved", f"Quota reserved {by}"),
            Admitted=("True", "Admitted", f"The workload is admitted {by}"),
            **dict.fromkeys(before, again),
        )
        self._cluster.resume(job_name)

    def preempt(self, job_name, by="another"):
        """Take the place of a Job for a Workload of a higher priority, and suspend it."""
        message = (
            f"Preempted to accommodate a workload (UID: {by}, JobUID: {by}) due to prioritization "
            "in the ClusterQueue"
        )
        self._set(
            job_name,
            Evicted=("True", "Preempted", message),
            Preempted=("True", "InClusterQueue", message),
            QuotaReserved=("False", "Pending", message),
            Admitted=("False", "NoReservation", "The workload has no reservation"),
        )
        self._cluster.suspend(job_name)

    def evict(self, job_name, reason, message):
        """Take back the place of a Job for another reason."""
        self._set(
            job_name,
            Evicted=("True", reason, message),
            QuotaReserved=("False", "Pending", message),
            Admitted=("False", "NoReservation", "The workload has no reservation"),
        )
        self._cluster.suspend(job_name)

    def deactivate(self, job_name, message):
        """Never admit a Job again by itself."""
        workload = self._workload(job_name)
        workload["spec"]["active"] = False
        self._cluster.put("workloads", workload)
        self.evict(job_name, "Deactivated", message)

    def _workload(self, job_name):
        (found,) = (
            deepcopy(workload)
            for workload in self._cluster.objects["workloads"].values()
            if workload["metadata"]["ownerReferences"][0]["name"] == job_name
        )
        return found

    def _set(self, job_name, checks=(), **conditions):
        workload = self._workload(job_name)
        known = {one["type"]: one for one in workload["status"].get("conditions", [])}
        for kind, (status, reason, message) in conditions.items():
            about = {"type": kind, "status": status, "reason": reason, "message": message}
            known[kind] = about | {"lastTransitionTime": now()}
        workload["status"] = {"conditions": list(known.values()), "admissionChecks": list(checks)}
        self._cluster.put("workloads", workload)
