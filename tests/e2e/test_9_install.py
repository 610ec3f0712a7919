"""Removing the backend, moving it to a namespace of its own, and slips while it is installed."""

import json

import pytest

from tests.e2e.conftest import Node, Stage
from tests.e2e.support import (
    OURS,
    Deployment,
    edit,
    eventually,
    kubectl,
    objects,
    run,
    uninstall,
)

SECONDS = 180  # the kubelet of Kubernetes 1.20 may take 60 to end a pod, and there are two
KINDS = "deployments,pods,services,jobs,persistentvolumeclaims,serviceaccounts,roles,rolebindings"
CLUSTER_WIDE = "persistentvolumes,clusterroles,clusterrolebindings,namespaces"
MINE = "app.kubernetes.io/name=hello-flask"


def left() -> list[str]:
    """Return the names of what a hello-flask has left in the cluster."""
    found = [
        *objects("--all-namespaces", KINDS, "-l", MINE),
        *objects("--all-namespaces", "jobs,pods", "-l", OURS),
        *objects(CLUSTER_WIDE, "-l", MINE),
    ]
    secrets = objects(
        "--all-namespaces", "secrets", "--field-selector=metadata.name=hello-flask-db"
    )
    return [each["metadata"]["name"] for each in [*found, *secrets]]


def train(backend: Deployment, experiment_id: str) -> None:
    """Train, so that a completed pod is left that mounts both claims."""
    assert backend.post(experiment_id, epoch=1).status == 201
    backend.wait_until(experiment_id, "succeeded")
    assert backend.pods_of(experiment_id)


@pytest.mark.parametrize("first", ["default", "hello-flask"])
def test_uninstalled_beside_a_completed_pod(stage: Stage, first: str) -> None:
    """Nothing hangs, nothing is left in the cluster, and the results stay on the host."""
    backend = stage.default() if first == "default" else stage.dedicated()
    train(backend, f"before {first} is removed")
    results = backend.results(f"before {first} is removed")
    stage.current = None

    seconds = uninstall()

    assert left() == []
    assert seconds < SECONDS
    assert uninstall() < SECONDS  # nothing is left to remove
    if backend.host_folder.is_dir():  # the node is this machine
        assert backend.results(f"before {first} is removed").keys() == results.keys()


def test_from_default_to_a_namespace_of_its_own(stage: Stage) -> None:
    train(stage.default(), "moves")
    stage.current = None
    uninstall()

    dedicated = stage.dedicated()

    assert dedicated.experiment("moves")["status"] == "succeeded"  # from the database


def test_wrong_host_name_is_corrected(stage: Stage, node: Node) -> None:
    stage.remove_backend()
    files = [stage.yaml / f"setup/0_pv_{name}.yaml" for name in ("input", "output")]
    for file in files:
        edit(file, "the host's name", "a-node-that-never-was")
    stage.create_secret("default")
    stage.apply_files()

    def refusal() -> str | None:
        (pod,) = objects("-n", "default", "pods", "--field-selector=metadata.name=hello-flask")
        conditions = pod["status"].get("conditions", [])
        messages = [c["message"] for c in conditions if c.get("reason") == "Unschedulable"]
        # At first it may say that the claims are not bound yet.
        return next((one for one in messages if any(each in one for each in words)), None)

    words = ("volume node affinity conflict", "didn't match PersistentVolume's node affinity")
    what = "the scheduler says why the pod waits"
    eventually(refusal, seconds=30, what=what, explain=lambda: json.dumps(left()))
    for file in files:
        edit(file, "the host's name", node.hostname)
    refused = run("kubectl", "apply", "-f", str(files[0]))
    assert refused.returncode != 0
    assert b"field is immutable" in refused.stderr

    assert uninstall() < SECONDS
    backend = stage.default()

    assert backend.get("/").body == b"Hello Flask!"


def test_missing_secret_is_shown_and_cured(stage: Stage) -> None:
    stage.remove_backend()
    stage.apply_files()

    def seen() -> bool:
        table = kubectl("-n", "default", "get", "pod", "hello-flask", "--no-headers")
        described = kubectl("-n", "default", "describe", "pod", "hello-flask")
        expected = ("FailedMount", 'secret "hello-flask-db" not found')
        return "Init:0/1" in table and all(words in described for words in expected)

    def described() -> str:
        return kubectl("-n", "default", "describe", "pod", "hello-flask")

    eventually(seen, seconds=30, what="the documented symptom", explain=described)
    stage.create_secret("default")

    kubectl("-n", "default", "wait", "--for=condition=Ready", "pod/hello-flask", "--timeout=150s")
    stage.remove_backend()
