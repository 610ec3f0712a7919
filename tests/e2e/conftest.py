"""Builds the images and applies yaml/ as the documents say, with the documented edits alone.

KUBECONFIG names the cluster; LAB the kit that can stop its API server. REPOSITORY_URL and the like
reach build.sh. What these tests find of their own is removed first; they touch no other deployment.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.support import OURS, ROOT, SETUP, Deployment, edit, kubectl, objects, run

HOST_FOLDER = Path("/tmp/hello-flask-e2e")  # on the node
PASSWORD = "testpassword"
DATASET = "digits.npz"
FLASK_PORT, MYSQL_PORT = 31112, 31111


@dataclass(frozen=True)
class Images:
    """What build.sh pushed."""

    flask: str
    model: str
    tag: str
    printed: str


@dataclass(frozen=True)
class Node:
    """The node that holds the folders."""

    hostname: str
    address: str


def refuse_to_touch_a_foreign_deployment() -> None:
    for volume in objects("pv"):
        name, path = volume["metadata"]["name"], volume["spec"].get("hostPath", {}).get("path", "")
        if name.startswith("hello-flask-") and not Path(path).is_relative_to(HOST_FOLDER):
            pytest.fail(f"this cluster has a hello-flask of its own (volume {name}, {path})")


@pytest.fixture(scope="session")
def node() -> Node:
    refuse_to_touch_a_foreign_deployment()
    for one in objects("nodes"):
        ready = any(
            c["type"] == "Ready" and c["status"] == "True" for c in one["status"]["conditions"]
        )
        if ready and not one["spec"].get("unschedulable") and not one["spec"].get("taints"):
            addresses = {a["type"]: a["address"] for a in one["status"]["addresses"]}
            return Node(
                one["metadata"]["labels"]["kubernetes.io/hostname"], addresses["InternalIP"]
            )
    pytest.fail("the cluster has no node that takes pods")


@pytest.fixture(scope="session")
def images(node: Node) -> Images:
    del node  # asked for first: without a cluster nothing need be built
    tag = f"e2e-{time.time_ns() // 1_000_000_000}"  # a tag of its own: nodes keep what they pulled
    flask, model, printed = build("./backend/build.sh", tag)
    return Images(flask=flask, model=model, tag=tag, printed=printed)


def build(script: str, tag: str) -> tuple[str, str, str]:
    """Build and push both images of a checkout; give their names, and what was printed."""
    result = run("env", f"TAG={tag}", script, timeout=1800)
    printed = result.stdout.decode()
    assert result.returncode == 0, f"{printed}\n{result.stderr.decode()}"
    flask, model = re.findall(r"^build\.sh: pushing (\S+)$", printed, re.MULTILINE)
    return flask, model, printed


class Stage:
    """One backend at a time: both of its ways to be applied use the same NodePort."""

    def __init__(self, yaml: Path, node: Node, host_folder: Path) -> None:
        self.yaml, self.node, self.host_folder = yaml, node, host_folder
        self.current: Deployment | None = None

    def default(self) -> Deployment:
        """Apply the files one by one, in the documented order."""
        return self._switch("default")

    def dedicated(self) -> Deployment:
        """Apply the kustomization."""
        return self._switch("hello-flask")

    def _switch(self, namespace: str) -> Deployment:
        if self.current and self.current.namespace == namespace:
            return self.current
        self.remove_backend()
        url = f"http://{self.node.address}:{FLASK_PORT}"
        self.current = Deployment(namespace, url, self.host_folder / namespace)
        for what in ("input", "output"):
            folder = str(self.current.host_folder / what)
            edit(self.yaml / f"setup/0_pv_{what}.yaml", "the folder on the host", folder)
        # The database by a node's port, as the documents assume it, and by its name in the cluster.
        address = self.node.address if namespace == "default" else "hello-flask-mysql.default.svc"
        edit(self.yaml / "4_pod.yaml", "a node's IP", address)
        if namespace == "default":
            self.create_secret(namespace)
            for name in (*SETUP, "4_pod.yaml", "5_svc.yaml"):
                kubectl("apply", "-f", f"{self.yaml}/{name}")
        else:
            kubectl("apply", "-f", f"{self.yaml}/namespace/0_namespace.yaml")
            self.create_secret(namespace)
            kubectl("apply", "-k", f"{self.yaml}/dedicated/")
        self.current.wait_ready()
        self.current.put_input(DATASET, (ROOT / "input" / DATASET).read_bytes())
        return self.current

    def train_with(self, image: str) -> Deployment:
        """Let the backend of the namespace default, and those to come, train with this image."""
        deployment = self.default()
        edit(self.yaml / "4_pod.yaml", "the model image", image)
        kubectl("delete", "-f", f"{self.yaml}/4_pod.yaml")
        kubectl("apply", "-f", f"{self.yaml}/4_pod.yaml")
        deployment.wait_ready()
        return deployment

    def create_secret(self, namespace: str) -> None:
        """Make the one Secret that the README tells to make."""
        secret = ("secret", "generic", "hello-flask-db", f"--from-literal=password={PASSWORD}")
        kubectl("-n", namespace, "create", *secret)

    def remove_backend(self) -> None:
        """Remove both ways' backends and what they started."""
        self.current = None
        gone = ("--ignore-not-found", "--timeout=170s")
        files = [f"--filename={self.yaml}/{name}" for name in ("4_pod.yaml", "5_svc.yaml", *SETUP)]
        kubectl("delete", "-n", "default", "jobs,pods", "-l", OURS, *gone)
        kubectl("delete", "-n", "default", "secret", "hello-flask-db", *gone)
        kubectl("delete", *files[:2], *gone)
        # Before the volumes: they wait for their claims to go.
        kubectl("delete", "namespace", "hello-flask", "hello-flask-setup", *gone)
        kubectl("delete", *files[2:], *gone)

    def remove_database(self) -> None:
        kubectl("delete", "-f", f"{self.yaml}/db/", "--ignore-not-found", "--timeout=170s")


