"""Swagger UI is what its package holds, and says where it comes from."""

import hashlib
import json
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "backend/static/vendor/swagger-ui"


def test_the_files_are_the_packages():
    manifest = json.loads((FOLDER / "vendor.json").read_text())
    files = {
        one.name: hashlib.sha256(one.read_bytes()).hexdigest()
        for one in FOLDER.iterdir()
        if one.name != "vendor.json"
    }

    assert files == manifest["sha256"]
    assert "LICENSE" in files
    assert manifest["version"]
