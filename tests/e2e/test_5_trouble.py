"""What goes wrong with Jobs in a real cluster: what is said of it, and what goes on by itself."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from backend.launchers.base import Diagnosis, Job, Phase, Run
from backend.launchers.kubernetes import KubernetesLauncher
from backend.settings import Settings
from tests.e2e.conftest import DATASET, HOST_FOLDER, Images, Node
from tests.e2e.kit import Deployment, eventually, kubectl, run

NAMESPACE, FULL_NAMESPACE = "hello-flask-trouble", "hello-flask-trouble-full"
LABEL = "hello-flask/e2e=trouble"
FOLDER = f"{HOST_FOLDER}-trouble"  # on the node
SECONDS = 120
EPOCHS = 1500
EAT_MEMORY = "hoard = []\nwhile True: hoard.append(bytearray(1 << 20))"
SLEEP = "import time; time.sleep(600)"


@dataclass(frozen=True)
class Case:
    """A run that comes to grief: by settings, by the trainer's program, or by its pod's spec."""

    settings: Mapping[str, str] | None = None
    program: str = "pass"
    spec: Mapping[str, Any] | None = None
    phase: Phase = Phase.QUEUED


# By the reason that it is to be given.
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
    """Make a claim of the namespace and the volume that it is bound to."""
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
    """Submit every case at once, side by side; by reason, the launcher that did it."""
    remove()
    prepare(node)
    launchers = {}
    for reason, case in CASES.items():
        launcher = launchers[reason] = KubernetesLauncher(settings_of(case, images.model))
        launcher.submit(with_trouble(launcher.render(run_of(reason)), case))
    yield launchers
    for launcher in launchers.values():
        launcher.close()
    remove()


def settings_of(case: Case, image: str) -> Settings:
    environ = {"LAUNCHER": "kubernetes", "JOB_NAMESPACE": NAMESPACE, "AE_MODEL_IMAGE_URL": image}
    environ |= {"INPUT_PVC": "input", "OUTPUT_PVC": "output", "JOB_BACKOFF_LIMIT": "0"}
    environ |= {"JOB_CPU": "10m", "JOB_MEMORY": "64Mi"}
    return Settings.from_environment(environ | dict(case.settings or {}))


def run_of(reason: str) -> Run:
    return Run(reason, "a-uid", "autoencoder", 0.001, 1, None, 1)


def with_trouble(job: Job, case: Case) -> Job:
    spec = job["spec"]["template"]["spec"]
    spec |= case.spec or {}
    spec["containers"][0]["command"] = ["python3", "-c", case.program]
    return job


@pytest.mark.parametrize("reason", CASES)
def test_trouble_is_told_by_its_reason(
    launchers: dict[str, KubernetesLauncher], reason: str
) -> None:
    handle = run_of(reason).handle
    told: list[Diagnosis | None] = []

    def explained() -> Diagnosis | None:
        """Pass over what is true for a moment only: a claim is not bound at once."""
        seen = launchers[reason].observe([handle])[handle]
        told.append(seen.diagnosis)
        is_it = seen.diagnosis and seen.diagnosis.reason == reason
        return seen.diagnosis if is_it and seen.phase is CASES[reason].phase else None

    def otherwise() -> str:
        return f"{told[-1:]}\n{explain()}"

    assert eventually(explained, seconds=SECONDS, what=reason, explain=otherwise).remedy


def explain() -> str:
    looks = [("get", "pods,jobs,pvc,events", "-n", name) for name in (NAMESPACE, FULL_NAMESPACE)]
    return "\n".join(run("kubectl", *look).stdout.decode() for look in looks)


def delete(namespace: str, pod: str) -> None:
    kubectl("-n", namespace, "delete", "pod", pod, "--wait=false")


def evict(namespace: str, pod: str) -> None:
    """Evict it by the API, as `kubectl drain` does."""
    versions = kubectl("api-versions").split()
    body = {
        "apiVersion": "policy/v1" if "policy/v1" in versions else "policy/v1beta1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": namespace},
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body).encode())


TAKEN_AWAY: dict[str, Callable[[str, str], None]] = {"deleted pod": delete, "evicted pod": evict}


def test_a_run_goes_on_by_itself_when_its_pod_is_taken_away(backend: Deployment) -> None:
    for name in TAKEN_AWAY:
        assert backend.post(name, epoch=EPOCHS, dataset=DATASET).status == 201
    for name, take_away in TAKEN_AWAY.items():
        eventually(
            lambda name=name: backend.experiment(name)["progress"]["epoch"] > 10,
            seconds=SECONDS,
            what=f"{name!r} trains",
            explain=backend.explain,
        )
        (pod,) = backend.pods_of(name)
        take_away(backend.namespace, pod["metadata"]["name"])
    for name in TAKEN_AWAY:
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


def test_a_job_that_somebody_deletes_has_failed(backend: Deployment) -> None:
    assert backend.post("deleted job", epoch=EPOCHS, dataset=DATASET).status == 201
    backend.wait_until("deleted job", "running")
    (job,) = backend.jobs_of("deleted job")
    kubectl("-n", backend.namespace, "delete", "job", job["metadata"]["name"])
    experiment = backend.wait_until("deleted job", "failed", seconds=30)
    assert experiment["diagnosis"]["reason"] == "job_deleted"
    assert experiment["diagnosis"]["remedy"]
