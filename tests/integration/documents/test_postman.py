"""The committed Postman collection, run by Postman's own runner against the real server."""

import os
import subprocess

import pytest

from tests.conftest import newman
from tests.integration.backend_process import ROOT

COLLECTION = ROOT / "docs/postman_collection.json"

pytestmark = pytest.mark.needs("newman")


@pytest.mark.parametrize("token", ["", "postman-s-own-token"])
def test_collection_passes(backend, installation, tmp_path, token):
    entry = ROOT / "models/autoencoder/model.yaml"
    (installation.trainer.parent / "model.yaml").symlink_to(entry)
    server = backend("serve", **({"API_TOKEN": f"postman:{token}"} if token else {})).ready()
    variables = {"base_url": f"http://{server.address}", "token": token}
    command = [newman(), "run", str(COLLECTION), "--color", "off", "--timeout-request", "30000"]
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
