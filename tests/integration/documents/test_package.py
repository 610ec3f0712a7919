"""The wheel: it is complete, and its command `hello-flask` works in any folder."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import urllib.request
import venv
import zipfile

import pytest

from backend import __version__
from backend.settings import read
from tests.integration.backend_process import OURS, ROOT, free_address
from tests.integration.waiting import DEADLINE_SECONDS, eventually

pytestmark = pytest.mark.xdist_group("package")  # one process builds the wheel for all tests

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
ROLES = ["serve", "web", "reconcile", "migrate", "rebuild", "preflight"]
NOT_PACKED = {"Dockerfile", ".dockerignore", "build.sh"}


def build_wheel(source, folder):
    """Build a wheel with the packages of this environment, without a network."""
    options = ["--no-deps", "--no-index", "--no-build-isolation", f"--wheel-dir={folder}"]
    subprocess.run([*PIP, "wheel", *options, source], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The programs of a new environment with the wheel, which borrows our dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    install = [*PIP, f"--python={python}", "install", "--no-deps", "--no-index"]
    subprocess.run([*install, wheel], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin"


def output(*command, cwd):
    result = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
    return result.stdout


@pytest.fixture
def serve(installed, tmp_path):
    """Start `hello-flask serve` in a folder that holds nothing else."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    address = free_address()
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    with (tmp_path / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [installed / "hello-flask", "serve"],
            cwd=folder,
            env=environ | {"BIND": address},
            stderr=stderr,
            start_new_session=True,
        )

    def ask(path, data=None):
        assert process.poll() is None, (tmp_path / "stderr").read_text()
        url = f"http://{address}{path}"
        with urllib.request.urlopen(url, data, timeout=DEADLINE_SECONDS) as response:
            return response.read()

    def answers():
        try:
            return ask("/readyz")
        except OSError:
            return None

    eventually(answers)
    yield ask, folder
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(DEADLINE_SECONDS) == 0


def test_wheel_is_complete(wheel):
    """Every file of hello_flask/ and backend/, with the models where the local launcher looks."""
    files = {
        path
        for folder in ("backend", "hello_flask", "models")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".lock") and path.name not in NOT_PACKED
    }
    expected = {str(path.relative_to(ROOT)) for path in files}

    assert names(wheel) == {
        f"backend/{name}" if name.startswith("models/") else name for name in expected
    }


def test_wheel_from_sdist(wheel, tmp_path):
    build = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target=sdist",
        f"--directory={tmp_path}",
    ]
    subprocess.run(build, cwd=ROOT, check=True)
    (sdist,) = tmp_path.glob("*.tar.gz")

    assert names(build_wheel(sdist, tmp_path)) == names(wheel)


def test_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(name).decode().splitlines()
        licenses = [name for name in archive.namelist() if "/licenses/" in name]

    assert f"Version: {__version__}" in lines
    assert "Requires-Dist: pymysql[rsa]<2,>=1.2.4" in lines
    assert "Requires-Dist: torch<3,>=2.6; extra == 'local'" in lines
    assert any(name.endswith("licenses/LICENSE") for name in licenses)
    assert sum("vendor/" in name for name in licenses) >= 2


def test_version(installed, tmp_path):
    for command in (["hello-flask"], ["python", "-m", "backend"]):
        printed = output(installed / command[0], *command[1:], "--version", cwd=tmp_path)
        assert printed == f"hello-flask {__version__}\n"


def test_help_names_roles_and_variables(installed, tmp_path):
    _, variables = read({})

    text = output(installed / "hello-flask", "--help", cwd=tmp_path)
    named = {word.strip(",;") for word in text.split() if word.isupper() and "_" in word}

    assert text.startswith("usage: hello-flask ")
    assert [role for role in ROLES if f"\n  {role} " not in text] == []
    assert {"DB_IP", "INPUT_DIR", "OUTPUT_DIR", "AE_MODEL_IMAGE_URL", "API_TOKEN_FILE"} <= named
    assert named - variables - {"DB_..."} == set()
    module = output(installed / "python", "-m", "backend", "--help", cwd=tmp_path)
    assert module.startswith("usage: python -m backend ")


def test_serves_in_any_folder(serve):
    """Pages, static files and a training that the packed trainer refuses for want of data."""
    ask, folder = serve
    assert ask("/") == b"Hello Flask!"
    assert json.loads(ask("/healthz"))["status"] == "ok"
    for page in ("/ui", "/docs"):
        assert b"<html" in ask(page)
    for file in ("dashboard.js", "vendor/uplot/uPlot.min.css"):
        assert ask(f"/static/{file}") == (ROOT / "backend/web/static" / file).read_bytes()

    ask("/test", b"experiment_id=first&learning_rate=0.001&epoch=1")

    def ended():
        experiment = json.loads(ask("/experiments/first"))
        return experiment["status"] == "failed" and experiment

    assert eventually(ended)["diagnosis"]["reason"] == "input_unusable"
    assert sorted(path.name for path in folder.iterdir()) == ["data", "input", "output"]


@pytest.mark.parametrize("role", ROLES)
def test_log_begins_with_version(backend, role):
    process = backend(role)

    first = eventually(lambda: process.stderr.splitlines())[0]

    assert first.endswith(f" INFO backend hello-flask {__version__}: {role}")
