"""The manifests of the dedicated namespace, built by kubectl."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.unit.manifests.support import Document


def kustomize(folder: Path) -> list[Document]:
    """Return the documents of `kubectl kustomize` on `folder`/dedicated."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", f"{folder}/dedicated/"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    return list(yaml.safe_load_all(result.stdout))
