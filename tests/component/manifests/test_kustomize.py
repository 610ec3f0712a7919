import re
import shutil
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from tests.component.manifests.support import kustomize
from tests.unit.manifests.pod_rules import pod_of, restricted
from tests.unit.manifests.support import KUBERNETES, VERSION, YAML, Document, documents, only


@pytest.fixture(scope="module")
def dedicated() -> list[Document]:
    return kustomize(YAML)


@pytest.mark.parametrize("version", KUBERNETES)
def test_documents_are_valid(dedicated: list[Document], version: str) -> None:
    for document in dedicated:
        kubernetes_validate.validate(document, version, strict=True)


def test_restricted_is_enforced(
    dedicated: list[Document],
) -> None:
    labels = only("Namespace", "hello-flask", dedicated)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pods = [
        (document["kind"], pod)
        for document in dedicated
        if document["metadata"].get("namespace") == "hello-flask" and (pod := pod_of(document))
    ]
    assert [kind for kind, _ in pods] == ["Deployment"]
    assert restricted(pods[0][1]) == []


def test_deployment_runs_one_pod_of_the_base_file(dedicated: list[Document]) -> None:
    """A drained or lost pod is replaced, and two backends never run at once."""
    deployment = only("Deployment", "hello-flask", dedicated)["spec"]
    (pod,) = documents(YAML / "4_pod.yaml")
    spec = deployment["template"]["spec"]

    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert deployment["template"]["metadata"]["labels"] == pod["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == pod["metadata"]["labels"]
    assert (
        only("Service", "hello-flask", dedicated)["spec"]["selector"] == pod["metadata"]["labels"]
    )
    assert {**spec, "initContainers": None} == {**pod["spec"], "initContainers": None}


def test_only_preparation_is_elsewhere(dedicated: list[Document]) -> None:
    assert not [d for d in dedicated if d["metadata"].get("namespace") == "default"]
    assert "default" not in {
        subject["namespace"] for d in dedicated for subject in d.get("subjects", [])
    }
    for document in dedicated:
        if document["kind"] == "PersistentVolume":
            assert document["spec"]["claimRef"]["namespace"] == "hello-flask"
    assert only("Job", "prepare-folders", dedicated)["metadata"]["namespace"] == "hello-flask-setup"


def test_follows_edits_of_base_files(tmp_path: Path) -> None:
    copy = tmp_path / "yaml"
    shutil.copytree(YAML, copy, symlinks=True)
    for name, edits in {
        "setup/0_pv_input.yaml": [("/data/hello-flask/input", "/srv/in"), ("my-node", "host-7")],
        "setup/0_pv_output.yaml": [("/data/hello-flask/output", "/srv/out"), ("my-node", "host-7")],
        "4_pod.yaml": [("localhost:5000/hello-flask", "registry.example/hello-flask")],
    }.items():
        text = (copy / name).read_text()
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        (copy / name).write_text(text)
    job = only("Job", "prepare-folders", kustomize(copy))["spec"]["template"]["spec"]
    assert job["containers"][0]["image"] == f"registry.example/hello-flask:{VERSION}"
    assert [v["hostPath"]["path"] for v in job["volumes"]] == ["/srv/in", "/srv/out"]
    assert re.findall("host-7|my-node", str(job["affinity"])) == ["host-7"]
