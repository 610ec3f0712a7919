"""The manifests in `yaml/`, read as plain documents."""

from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import yaml

from backend import __version__ as VERSION  # noqa: F401

ROOT = Path(__file__).parents[3]
YAML = ROOT / "yaml"

KUBERNETES = ("1.29", kubernetes_validate.latest_version())

Document = dict[str, Any]


def documents(file: Path) -> list[Document]:
    return list(yaml.safe_load_all(file.read_text()))


def manifest_files() -> list[Path]:
    """Return every file once: dedicated/ is a link to the folder that holds it.

    Without the Deployment, which is complete only in the output of kustomize.
    """
    return [
        file
        for folder in (YAML, YAML / "setup", YAML / "db", YAML / "namespace")
        for file in sorted(folder.glob("*.yaml"))
        if file.name not in ("kustomization.yaml", "2_deployment.yaml")
    ]


def only(kind: str, name: str, among: list[Document]) -> Document:
    """Return the only document of that kind and name."""
    matching = [
        document
        for document in among
        if document["kind"] == kind and document["metadata"]["name"] == name
    ]
    assert len(matching) == 1, f"{len(matching)} x {kind} {name}"
    return matching[0]
