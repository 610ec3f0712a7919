"""yaml/ha: two pods, replaced without a refused request, and a lease between the reconcilers."""

from collections.abc import Iterator
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from backend.gunicorn_config import graceful_timeout
from tests.component.manifests.support import kustomize
from tests.unit.manifests.pod_rules import pod_of, restricted
from tests.unit.manifests.support import KUBERNETES, YAML, Document, only


@pytest.fixture(scope="module")
def ha() -> list[Document]:
    return kustomize(YAML, "ha")


@pytest.fixture
def deployment(ha: list[Document]) -> Any:
    return only("Deployment", "hello-flask", ha)["spec"]


@pytest.mark.parametrize("version", KUBERNETES)
def test_documents_are_valid(ha: list[Document], version: str) -> None:
    for document in ha:
        kubernetes_validate.validate(document, version, strict=True)


def test_namespace_enforces_what_the_pods_keep(ha: list[Document]) -> None:
    assert {d["metadata"].get("namespace", "hello-flask") for d in ha} == {"hello-flask"}
    for pod in filter(None, map(pod_of, ha)):
        assert restricted(pod) == []


def test_pods_are_replaced_one_after_the_other(ha: list[Document], deployment: Any) -> None:
    assert deployment["replicas"] == 2
    assert deployment["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    budget = only("PodDisruptionBudget", "hello-flask", ha)["spec"]
    assert budget["minAvailable"] == 1
    labels = deployment["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    (spread,) = deployment["template"]["spec"]["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert spread["podAffinityTerm"]["labelSelector"]["matchLabels"].items() <= labels.items()


def test_requests_have_time_to_end(ha: list[Document], deployment: Any) -> None:
    """The pod answers until it is out of the Service, and ends before it is killed."""
    spec = deployment["template"]["spec"]
    (web,) = (one for one in spec["containers"] if one["name"] == "web")
    command, seconds = web["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    assert int(seconds) + graceful_timeout < spec["terminationGracePeriodSeconds"]
    assert only("Service", "hello-flask", ha)["spec"]["publishNotReadyAddresses"] is False


def test_outage_of_the_database_is_answered(deployment: Any) -> None:
    """No probe asks for /readyz, which is 503 in all pods at once while the database is away."""
    for container in deployment["template"]["spec"]["containers"]:
        assert container["readinessProbe"]["httpGet"]["path"] == "/healthz"


def test_reconcilers_share_a_lease_that_they_may_use(ha: list[Document], deployment: Any) -> None:
    names = {
        variable["value"]
        for container in deployment["template"]["spec"]["containers"]
        for variable in container["env"]
        if variable["name"] == "RECONCILE_LEASE"
    }
    assert len(names) == 1
    assert dict(_rights(only("Role", "hello-flask-lease", ha))) == {
        ("create", ""): "leases",
        **{(verb, name): "leases" for verb in ("get", "update") for name in names},
    }
    binding = only("RoleBinding", "hello-flask-lease", ha)
    assert binding["roleRef"]["name"] == "hello-flask-lease"
    assert binding["subjects"][0]["name"] == deployment["template"]["spec"]["serviceAccountName"]


def test_each_pod_can_be_scraped(ha: list[Document], deployment: Any) -> None:
    service = only("Service", "hello-flask-pods", ha)["spec"]
    assert service["clusterIP"] == "None"
    ports = {
        port["name"]
        for container in deployment["template"]["spec"]["containers"]
        for port in container["ports"]
    }
    assert {port["targetPort"] for port in service["ports"]} == ports


def _rights(role: Document) -> Iterator[tuple[tuple[str, str], str]]:
    for rule in role["rules"]:
        assert rule["apiGroups"] == ["coordination.k8s.io"]
        for verb in rule["verbs"]:
            for name in rule.get("resourceNames", [""]):
                yield (verb, name), rule["resources"][0]