@pytest.fixture(scope="session")
def stage(images: Images, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yaml = tmp_path_factory.mktemp("e2e") / "yaml"
    shutil.copytree(ROOT / "yaml", yaml, symlinks=True)
    host_folder = HOST_FOLDER / images.tag
    for file in ("setup/0_pv_input.yaml", "setup/0_pv_output.yaml", "db/1_pv.yaml"):
        edit(yaml / file, "the host's name", node.hostname)
    edit(yaml / "db/1_pv.yaml", "the folder on the host", f"{host_folder}/mysql")
    edit(yaml / "4_pod.yaml", "the flask image", images.flask)
    edit(yaml / "4_pod.yaml", "the model image", images.model)

    made = Stage(yaml, node, host_folder)
    made.remove_backend()
    made.remove_database()
    shutil.rmtree(HOST_FOLDER, ignore_errors=True)
    kubectl("apply", "-f", f"{yaml}/db/")
    database = ("-n", "default", "statefulset/hello-flask-mysql", "--timeout=300s")
    kubectl("rollout", "status", *database, timeout=320)
    yield made
    made.remove_backend()
    made.remove_database()
    shutil.rmtree(HOST_FOLDER, ignore_errors=True)


@pytest.fixture
def backend(stage: Stage) -> Deployment:
    """The backend as the documented commands make it, in the namespace default."""
    return stage.default()


@pytest.fixture
def dedicated(stage: Stage) -> Deployment:
    """The backend in a namespace of its own."""
    return stage.dedicated()


@pytest.fixture
def lab() -> Path:
    """The kit that can stop the cluster's API server."""
    folder = os.environ.get("LAB")
    if not folder:
        pytest.skip("LAB names no kit that can stop the cluster's API server")
    return Path(folder)
