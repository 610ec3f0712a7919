"""Vendored files are those of their packages, and their origin is recorded."""

import hashlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = [
    "backend/web/static/vendor/swagger-ui",
    "backend/web/static/vendor/uplot",
    "tests/browser/vendor/axe-core",
]


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_match_their_packages(folder):
    manifest = json.loads((ROOT / folder / "vendor.json").read_text())
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (ROOT / folder).iterdir()
        if path.name != "vendor.json"
    }

    assert files == manifest["sha256"]
    assert "LICENSE" in files
    assert manifest["version"]
    assert manifest["licence"]
