"""The manifests of the dedicated namespace, built by kubectl."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.unit.manifests.support import Document


def kustomize(folder: Path, overlay: str = "dedicated") -> list[Document]:
    """Return the documents of `kubectl kustomize` on an overlay in `folder`."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", f"{folder}/{overlay}/"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    return list(yaml.safe_load_all(result.stdout))
