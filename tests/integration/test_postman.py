"""The committed Postman collection, run by Postman's own runner against the real server."""

import os
import shutil
import subprocess

import pytest

from tests.integration.backend_process import ROOT

COLLECTION = ROOT / "docs/postman_collection.json"
INSTALLED = ROOT / ".venv/newman/node_modules/.bin/newman"


@pytest.fixture
def newman():
    program = str(INSTALLED) if INSTALLED.exists() else shutil.which("newman")
    if not program:
        pytest.skip("newman is not installed (npm): tools/install-test-services.sh")
    return program


@pytest.mark.parametrize("token", ["", "postman-s-own-token"])
def test_the_collection_runs(newman, backend, tmp_path, token):
    server = backend("serve", **({"API_TOKEN": f"postman:{token}"} if token else {})).ready()
    variables = {"base_url": f"http://{server.address}", "token": token}
    command = [newman, "run", str(COLLECTION), "--color", "off", "--timeout-request", "30000"]
    for name, value in variables.items():
        command += ["--env-var", f"{name}={value}"]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=tmp_path,
        env=os.environ | {"NODE_OPTIONS": "--no-deprecation"},
    )

    assert result.returncode == 0, result.stdout
