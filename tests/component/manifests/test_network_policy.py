"""Which pods can connect where networkpolicy.yaml is enforced.

Source: Kubernetes documentation, Network Policies ("The two sorts of pod isolation", "Behavior of
to and from selectors").
"""

from dataclasses import dataclass, field, replace
from itertools import product

import pytest

from backend.domain.attempt import Attempt
from backend.launchers.kubernetes import manifest as job_manifest
from backend.settings import Settings
from tests.component.manifests.support import kustomize
from tests.unit.manifests.pod_rules import pod_of
from tests.unit.manifests.support import YAML, Document, documents, manifest_files, only

DNS, MYSQL = 53, 3306
PORTS = [("TCP", number) for number in (DNS, 80, 443, MYSQL, 5000, 6443, 33060)] + [("UDP", DNS)]


@dataclass(frozen=True)
class Peer:
    """A pod, or any other address, which has no namespace."""

    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def peers() -> dict[str, Peer]:
    """The product's pods, from its own manifests, and others."""
    pods = {}
    applied = [document for file in manifest_files() for document in documents(file)]
    for document in applied + kustomize(YAML):
        if pod := pod_of(document):
            namespace, name = document["metadata"]["namespace"], document["metadata"]["name"]
            pods[f"{namespace}/{name}"] = Peer(namespace, pod["metadata"]["labels"])
    attempt = Attempt("r", "0" * 32, "autoencoder", 0.001, 1, None, 1)
    for namespace in ("default", "hello-flask"):
        settings = Settings.from_environment({"JOB_NAMESPACE": namespace})
        for name, nodes in (("training", None), ("worker-0", 2), ("worker-1", 2)):
            job = job_manifest.render(replace(attempt, nodes=nodes), settings)
            labels = job["spec"]["template"]["metadata"]["labels"]
            pods[f"{namespace}/{name}"] = Peer(namespace, labels)
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
    """The policies of both ways to apply the manifests, together."""
    dedicated = [policy for policy in kustomize(YAML) if policy["kind"] == "NetworkPolicy"]
    return documents(YAML / "networkpolicy.yaml") + dedicated


def matches(selector: Document, labels: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    expressions = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(expression["key"]) in expression["values"] for expression in expressions
    )


def is_peer(peer: Document, policy: Document, other: Peer) -> bool:
    """Return whether a rule's peer selects a pod; the policy's namespace is the default."""
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


def is_open(
    policies: list[Document], direction: str, pod: Peer, other: Peer, port: tuple[str, int]
) -> bool:
    """Return whether the policies of `pod` allow a connection; without a policy all do."""
    key, side = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    isolating = [
        port_rule
        for port_rule in policies
        if selects(port_rule, pod) and direction in port_rule["spec"]["policyTypes"]
    ]
    return not isolating or any(
        (side not in rule or any(is_peer(peer, policy, other) for peer in rule[side]))
        and (
            "ports" not in rule
            or port in [(port_rule["protocol"], port_rule["port"]) for port_rule in rule["ports"]]
        )
        for policy in isolating
        for rule in policy["spec"].get(key, [])
    )


@pytest.fixture(scope="module")
def connections(policies: list[Document], peers: dict[str, Peer]) -> set[tuple[str, str, str, int]]:
    """Every allowed connection: source, target, protocol, port."""
    return {
        (source, target, *port)
        for (source, pod), (target, other), port in product(peers.items(), peers.items(), PORTS)
        if is_open(policies, "Egress", pod, other, port)
        and is_open(policies, "Ingress", other, pod, port)
    }


def test_policies_select_their_pods(policies: list[Document], peers: dict[str, Peer]) -> None:
    selected = {
        (policy["metadata"]["namespace"], policy["metadata"]["name"]): [
            name for name, pod in peers.items() if selects(policy, pod)
        ]
        for policy in policies
    }
    trains, gang = ["training", "worker-0", "worker-1"], ["worker-0", "worker-1"]
    assert selected == {
        ("default", "hello-flask-training"): [f"default/{name}" for name in trains],
        ("default", "hello-flask-gangs"): [f"default/{name}" for name in gang],
        ("default", "hello-flask-mysql"): ["default/hello-flask-mysql"],
        ("hello-flask", "hello-flask-training"): [f"hello-flask/{name}" for name in trains],
        ("hello-flask", "hello-flask-gangs"): [f"hello-flask/{name}" for name in gang],
    }


@pytest.mark.parametrize("namespace", ["default", "hello-flask"])
def test_workers_of_gangs_reach_each_other(
    connections: set[tuple[str, str, str, int]], namespace: str
) -> None:
    """Gloo listens at ports that the kernel chooses."""
    workers = [f"{namespace}/worker-0", f"{namespace}/worker-1"]
    expected = {
        (source, target, *port) for source in workers for target in workers for port in PORTS
    }
    expected |= {
        (worker, "kube-system/dns", protocol, DNS)
        for worker in workers
        for protocol in ("TCP", "UDP")
    }
    assert {one for one in connections if set(workers) & set(one[:2])} == expected


@pytest.mark.parametrize("namespace", ["default", "hello-flask"])
def test_training_pods_reach_dns_only(
    connections: set[tuple[str, str, str, int]], namespace: str
) -> None:
    training = f"{namespace}/training"
    assert {connection for connection in connections if training in connection[:2]} == {
        (training, "kube-system/dns", protocol, DNS) for protocol in ("TCP", "UDP")
    }


def test_only_backend_reaches_mysql(
    connections: set[tuple[str, str, str, int]],
) -> None:
    assert {
        connection for connection in connections if connection[1] == "default/hello-flask-mysql"
    } == {
        (f"{namespace}/hello-flask", "default/hello-flask-mysql", "TCP", MYSQL)
        for namespace in ("default", "hello-flask")
    }


@pytest.mark.parametrize("namespace", ["default", "hello-flask"])
def test_backend_is_not_isolated(
    connections: set[tuple[str, str, str, int]], namespace: str
) -> None:
    backend = f"{namespace}/hello-flask"
    assert ("elsewhere", backend, "TCP", 5000) in connections  # by the NodePort
    assert (backend, "elsewhere", "TCP", 6443) in connections  # the API server
    assert (backend, "kube-system/dns", "UDP", DNS) in connections


def test_mysql_port_matches_pod(peers: dict[str, Peer]) -> None:
    database = pod_of(
        only("StatefulSet", "hello-flask-mysql", documents(YAML / "db/4_statefulset.yaml"))
    )
    assert database
    (mysql,) = database["spec"]["containers"]
    assert [port["containerPort"] for port in mysql["ports"]] == [MYSQL]
