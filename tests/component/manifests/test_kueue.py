"""yaml/kueue: Jobs that wait in a queue, and the one right that it takes to say why."""

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from tests.component.manifests.support import kustomize
from tests.unit.manifests.support import KUBERNETES, YAML, Document, only


@pytest.fixture(scope="module")
def kueue() -> list[Document]:
    return kustomize(YAML, "kueue")


@pytest.mark.parametrize("version", KUBERNETES)
def test_documents_are_valid(kueue: list[Document], version: str) -> None:
    for document in kueue:
        kubernetes_validate.validate(document, version, strict=True)


def test_only_the_right_and_the_queue_are_added(kueue: list[Document]) -> None:
    """Everything else is what yaml/dedicated/ applies."""
    right = ("hello-flask-queues", ("Role", "RoleBinding"))
    others = [d for d in kueue if (d["metadata"]["name"], d["kind"]) not in _pairs(right)]
    deployment = only("Deployment", "hello-flask", others)["spec"]["template"]["spec"]
    for container in deployment["containers"]:
        queues = [one["value"] for one in container["env"] if one["name"] == "JOB_QUEUE"]
        assert queues == ["user-queue"]
        container["env"] = [one for one in container["env"] if one["name"] != "JOB_QUEUE"]

    assert others == kustomize(YAML, "dedicated")


def test_workloads_can_be_listed_and_nothing_else(kueue: list[Document]) -> None:
    role = only("Role", "hello-flask-queues", kueue)
    assert role["rules"] == [
        {"apiGroups": ["kueue.x-k8s.io"], "resources": ["workloads"], "verbs": ["list"]}
    ]
    binding = only("RoleBinding", "hello-flask-queues", kueue)
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    account = only("ServiceAccount", "hello-flask", kueue)["metadata"]
    (subject,) = binding["subjects"]
    assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
    assert role["metadata"]["namespace"] == account["namespace"]


def _pairs(right: tuple[str, tuple[str, ...]]) -> set[tuple[str, str]]:
    name, kinds = right
    return {(name, kind) for kind in kinds}
