"""Trouble with Jobs in a real cluster: its diagnosis, and what recovers by itself."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from backend.domain.attempt import Attempt, Diagnosis
from backend.launchers.base import Job, Phase
from backend.launchers.kubernetes.launcher import KubernetesLauncher
from backend.settings import Settings
from tests.e2e.conftest import DATASET, HOST_FOLDER, Images, Node
from tests.e2e.support import Deployment, eventually, kubectl, run

NAMESPACE, FULL_NAMESPACE = "hello-flask-trouble", "hello-flask-trouble-full"
LABEL = "hello-flask/e2e=trouble"
FOLDER = f"{HOST_FOLDER}-trouble"  # on the node
SECONDS = 120
EPOCHS = 1500
EAT_MEMORY = "hoard = []\nwhile True: hoard.append(bytearray(1 << 20))"
SLEEP = "import time; time.sleep(600)"


@dataclass(frozen=True)
class Case:
    """An experiment that fails because of settings, the trainer's program, or its pod's spec."""

    settings: Mapping[str, str] | None = None
    program: str = "pass"
    spec: Mapping[str, Any] | None = None
    phase: Phase = Phase.QUEUED


# By the expected reason of the diagnosis.
CASES = {
    "image_not_pulled": Case({"AE_MODEL_IMAGE_URL": "localhost:5000/never-pushed:1"}),
    "unschedulable_cpu": Case({"JOB_CPU": "1000"}),
    "unschedulable_memory": Case({"JOB_MEMORY": "1000Ti"}),
    "unschedulable_gpu": Case({"JOB_GPU": "100"}),
    "unschedulable_affinity": Case(spec={"nodeSelector": {"hello-flask/no-node": "has-this"}}),
    "unschedulable_volume": Case({"INPUT_PVC": "elsewhere"}),
    "claim_missing": Case({"INPUT_PVC": "missing"}),
    "claim_unbound": Case({"INPUT_PVC": "unbound"}),
    "volume_not_mounted": Case({"INPUT_PVC": "no-folder"}),
    "quota_exceeded": Case({"JOB_NAMESPACE": FULL_NAMESPACE}),
    "out_of_memory": Case({"JOB_MEMORY": "32Mi"}, EAT_MEMORY, phase=Phase.FAILED),
    "deadline_exceeded": Case({"JOB_DEADLINE_SECONDS": "3"}, SLEEP, phase=Phase.FAILED),
}


def volume(claim: str, path: str, kind: str, hostname: str) -> list[dict[str, Any]]:
    """Return a claim of the namespace and the volume that it is bound to."""
    common = {"accessModes": ["ReadWriteMany"], "storageClassName": "hello-flask-trouble"}
    name, key = f"{NAMESPACE}-{claim}", "kubernetes.io/hostname"
    terms = [{"matchExpressions": [{"key": key, "operator": "In", "values": [hostname]}]}]
    spec = {
        "capacity": {"storage": "1Gi"},
        "claimRef": {"namespace": NAMESPACE, "name": claim},
        "hostPath": {"path": path, "type": kind},
        "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
    }
    labels = dict([LABEL.split("=")])
    metadata = {"name": name, "labels": labels}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": metadata,
            "spec": spec | common,
        },
        a_claim(claim, name),
    ]


def a_claim(name: str, volume_name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "hello-flask-trouble",
            "volumeName": volume_name,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


def prepare(node: Node) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "no-pods", "namespace": FULL_NAMESPACE},
        "spec": {"hard": {"pods": "0"}},
    }
    items = [
        *volume("input", f"{FOLDER}/input", "DirectoryOrCreate", node.hostname),
        *volume("output", f"{FOLDER}/output", "DirectoryOrCreate", node.hostname),
        *volume("no-folder", f"{FOLDER}/nowhere", "Directory", node.hostname),
        *volume("elsewhere", f"{FOLDER}/input", "DirectoryOrCreate", "a-node-that-never-was"),
        a_claim("unbound", "a-volume-that-never-was"),
        quota,
    ]
    for namespace in (NAMESPACE, FULL_NAMESPACE):
        kubectl("create", "namespace", namespace)
        kubectl("label", "namespace", namespace, LABEL)
    whole = {"apiVersion": "v1", "kind": "List", "items": items}
    kubectl("apply", "-f", "-", stdin=json.dumps(whole).encode())


def remove() -> None:
    kubectl("delete", "namespaces", "-l", LABEL, "--timeout=170s")
    kubectl("delete", "pv", "-l", LABEL, "--timeout=60s")
    shutil.rmtree(FOLDER, ignore_errors=True)


@pytest.fixture(scope="module")
def launchers(images: Images, node: Node) -> Iterator[dict[str, KubernetesLauncher]]:
    """Submit every case at once; yield its launcher by reason."""
    remove()
    prepare(node)
    launchers = {}
    for reason, case in CASES.items():
        launcher = launchers[reason] = KubernetesLauncher(settings_of(case, images.model))
        launcher.submit(with_trouble(launcher.render(attempt_of(reason)), case))
    yield launchers
    for launcher in launchers.values():
        launcher.close()
    remove()


def settings_of(case: Case, image: str) -> Settings:
    environ = {"LAUNCHER": "kubernetes", "JOB_NAMESPACE": NAMESPACE, "AE_MODEL_IMAGE_URL": image}
    environ |= {"INPUT_PVC": "input", "OUTPUT_PVC": "output", "JOB_BACKOFF_LIMIT": "0"}
    environ |= {"JOB_CPU": "10m", "JOB_MEMORY": "64Mi"}
    return Settings.from_environment(environ | dict(case.settings or {}))


def attempt_of(reason: str) -> Attempt:
    return Attempt(reason, "a-uid", "autoencoder", 0.001, 1, None, 1)


def with_trouble(job: Job, case: Case) -> Job:
    spec = job["spec"]["template"]["spec"]
    spec |= case.spec or {}
    spec["containers"][0]["command"] = ["python3", "-c", case.program]
    return job


@pytest.mark.parametrize("reason", CASES)
def test_trouble_is_diagnosed(launchers: dict[str, KubernetesLauncher], reason: str) -> None:
    handle = attempt_of(reason).handle
    diagnoses: list[Diagnosis | None] = []

    def explained() -> Diagnosis | None:
        """Return the expected diagnosis; others may come first, such as while a claim binds."""
        seen = launchers[reason].observe([handle])[handle]
        diagnoses.append(seen.diagnosis)
        is_expected = seen.diagnosis and seen.diagnosis.reason == reason
        return seen.diagnosis if is_expected and seen.phase is CASES[reason].phase else None

    def otherwise() -> str:
        return f"{diagnoses[-1:]}\n{explain()}"

    assert eventually(explained, seconds=SECONDS, what=reason, explain=otherwise).remedy


def explain() -> str:
    commands = [("get", "pods,jobs,pvc,events", "-n", name) for name in (NAMESPACE, FULL_NAMESPACE)]
    return "\n".join(run("kubectl", *command).stdout.decode() for command in commands)


def delete(namespace: str, pod: str) -> None:
    kubectl("-n", namespace, "delete", "pod", pod, "--wait=false")


def evict(namespace: str, pod: str) -> None:
    """Evict a pod through the API, as `kubectl drain` does."""
    versions = kubectl("api-versions").split()
    body = {
        "apiVersion": "policy/v1" if "policy/v1" in versions else "policy/v1beta1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": namespace},
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body).encode())


REMOVALS: dict[str, Callable[[str, str], None]] = {"deleted pod": delete, "evicted pod": evict}


def test_lost_pod_is_replaced(backend: Deployment) -> None:
    for name in REMOVALS:
        assert backend.post(name, epoch=EPOCHS, dataset=DATASET).status == 201
    for name, remove_pod in REMOVALS.items():
        backend.wait_for_epoch(name, 11, seconds=SECONDS)
        (pod,) = backend.pods_of(name)
        remove_pod(backend.namespace, pod["metadata"]["name"])
    for name in REMOVALS:
        experiment = backend.wait_until(name, "succeeded", seconds=300)
        assert experiment["attempt"] == 1
        steps = [step["to_status"] for step in experiment["history"]]
        assert steps == ["submitting", "queued", "running", "succeeded"]
        lines = backend.results(name)["metrics.jsonl"].splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == list(range(1, EPOCHS + 1))
        assert (
            b"resuming after epoch"
            in backend.get(f"/experiments/{name}/logs".replace(" ", "%20")).body
        )


def test_deleted_job_is_diagnosed(backend: Deployment) -> None:
    assert backend.post("deleted job", epoch=EPOCHS, dataset=DATASET).status == 201
    backend.wait_until("deleted job", "running")
    (job,) = backend.jobs_of("deleted job")
    kubectl("-n", backend.namespace, "delete", "job", job["metadata"]["name"])
    experiment = backend.wait_until("deleted job", "failed", seconds=60)
    assert experiment["diagnosis"]["reason"] == "job_deleted"
    assert experiment["diagnosis"]["remedy"]
