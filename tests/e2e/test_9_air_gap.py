"""An installation from the bundle alone: its images, its manifests, its program that pushes."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.e2e.conftest import Images, Stage
from tests.e2e.support import RESULTS, Deployment, edit, kubectl
from tools.bundle import write_bundle

ELSEWHERE = "air-gap"  # a path of the same registry, which holds nothing else


@pytest.fixture(scope="module")
def unpacked(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that is unpacked inside, with its images in another place of the registry."""
    folder = tmp_path_factory.mktemp("air-gap")
    repository = (os.environ.get("REPOSITORY_URL") or "localhost:5000").rstrip("/")
    bundle = write_bundle(repository, images.tag, [], folder)
    with tarfile.open(bundle) as archive:
        archive.extractall(folder, filter="tar")
    bundle.unlink()
    inside = folder / f"hello-flask-{images.tag}"
    command = [sys.executable, "-I", "-S", "load.py", f"{repository}/{ELSEWHERE}"]
    subprocess.run(command, cwd=inside, check=True, timeout=600)
    return inside


def test_trains_with_what_the_bundle_holds(unpacked: Path, stage: Stage, images: Images) -> None:
    """Edited by the command of docs/air-gap.md; only host, folder and tag are the test's."""
    repository = images.flask.rpartition("/")[0]
    files = [unpacked / "yaml" / name for name in ("4_pod.yaml", "bundled_models.yaml")]
    for file in files:
        text = file.read_text().replace("localhost:5000/", f"{repository}/{ELSEWHERE}/")
        file.write_text(text)
    edit(files[0], "the flask image", f"{repository}/{ELSEWHERE}/hello-flask:{images.tag}")
    edit(files[0], "the model image", f"{repository}/{ELSEWHERE}/autoencoder:{images.tag}")
    deployment: Deployment = stage.default()  # with its folders and database
    kubectl("apply", "-f", str(files[1]))
    kubectl("delete", "-f", f"{stage.yaml}/4_pod.yaml")
    edit(files[0], "a node's IP", stage.node.address)
    kubectl("apply", "-f", str(files[0]))
    try:
        deployment.wait_ready()
        image = kubectl("get", "pod", "hello-flask", "-o", "jsonpath={.spec.containers[0].image}")
        assert f"/{ELSEWHERE}/" in image
        answer = deployment.post("from the bundle", epoch=2)
        assert answer.status == 201, answer
        deployment.wait_until("from the bundle", "succeeded")
        deployment.wait_for_completions(answer.json()["job"], "1/1")
        assert set(deployment.results("from the bundle")) >= RESULTS
    finally:
        kubectl("delete", "-f", str(files[1]))
        kubectl("delete", "-f", str(files[0]))
        kubectl("apply", "-f", f"{stage.yaml}/4_pod.yaml")
        deployment.wait_ready()


def test_client_of_the_wheel_needs_nothing_else(unpacked: Path, tmp_path: Path) -> None:
    (wheel,) = unpacked.glob("hello_flask-*.whl")
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    command = [*pip, "--no-index", "--no-deps", f"--target={target}", str(wheel)]
    subprocess.run(command, check=True, timeout=120)
    program = "import hello_flask; print(hello_flask.Client.__name__)"
    environ = os.environ | {"PYTHONPATH": str(target)}
    printed = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    assert printed == b"Client\n"
