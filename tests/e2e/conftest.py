"""Fixtures that build the images and apply yaml/ as docs/kubernetes.md says, with its edits only.

KUBECONFIG names the cluster, and LAB the folder of a lab that can stop its API server. build.sh
gets REPOSITORY_URL and its other variables from the environment. Leftovers of earlier tests are
removed first; other deployments are never touched.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import left_out
from tests.e2e.support import (
    ROOT,
    SETUP,
    Deployment,
    edit,
    knows_indexed_jobs,
    kubectl,
    objects,
    run,
    serves_metrics,
    uninstall,
)

HOST_FOLDER = Path("/tmp/hello-flask-e2e")  # on the node
PASSWORD = "testpassword"
DATASET = "digits.npz"
FLASK_PORT, MYSQL_PORT = 31112, 31111


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "kueue: leave it out if the cluster has no Kueue")
    config.addinivalue_line("markers", "metrics: leave it out if the cluster measures no pods")
    config.addinivalue_line("markers", "indexed_jobs: leave it out if the cluster has none")
    config.addinivalue_line("markers", "no_indexed_jobs: leave it out if the cluster has them")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the cluster does not have, also under CI: no lab need have it."""
    for marker, needs, is_there in (
        ("kueue", "Kueue in the cluster (docs/kueue.md)", serves_kueue),
        ("metrics", "metrics.k8s.io in the cluster (metrics-server)", serves_metrics),
        ("indexed_jobs", "Kubernetes 1.24 or newer (docs/several-nodes.md)", knows_indexed_jobs),
        ("no_indexed_jobs", "Kubernetes older than 1.21", lambda: not knows_indexed_jobs()),
    ):
        those = [item for item in items if item.get_closest_marker(marker)]
        if those and not is_there():
            config.stash[left_out][needs] += len(those)
            config.hook.pytest_deselected(items=those)
            items[:] = [item for item in items if item not in those]


def serves_kueue() -> bool:
    """Return whether the cluster has Kueue."""
    return "kueue.x-k8s.io/" in run("kubectl", "api-versions").stdout.decode()


@dataclass(frozen=True)
class Images:
    """The images that build.sh has pushed, and its output."""

    flask: str
    model: str
    tag: str
    printed: str


@dataclass(frozen=True)
class Node:
    """The node that holds the input and output folders."""

    hostname: str
    address: str


def refuse_foreign_deployment() -> None:
    """Fail if the cluster has a hello-flask that these tests did not install."""
    for volume in objects("pv"):
        name, path = volume["metadata"]["name"], volume["spec"].get("hostPath", {}).get("path", "")
        if name.startswith("hello-flask-") and not Path(path).is_relative_to(HOST_FOLDER):
            pytest.fail(f"the cluster already runs hello-flask (volume {name}, {path})")


@pytest.fixture(scope="session")
def node() -> Node:
    refuse_foreign_deployment()
    for body in objects("nodes"):
        conditions, spec = body["status"]["conditions"], body["spec"]
        is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        if is_ready and not spec.get("unschedulable") and not spec.get("taints"):
            addresses = {a["type"]: a["address"] for a in body["status"]["addresses"]}
            hostname = body["metadata"]["labels"]["kubernetes.io/hostname"]
            return Node(hostname, addresses["InternalIP"])
    pytest.fail("the cluster has no schedulable node")


@pytest.fixture(scope="session")
def images(node: Node) -> Images:
    del node  # requested first, because without a cluster there is nothing to build for
    tag = f"e2e-{time.time_ns() // 1_000_000_000}"  # unique, because nodes cache tags
    flask, model, printed = build("./backend/build.sh", tag)
    return Images(flask=flask, model=model, tag=tag, printed=printed)


def build(script: str, tag: str) -> tuple[str, str, str]:
    """Build and push the images of a checkout.

    Return the names of the backend's and the autoencoder's, and the output.
    """
    result = run("env", f"TAG={tag}", script, timeout=1800)
    printed = result.stdout.decode()
    assert result.returncode == 0, f"{printed}\n{result.stderr.decode()}"
    flask, model, *_ = re.findall(r"^build\.sh: pushing (\S+)$", printed, re.MULTILINE)
    return flask, model, printed


