"""yaml/storage: claims that every node can mount, in place of folders of one host."""

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from tests.component.manifests.support import kustomize
from tests.unit.manifests.pod_rules import pod_of, restricted
from tests.unit.manifests.support import KUBERNETES, YAML, Document, only


@pytest.fixture(scope="module")
def storage() -> list[Document]:
    return kustomize(YAML, "storage")


@pytest.mark.parametrize("version", KUBERNETES)
def test_documents_are_valid(storage: list[Document], version: str) -> None:
    for document in storage:
        kubernetes_validate.validate(document, version, strict=True)


def test_claims_are_of_a_class(storage: list[Document]) -> None:
    for name in ("hello-flask-input", "hello-flask-output"):
        spec = only("PersistentVolumeClaim", name, storage)["spec"]
        assert spec["accessModes"] == ["ReadWriteMany"]
        assert spec["storageClassName"] == "nfs-csi"
        assert "volumeName" not in spec


def test_nothing_is_bound_to_a_host(storage: list[Document]) -> None:
    kinds = {document["kind"] for document in storage}
    assert not kinds & {"PersistentVolume", "Job", "Pod"}
    assert "hostPath" not in str(storage)
    pod = only("Deployment", "hello-flask", storage)["spec"]["template"]["spec"]
    assert "tolerations" not in pod
    assert "affinity" not in pod


def test_all_is_in_one_namespace_that_enforces_restricted(storage: list[Document]) -> None:
    assert {d["metadata"].get("namespace", "hello-flask") for d in storage} == {"hello-flask"}
    for pod in filter(None, map(pod_of, storage)):
        assert restricted(pod) == []


def test_backend_is_that_of_the_dedicated_namespace(storage: list[Document]) -> None:
    """What is not about volumes is the same."""
    ours = only("Deployment", "hello-flask", storage)["spec"]["template"]["spec"]
    theirs = only("Deployment", "hello-flask", kustomize(YAML))["spec"]["template"]["spec"]
    for key in ours.keys() - {"initContainers", "securityContext"}:
        assert ours[key] == theirs[key]
    assert ours["securityContext"].items() >= theirs["securityContext"].items()
