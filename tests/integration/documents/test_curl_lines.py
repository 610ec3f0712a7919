"""The curl lines of docs/api.md: one for each route, and all work when typed in order."""

import re
import shutil
import subprocess

from tests.integration.backend_process import ROOT
from tools import openapi

TIMED_OUT = 28  # curl's exit code when -m ends a stream
PAGE = (ROOT / "docs/api.md").read_text()
SECTION = PAGE.partition("## Every route with curl\n")[2].partition("\n## ")[0]
SERVER, *LINES = SECTION.partition("```sh\n")[2].partition("```")[0].splitlines()


def route_of(line):
    method = re.search(r"-X (\w+)", line)
    path = re.search(r"\$SERVER(/[^\"? ]*)", line)[1]
    implied = "post" if " -F " in line else "put" if " -T " in line else "get"
    path = path.replace("copy.npz", "digits.npz")  # which is the data set that is deleted
    return (method[1].lower() if method else implied), path


def test_one_line_for_each_route():
    wanted = {
        (
            method,
            path.replace("{experiment_id}", "long")
            .replace("{sweep_id}", "many")
            .replace("{model}", "autoencoder")
            .replace("{path}", "run.json")
            .replace("{name}", "digits.npz")
            .replace("{tag}", "baseline"),
        )
        for path, methods in openapi.contract()["paths"].items()
        for method in methods
    }

    assert wanted - {route_of(line) for line in LINES} == set()


def test_each_line_works(backend, installation, tmp_path):
    """Type each line once, in a folder that looks like a clone."""
    assert SERVER == "SERVER=http://127.0.0.1:31112"
    entry = ROOT / "models/autoencoder/model.yaml"
    (installation.trainer.parent / "model.yaml").symlink_to(entry)
    server = backend("serve").ready()
    clone = tmp_path / "clone"
    (clone / "input").mkdir(parents=True)
    shutil.copy(ROOT / "input/digits.npz", clone / "input")
    shutil.copy(ROOT / "input/digits.npz", tmp_path / "input")
    environ = {"SERVER": f"http://{server.address}", "PATH": "/usr/bin:/bin"}

    for line in LINES:
        line = line.replace("/tmp/", f"{tmp_path}/")
        done = subprocess.run(
            ["sh", "-c", line], env=environ, cwd=clone, capture_output=True, timeout=60
        )
        assert done.returncode == (TIMED_OUT if " -m " in line else 0), (line, done.stderr)
