"""The README's curl lines: one for each route, and each works as it stands."""

import re
import shutil
import subprocess

from tests.integration.backend_process import ROOT
from tests.integration.waiting import eventually
from tools import openapi

TIMED_OUT = 28  # curl's exit code: so a stream ends
README = (ROOT / "README.md").read_text()
SECTION = README.partition("### Every route with curl\n")[2].partition("\n### ")[0]
LINES = re.findall(r"^    (curl .*)$", SECTION, re.MULTILINE)


def route_of(line):
    method = re.search(r"-X (\w+)", line)
    path = re.search(r"\$SERVER(/[^\"? ]*)", line)[1]
    implied = "post" if " -F " in line else "put" if " -T " in line else "get"
    return (method[1].lower() if method else implied), path


def test_there_is_one_for_each_route():
    wanted = {
        (
            method,
            path.replace("{experiment_id}", "run-1")
            .replace("{path}", "run.json")
            .replace("{name}", "digits.npz"),
        )
        for path, methods in openapi.contract()["paths"].items()
        for method in methods
    }

    assert wanted - {route_of(line) for line in LINES} == set()


def test_each_works(backend, tmp_path):
    server = backend("serve").ready()
    shutil.copy(ROOT / "input/digits.npz", tmp_path)
    environ = {"SERVER": f"http://{server.address}", "PATH": "/usr/bin:/bin"}

    def works(line):
        done = subprocess.run(
            ["sh", "-c", line], env=environ, cwd=tmp_path, capture_output=True, timeout=60
        )
        return done.returncode in (0, TIMED_OUT)

    for line in LINES:  # what is being cancelled is not cancelled at once
        eventually(lambda line=line: works(line))