def build_trainer(name: str, tag: str, checkout: Path) -> str:
    """Build the trainer's image of a folder of tests/e2e with build.sh.

    Args:
        name: the folder, which holds a Dockerfile.
        tag: the tag of the product's own images.
        checkout: an empty folder, which is made to resemble a checkout.

    Returns:
        The image.
    """
    (checkout / "backend").mkdir()
    for file in ("build.sh", "backend/__init__.py"):
        shutil.copy(ROOT / file, checkout / file)
    for folder in (checkout, checkout / "models", checkout / "models/autoencoder"):
        shutil.copytree(ROOT / "tests/e2e" / name, folder, dirs_exist_ok=True)
    _, image, _ = build(str(checkout / "build.sh"), f"{tag}-{name}")
    return image


class Stage:
    """The one backend of the cluster: both ways to install it use the same NodePort."""

    def __init__(self, yaml: Path, node: Node, host_folder: Path) -> None:
        self.yaml, self.node, self.host_folder = yaml, node, host_folder
        self.current: Deployment | None = None
        self._owner: str | None = None  # the namespace that the database belongs to

    def default(self) -> Deployment:
        """Install by applying the files one by one, in the documented order."""
        return self._switch("default")

    def dedicated(self) -> Deployment:
        """Install by applying the kustomization."""
        return self._switch("hello-flask")

    def _switch(self, namespace: str) -> Deployment:
        if self.current and self.current.namespace == namespace:
            return self.current
        self.remove_backend()
        url = f"http://{self.node.address}:{FLASK_PORT}"
        self.current = Deployment(namespace, url, self.host_folder / namespace)
        for name in ("input", "output"):
            folder = str(self.current.host_folder / name)
            edit(self.yaml / f"setup/0_pv_{name}.yaml", "the folder on the host", folder)
        # Covers both addresses of the database: its NodePort, as documented, and its Service name.
        address = self.node.address if namespace == "default" else "hello-flask-mysql.default.svc"
        edit(self.yaml / "4_pod.yaml", "a node's IP", address)
        if namespace == "default":
            self.create_secret(namespace)
            self.apply_files()
        else:
            kubectl("apply", "-f", f"{self.yaml}/namespace/0_namespace.yaml")
            self.create_secret(namespace)
            kubectl("apply", "-k", f"{self.yaml}/dedicated/")
        if self._owner not in (None, namespace):
            self.current.claim_database()
        self._owner = namespace
        self.current.wait_ready()
        self.current.put_input(DATASET, (ROOT / "input" / DATASET).read_bytes())
        return self.current

    def train_with(self, image: str) -> Deployment:
        """Make the backend, installed in the namespace default, train with this image."""
        deployment = self.default()
        edit(self.yaml / "4_pod.yaml", "the model image", image)
        kubectl("delete", "-f", f"{self.yaml}/4_pod.yaml")
        kubectl("apply", "-f", f"{self.yaml}/4_pod.yaml")
        deployment.wait_ready()
        return deployment

    def apply_files(self) -> None:
        """Apply the files for the namespace default, in the documented order."""
        for name in (*SETUP, "4_pod.yaml", "5_svc.yaml"):
            kubectl("apply", "-f", f"{self.yaml}/{name}")

    def create_secret(self, namespace: str) -> None:
        """Create the Secret that docs/kubernetes.md says to create."""
        secret = ("secret", "generic", "hello-flask-db", f"--from-literal=password={PASSWORD}")
        kubectl("-n", namespace, "create", *secret)

    def remove_backend(self) -> None:
        """Remove the backend, however it was installed, and what it started."""
        self.current = None
        uninstall()

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

    stage = Stage(yaml, node, host_folder)
    stage.remove_backend()
    stage.remove_database()
    shutil.rmtree(HOST_FOLDER, ignore_errors=True)
    kubectl("apply", "-f", f"{yaml}/db/")
    database = ("-n", "default", "statefulset/hello-flask-mysql", "--timeout=300s")
    kubectl("rollout", "status", *database, timeout=320)
    yield stage
    stage.remove_backend()
    stage.remove_database()
    shutil.rmtree(HOST_FOLDER, ignore_errors=True)


@pytest.fixture
def backend(stage: Stage) -> Deployment:
    """The backend that the documented commands install, in the namespace default."""
    return stage.default()


@pytest.fixture
def dedicated(stage: Stage) -> Deployment:
    """The backend in a namespace of its own."""
    return stage.dedicated()


@pytest.fixture
def lab() -> Path:
    """The folder of the lab, which can stop the cluster's API server."""
    folder = os.environ.get("LAB")
    if not folder:
        pytest.skip("LAB is not set: it names a lab that can stop the cluster's API server")
    return Path(folder)
