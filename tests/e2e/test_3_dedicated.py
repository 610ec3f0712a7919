"""The backend in a namespace of its own, installed by `kubectl apply -k yaml/dedicated/`."""

from tests.e2e.conftest import Stage
from tests.e2e.support import (
    OURS,
    PERMITTED,
    RESULTS,
    Deployment,
    curl,
    eventually,
    granted,
    kubectl,
    objects,
)
from tests.e2e.test_5_trouble import evict

BACKEND = "app.kubernetes.io/component=backend"


def test_form_trains_a_model(dedicated: Deployment) -> None:
    assert dedicated.get("/").body == b"Hello Flask!"
    answer = dedicated.post("dedicated", epoch=2)
    assert answer.status == 201, answer
    dedicated.wait_until("dedicated", "succeeded")
    dedicated.wait_for_completions(answer.json()["job"], "1/1")
    assert set(dedicated.results("dedicated")) >= RESULTS
    assert objects("-n", "default", "jobs", "-l", OURS) == []


def test_network_policies_allow_training(dedicated: Deployment, stage: Stage) -> None:
    """What the policies forbid is not tested: not every cluster network enforces it."""
    names = {
        policy["metadata"]["name"]
        for policy in objects("-n", dedicated.namespace, "networkpolicies")
    }
    assert names == {"hello-flask-training", "hello-flask-gangs"}
    file = f"{stage.yaml}/networkpolicy.yaml"
    kubectl("apply", "-f", file)
    try:
        assert dedicated.post("behind policies", epoch=1).status == 201
        dedicated.wait_until("behind policies", "succeeded")
    finally:
        kubectl("delete", "-f", file)


def test_no_pod_runs_as_root(dedicated: Deployment) -> None:
    pods = objects("-n", dedicated.namespace, "pods")
    assert pods
    for pod in pods:
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in spec.get("initContainers", []) + spec["containers"]:
            assert container["securityContext"].get("runAsUser", 10001) == 10001
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_evicted_backend_comes_back(dedicated: Deployment) -> None:
    """`kubectl drain` evicts it in the same way."""
    (pod,) = objects("-n", dedicated.namespace, "pods", "-l", BACKEND)
    evict(dedicated.namespace, pod["metadata"]["name"])

    def replaced() -> bool:
        names = [
            each["metadata"]["name"]
            for each in objects("-n", dedicated.namespace, "pods", "-l", BACKEND)
        ]
        return len(names) == 1 and names != [pod["metadata"]["name"]]

    what = "one other pod runs the backend"
    eventually(replaced, seconds=90, what=what, explain=dedicated.explain)
    dedicated.wait_ready()
    assert dedicated.experiment("dedicated")["status"] == "succeeded"


def test_no_permissions_elsewhere(dedicated: Deployment) -> None:
    assert granted(dedicated.namespace, dedicated.namespace, "hello-flask") == PERMITTED
    for other in ("default", "kube-system"):
        assert granted(other, dedicated.namespace, "hello-flask") == {("nodes", "get")}


def test_experiments_are_deleted(dedicated: Deployment) -> None:
    """Both deployments share the database but not the folders, so this one cleans up."""
    for name in ("dedicated", "behind%20policies"):
        address = f"{dedicated.url}/experiments/{name}"
        answer = curl(f"{address}?outputs=true", "--request", "DELETE")
        assert answer is not None
        assert answer.status == 204, answer
        assert dedicated.get(f"/experiments/{name}").status == 404
