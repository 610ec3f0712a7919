import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from backend import __version__ as VERSION

ROOT = Path(__file__).parents[3]
MODELS = ("autoencoder", "classifier", "conv-autoencoder")
NEEDED = ("awk", "bash", "dirname", "env", "readlink", "sh")

# Records each call; fails if the call contains FAIL.
FAKE_TOOL = """#!/bin/sh
call="$(basename "$0") $*"
echo "$call" >>"$CALLS"
case $call in *"${FAIL:-nothing}"*) echo "fake failure of $call" >&2; exit 1;; esac
"""


class Machine:
    """A PATH with the chosen tools, and nothing else that could build an image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.calls_file = folder / "calls"
        self.bin.mkdir()
        for name in (*NEEDED, "basename"):
            program = shutil.which(name)
            assert program, name
            (self.bin / name).symlink_to(program)

    def install(self, *names: str) -> None:
        for name in names:
            tool = self.bin / name
            tool.write_text(FAKE_TOOL)
            tool.chmod(tool.stat().st_mode | stat.S_IXUSR)

    def build(
        self,
        environ: dict[str, str] | None = None,
        *,
        names: tuple[str, ...] = (),
        script: str | Path = ROOT / "build.sh",
        cwd: Path = ROOT,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [script, *names],
            cwd=cwd,
            env={"PATH": str(self.bin), "CALLS": str(self.calls_file)} | (environ or {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    @property
    def calls(self) -> list[str]:
        """The calls of the tools, except those that check whether they work."""
        if not self.calls_file.exists():
            return []
        lines = self.calls_file.read_text().splitlines()
        return [line for line in lines if not line.endswith(" info")]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def checkout(folder: Path) -> Path:
    """Copy the files that build.sh reads, and return the folder."""
    for name in ("build.sh", "Dockerfile", "backend/__init__.py", "models/autoencoder/Dockerfile"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def built(name: str) -> str:
    """Return the call that builds an image with docker."""
    version = f"--build-arg VERSION={VERSION} --label org.opencontainers.image.version={VERSION}"
    folder = f"-f {ROOT}/models/{name}/Dockerfile {ROOT}/models"
    source = f"{ROOT}/." if name == "hello-flask" else folder
    return f"docker build {version} -t localhost:5000/{name}:{VERSION} {source}"


def test_models_have_a_dockerfile() -> None:
    assert [path.parent.name for path in sorted(ROOT.glob("models/*/Dockerfile"))] == [*MODELS]


@pytest.mark.parametrize(
    "names", [(), ("autoencoder",), ("hello-flask",), ("autoencoder", "hello-flask")]
)
def test_builds_and_pushes_images(machine: Machine, names: tuple[str, ...]) -> None:
    """All images, or those that are named."""
    machine.install("docker")
    result = machine.build(names=names)
    assert result.returncode == 0, result.stderr
    chosen = names or ("hello-flask", *MODELS)
    pushed = [f"docker push localhost:5000/{name}:{VERSION}" for name in chosen]
    assert machine.calls == [*map(built, chosen), *pushed]
    for name in chosen:
        assert f"curl -X GET http://localhost:5000/v2/{name}/tags/list" in result.stdout


def test_models_share_their_dockerfile() -> None:
    """The images of the models differ in nothing but their name, and so share most layers."""
    texts = set()
    for name in MODELS:
        text = (ROOT / "models" / name / "Dockerfile").read_text()
        texts.add(text.partition("\n")[2].replace(name, "NAME"))
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("cwd", "script"),
    [
        (ROOT, "./build.sh"),
        (ROOT, "./backend/build.sh"),
        (ROOT.parent, f"./{ROOT.name}/build.sh"),
        (ROOT / "backend", "./build.sh"),
        (Path("/"), f"{ROOT}/backend/build.sh"),
    ],
)
def test_runs_from_any_folder(machine: Machine, cwd: Path, script: str) -> None:
    machine.install("docker")
    result = machine.build(script=script, cwd=cwd)
    assert result.returncode == 0, result.stderr
    assert machine.calls[0].endswith(f" {ROOT}/.")


def test_link_in_backend_is_relative() -> None:
    assert (ROOT / "backend/build.sh").readlink() == Path("../build.sh")


def test_registry_edited_in_script(machine: Machine, tmp_path: Path) -> None:
    machine.install("docker")
    copy = checkout(tmp_path / "checkout")
    script = copy / "backend/build.sh"
    script.parent.mkdir(exist_ok=True)
    # `sed -i` replaces the link by a regular file.
    text = (copy / "build.sh").read_text()
    assert text.count("REPOSITORY_URL=localhost:5000") == 1
    script.write_text(text.replace("REPOSITORY_URL=localhost:5000", "REPOSITORY_URL=my-registry"))
    script.chmod(0o755)
    result = machine.build(script="./backend/build.sh", cwd=copy)
    assert result.returncode == 0, result.stderr
    assert machine.calls[-1] == f"docker push my-registry/autoencoder:{VERSION}"


def test_settings_from_environment(machine: Machine) -> None:
    machine.install("docker")
    result = machine.build(
        {
            "REPOSITORY_URL": "registry.example/team/",
            "TAG": "try-1",
            "BASE_IMAGE": "mirror.example/py:3",
            "PIP_EXTRA_INDEX_URL": "https://cpu.example",
        }
    )
    assert result.returncode == 0, result.stderr
    assert machine.calls[0] == (
        "docker build --build-arg VERSION=try-1 --label org.opencontainers.image.version=try-1 "
        "--build-arg BASE_IMAGE=mirror.example/py:3 "
        "--build-arg PIP_EXTRA_INDEX_URL=https://cpu.example "
        f"-t registry.example/team/hello-flask:try-1 {ROOT}/."
    )
    assert "https://registry.example/v2/team/hello-flask/tags/list" in result.stdout


@pytest.mark.parametrize(
    ("tool", "build"),
    [
        ("podman", "podman build --format docker"),
        ("buildah", "buildah bud --layers --format docker"),
    ],
)
@pytest.mark.parametrize(
    ("registry", "option"), [("localhost:5000", "--tls-verify=false "), ("registry.example", "")]
)
def test_podman_and_buildah_options(
    machine: Machine, tool: str, build: str, registry: str, option: str
) -> None:
    """The Docker format keeps the health check; only localhost is pushed to without TLS."""
    machine.install(tool)
    result = machine.build({"REPOSITORY_URL": registry})
    assert result.returncode == 0, result.stderr
    assert machine.calls[0].startswith(f"{build} --build-arg VERSION=")
    assert machine.calls[1 + len(MODELS)] == f"{tool} push {option}{registry}/hello-flask:{VERSION}"


@pytest.mark.parametrize(
    ("installed", "fail", "used"),
    [
        (("docker", "podman", "buildah"), "nothing", "docker"),
        (("docker", "podman", "buildah"), "docker info", "podman"),
        (("docker", "buildah"), "docker info", "buildah"),
        (("podman", "buildah"), "nothing", "podman"),
    ],
)
def test_uses_first_working_tool(
    machine: Machine, installed: tuple[str, ...], fail: str, used: str
) -> None:
    machine.install(*installed)
    result = machine.build({"FAIL": fail})
    assert result.returncode == 0, result.stderr
    assert {call.split()[0] for call in machine.calls} == {used}


@pytest.mark.parametrize(
    ("installed", "environ", "sentence"),
    [
        ((), {}, "neither docker nor podman nor buildah is installed"),
        (
            ("docker", "podman"),
            {"FAIL": " info"},
            "cannot use docker podman: is the daemon running",
        ),
        (("docker",), {"REPOSITORY_URL": "http://localhost:5000"}, "without http:// or https://"),
        (("docker",), {"TAG": "a b"}, "TAG is 1 to 128 letters"),
        (("docker",), {"TAG": "-x"}, "TAG is 1 to 128 letters"),
    ],
)
def test_refuses_before_building(
    machine: Machine, installed: tuple[str, ...], environ: dict[str, str], sentence: str
) -> None:
    machine.install(*installed)
    result = machine.build(environ)
    assert result.returncode == 1
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert machine.calls == []


@pytest.mark.parametrize(
    ("fail", "last", "sentence"),
    [
        ("-t localhost:5000/hello-flask", "build", f"hello-flask:{VERSION} was not built"),
        ("-t localhost:5000/autoencoder", "build", f"autoencoder:{VERSION} was not built"),
        ("push localhost:5000/hello-flask", "push", "curl http://localhost:5000/v2/"),
    ],
)
def test_stops_at_first_error(machine: Machine, fail: str, last: str, sentence: str) -> None:
    machine.install("docker")
    result = machine.build({"FAIL": fail})
    assert result.returncode == 1
    assert fail in machine.calls[-1]
    assert machine.calls[-1].split()[1] == last
    assert "fake failure" in result.stderr
    assert sentence in result.stderr.splitlines()[-1]
    assert "tags/list" not in result.stdout


def test_incomplete_checkout(machine: Machine, tmp_path: Path) -> None:
    machine.install("docker")
    copy = checkout(tmp_path / "checkout")
    (copy / "Dockerfile").unlink()
    result = machine.build(script=copy / "build.sh", cwd=copy)
    assert result.returncode == 1
    assert "Dockerfile is missing beside build.sh" in result.stderr


def test_unknown_name(machine: Machine) -> None:
    machine.install("docker")
    result = machine.build(names=("autoencoder", "autoencode"))
    assert result.returncode == 1
    assert "there is no image 'autoencode': choose from hello-flask autoencoder" in result.stderr
    assert machine.calls == []
