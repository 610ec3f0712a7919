"""Who reaches whom where networkpolicy.yaml is enforced, as Kubernetes' documentation has it.

Source: Kubernetes documentation, Network Policies ("The two sorts of pod isolation", "Behavior of
to and from selectors").
"""

from dataclasses import dataclass, field
from itertools import product

import pytest

from backend.domain.attempt import Attempt
from backend.launchers.kubernetes import manifest as job_manifest
from backend.settings import Settings
from tests.component.manifests.support import kustomize
from tests.unit.manifests.pod_rules import pod_of
from tests.unit.manifests.support import YAML, Document, documents, files, one

DNS, MYSQL = 53, 3306
PORTS = [("TCP", number) for number in (DNS, 80, 443, MYSQL, 5000, 6443, 33060)] + [("UDP", DNS)]


@dataclass(frozen=True)
class Peer:
    """A pod, or whatever is none: that has no namespace."""

    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def peers() -> dict[str, Peer]:
    """The product's pods, made by its own manifests, and others."""
    pods = {}
    applied = [document for file in files() for document in documents(file)]
    for document in applied + kustomize(YAML):
        if pod := pod_of(document):
            namespace, name = document["metadata"]["namespace"], document["metadata"]["name"]
            pods[f"{namespace}/{name}"] = Peer(namespace, pod["metadata"]["labels"])
    attempt = Attempt("r", "0" * 32, "autoencoder", 0.001, 1, None, 1)
    for namespace in ("default", "hello-flask"):
        job = job_manifest.render(attempt, Settings.from_environment({"JOB_NAMESPACE": namespace}))
        labels = job["spec"]["template"]["metadata"]["labels"]
        pods[f"{namespace}/training"] = Peer(namespace, labels)
    backend = pods["default/hello-flask"].labels
    return pods | {
        "kube-system/dns": Peer("kube-system", {"k8s-app": "kube-dns"}),
        "kube-system/other": Peer("kube-system", {"k8s-app": "other"}),
        "default/other": Peer("default", {"app.kubernetes.io/name": "hello-flask"}),
        "other/dns": Peer("other", {"k8s-app": "kube-dns"}),
        "other/backend": Peer("other", backend),
        "elsewhere": Peer(),
    }


@pytest.fixture(scope="module")
def policies() -> list[Document]:
    """What both ways to apply the manifests bring, at once."""
    dedicated = [policy for policy in kustomize(YAML) if policy["kind"] == "NetworkPolicy"]
    return documents(YAML / "networkpolicy.yaml") + dedicated


def matches(selector: Document, labels: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    expressions = selector.get("matchExpressions", [])
    assert all(one["operator"] == "In" for one in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )


def is_meant(peer: Document, policy: Document, other: Peer) -> bool:
    """Tell whether a peer of a rule means a pod; without a namespaceSelector, of its namespace."""
    assert peer.keys() <= {"namespaceSelector", "podSelector"}
    if not other.namespace:
        return False
    if "namespaceSelector" in peer:
        labels = {"kubernetes.io/metadata.name": other.namespace}
        in_namespace = matches(peer["namespaceSelector"], labels)
    else:
        in_namespace = other.namespace == policy["metadata"]["namespace"]
    return in_namespace and matches(peer.get("podSelector", {}), other.labels)


def selects(policy: Document, pod: Peer) -> bool:
    in_namespace = policy["metadata"]["namespace"] == pod.namespace
    return in_namespace and matches(policy["spec"]["podSelector"], pod.labels)


def lets(
    policies: list[Document], direction: str, pod: Peer, other: Peer, port: tuple[str, int]
) -> bool:
    """Tell whether a pod's own side of a connection is open; the first policy closes it."""
    key, side = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    isolating = [
        one for one in policies if selects(one, pod) and direction in one["spec"]["policyTypes"]
    ]
    return not isolating or any(
        (side not in rule or any(is_meant(peer, policy, other) for peer in rule[side]))
        and (
            "ports" not in rule or port in [(one["protocol"], one["port"]) for one in rule["ports"]]
        )
        for policy in isolating
        for rule in policy["spec"].get(key, [])
    )


@pytest.fixture(scope="module")
def reached(policies: list[Document], peers: dict[str, Peer]) -> set[tuple[str, str, str, int]]:
    """Everything that is let through: from, to, protocol, port."""
    return {
        (source, target, *port)
        for (source, one), (target, other), port in product(peers.items(), peers.items(), PORTS)
        if lets(policies, "Egress", one, other, port)
        and lets(policies, "Ingress", other, one, port)
    }


def test_policies_select_their_pods(policies: list[Document], peers: dict[str, Peer]) -> None:
    selected = {
        (policy["metadata"]["namespace"], policy["metadata"]["name"]): [
            name for name, pod in peers.items() if selects(policy, pod)
        ]
        for policy in policies
    }
    assert selected == {
        ("default", "hello-flask-training"): ["default/training"],
        ("default", "hello-flask-mysql"): ["default/hello-flask-mysql"],
        ("hello-flask", "hello-flask-training"): ["hello-flask/training"],
    }


@pytest.mark.parametrize("namespace", ["default", "hello-flask"])
def test_training_pods_reach_dns_only(
    reached: set[tuple[str, str, str, int]], namespace: str
) -> None:
    training = f"{namespace}/training"
    assert {one for one in reached if training in one[:2]} == {
        (training, "kube-system/dns", protocol, DNS) for protocol in ("TCP", "UDP")
    }


def test_only_backend_reaches_mysql(
    reached: set[tuple[str, str, str, int]],
) -> None:
    assert {one for one in reached if one[1] == "default/hello-flask-mysql"} == {
        (f"{namespace}/hello-flask", "default/hello-flask-mysql", "TCP", MYSQL)
        for namespace in ("default", "hello-flask")
    }


@pytest.mark.parametrize("namespace", ["default", "hello-flask"])
def test_backend_is_not_isolated(reached: set[tuple[str, str, str, int]], namespace: str) -> None:
    backend = f"{namespace}/hello-flask"
    assert ("elsewhere", backend, "TCP", 5000) in reached  # by the NodePort
    assert (backend, "elsewhere", "TCP", 6443) in reached  # the API server
    assert (backend, "kube-system/dns", "UDP", DNS) in reached


def test_mysql_port_matches_pod(peers: dict[str, Peer]) -> None:
    database = pod_of(
        one("StatefulSet", "hello-flask-mysql", documents(YAML / "db/4_statefulset.yaml"))
    )
    assert database
    (mysql,) = database["spec"]["containers"]
    assert [port["containerPort"] for port in mysql["ports"]] == [MYSQL]
