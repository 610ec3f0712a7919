"""yaml/kueue/: a Job waits in its queue, is preempted, and continues from its checkpoint.

Runs where the cluster serves kueue.x-k8s.io; what it creates of Kueue is named hello-flask-e2e.
"""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import Stage
from tests.e2e.support import ROOT, Deployment, curl, eventually, kubectl, run

pytestmark = pytest.mark.kueue

NAME = "hello-flask-e2e"
NAMESPACE = ("-n", "hello-flask")
ROLLOUT = (*NAMESPACE, "rollout", "status", "deployment/hello-flask", "--timeout=180s")
OVERLAY = f"""\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../yaml]
components: [../queues]
patches:
  - target: {{kind: Deployment, name: hello-flask}}
    patch: |
      - op: add
        path: /spec/template/spec/containers/0/env/-
        value: &queue {{name: JOB_QUEUE, value: {NAME}}}
      - op: add
        path: /spec/template/spec/containers/1/env/-
        value: *queue
"""


def kueue_objects(version: str) -> list[dict[str, Any]]:
    """Return a queue with quota for one Job, and a class whose Workloads come first."""
    quotas = [
        {"name": "cpu", "nominalQuota": "500m"},
        {"name": "memory", "nominalQuota": "1Gi"},
    ]
    cluster_queue = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "hello-flask"}},
        "preemption": {"withinClusterQueue": "LowerPriority"},
        "resourceGroups": [
            {
                "coveredResources": ["cpu", "memory"],
                "flavors": [{"name": NAME, "resources": quotas}],
            }
        ],
    }
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("ResourceFlavor", {}),
        ("ClusterQueue", {"spec": cluster_queue}),
        ("LocalQueue", {"spec": {"clusterQueue": NAME}}),
        ("WorkloadPriorityClass", {"value": 1000}),
    ]
    return [
        {"apiVersion": version, "kind": kind, "metadata": _metadata(kind), **content}
        for kind, content in kinds
    ]


def _metadata(kind: str) -> dict[str, str]:
    return {"name": NAME} | ({"namespace": "hello-flask"} if kind == "LocalQueue" else {})


def urgent_job(image: str) -> dict[str, Any]:
    """Return a Job of somebody else, which takes the place of any experiment."""
    labels = {"kueue.x-k8s.io/queue-name": NAME, "kueue.x-k8s.io/priority-class": NAME}
    container = {
        "name": "wait",
        "image": image,
        "command": ["sleep", "3600"],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    pod = {"restartPolicy": "Never", "containers": [container], "terminationGracePeriodSeconds": 1}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": NAME, "namespace": "hello-flask", "labels": labels},
        "spec": {"suspend": True, "template": {"spec": pod}},
    }


def apply(*bodies: dict[str, Any]) -> None:
    """Apply objects."""
    document = {"apiVersion": "v1", "kind": "List", "items": list(bodies)}
    kubectl("apply", "-f", "-", stdin=json.dumps(document).encode())


@pytest.fixture
def queued(dedicated: Deployment, stage: Stage) -> Iterator[Deployment]:
    """The backend of the dedicated namespace, whose Jobs wait in a queue for one Job."""
    group = json.loads(kubectl("get", "--raw", "/apis/kueue.x-k8s.io"))
    made = kueue_objects(group["preferredVersion"]["groupVersion"])
    overlays = stage.yaml.parent / "overlays"
    shutil.copytree(ROOT / "overlays", overlays, dirs_exist_ok=True)
    folder = overlays / "e2e"
    folder.mkdir(exist_ok=True)
    (folder / "kustomization.yaml").write_text(OVERLAY)
    try:
        apply(*made)
        kubectl("apply", "-k", str(folder))
        kubectl(*ROLLOUT)
        dedicated.wait_ready()
        yield dedicated
    finally:
        kubectl(*NAMESPACE, "delete", "job", NAME, "--ignore-not-found")
        kubectl("apply", "-k", f"{stage.yaml}/dedicated/")
        kubectl(*ROLLOUT)
        for body in reversed(made):
            kubectl(*NAMESPACE, "delete", body["kind"], NAME, "--ignore-not-found")


def waits(queued: Deployment, experiment_id: str, reason: str) -> dict[str, Any]:
    """Wait until an experiment is queued for a reason, and return it."""

    def check() -> dict[str, Any] | None:
        shown = queued.experiment(experiment_id)
        found = (shown.get("diagnosis") or {}).get("reason")
        return shown if (shown["status"], found) == ("queued", reason) else None

    what = f"{experiment_id!r} is queued: {reason}"
    return eventually(check, seconds=90, what=what, explain=queued.explain)


def test_preempted_continues_from_its_checkpoint(queued: Deployment, stage: Stage) -> None:
    assert queued.post("preempted", epoch=400).status == 201
    queued.wait_for_epoch("preempted", 3)
    assert queued.post("second", epoch=1).status == 201
    assert "insufficient" in waits(queued, "second", "suspended")["diagnosis"]["message"]

    web = (
        "get",
        "deployment/hello-flask",
        "-o",
        "jsonpath={.spec.template.spec.containers[0].image}",
    )
    apply(urgent_job(kubectl(*NAMESPACE, *web)))
    shown = waits(queued, "preempted", "preempted")
    assert shown["queue"]["position"] == 1
    assert queued.experiment("second")["queue"]["ahead"] == ["preempted"]
    trained = shown["progress"]["epoch"]

    kubectl(*NAMESPACE, "delete", "job", NAME)
    ended = queued.wait_until("preempted", "succeeded", seconds=600)
    queued.wait_until("second", "succeeded")

    steps = [(step["to_status"], step["reason"]) for step in ended["history"]]
    assert steps == [
        ("submitting", None),
        ("queued", None),
        ("running", None),
        ("queued", "preempted"),
        ("running", None),
        ("succeeded", None),
    ]
    assert ended["attempt"] == 1
    metrics = queued.results("preempted")["metrics.jsonl"].decode().splitlines()
    assert [json.loads(line)["epoch"] for line in metrics] == list(range(1, 401))
    assert trained >= 3
    for name in ("preempted", "second"):
        answer = curl(f"{queued.url}/experiments/{name}?outputs=true", "--request", "DELETE")
        assert answer is not None
        assert answer.status == 204, answer


def test_right_is_the_one_that_is_needed(queued: Deployment) -> None:
    account = "--as=system:serviceaccount:hello-flask:hello-flask"
    for verb, answer in (("list", "yes"), ("get", "no"), ("update", "no"), ("delete", "no")):
        asked = ("auth", "can-i", verb, "workloads.kueue.x-k8s.io", account)
        found = run("kubectl", *NAMESPACE, *asked).stdout.decode().strip()
        assert found == answer, (verb, queued.explain())
