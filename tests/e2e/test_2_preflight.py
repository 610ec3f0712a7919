"""yaml/preflight.yaml on the cluster: the report, and what the check leaves behind."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Images, Stage
from tests.e2e.support import Deployment, edit, eventually, kubectl, objects

JOB = "job/hello-flask-preflight"


@pytest.fixture
def preflight(backend: Deployment, stage: Stage, images: Images) -> Iterator[str]:
    """The report of the check, which the test's installation in the namespace default passes."""
    del backend
    file = stage.yaml / "preflight.yaml"
    edit(file, "the flask image", images.flask)
    kubectl("apply", "-f", str(file))

    def ended() -> dict[str, object] | None:
        status = json.loads(kubectl("get", JOB, "-o", "json"))["status"]
        return status if status.get("conditions") else None

    eventually(ended, seconds=300, what="the check has ended", explain=lambda: kubectl("logs", JOB))
    yield kubectl("logs", JOB)
    kubectl("delete", "-f", str(file))


def test_nodes_pass_the_check(preflight: str, backend: Deployment, stage: Stage) -> None:
    assert f"{stage.node.hostname}: output folder: written by user 10001" in preflight, preflight
    assert "1 node(s) can train, and share both folders." in preflight
    assert objects("jobs", "-l", "hello-flask/preflight") == []
    for folder in (backend.host_folder / "input", backend.host_folder / "output"):
        listed = kubectl("exec", "hello-flask", "-c", "web", "--", "ls", "-A", f"/{folder.name}")
        assert ".hello-flask-preflight" not in listed
