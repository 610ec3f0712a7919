"""Two pods of the backend: an update without a refused request, and one working reconciler."""

import json
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import pytest

from tests.e2e.conftest import Stage
from tests.e2e.support import ROOT, Deployment, curl, eventually, kubectl, objects, run

OVERLAY = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../yaml]
components: [../replicas]
"""
WITHOUT_BUDGET = """\
patches:
  - patch: |
      $patch: delete
      apiVersion: policy/v1
      kind: PodDisruptionBudget
      metadata: {name: hello-flask, namespace: hello-flask}
"""
BACKEND = "app.kubernetes.io/component=backend"
ROLLOUT = ("-n", "hello-flask", "rollout")
NAME = "deployment/hello-flask"


@pytest.fixture
def replicas(dedicated: Deployment, stage: Stage) -> Iterator[Deployment]:
    """The backend of the dedicated namespace, with a second pod."""
    overlays = stage.yaml.parent / "overlays"
    shutil.copytree(ROOT / "overlays", overlays, dirs_exist_ok=True)
    folder = overlays / "e2e"
    folder.mkdir(exist_ok=True)
    has_budgets = "policy/v1" in kubectl("api-versions").split()  # from Kubernetes 1.21 on
    text = OVERLAY if has_budgets else OVERLAY + WITHOUT_BUDGET
    (folder / "kustomization.yaml").write_text(text)
    kubectl("apply", "-k", str(folder))
    kubectl(*ROLLOUT, "status", NAME, "--timeout=180s")
    yield dedicated
    kubectl("apply", "-k", f"{stage.yaml}/dedicated/")
    kubectl(*ROLLOUT, "status", NAME, "--timeout=180s")


class Client(threading.Thread):
    """Submits and reads without a pause, each time over a new connection, until `stop`."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.stopped = url, threading.Event()
        self.answered, self.problems = 0, list[str]()

    def run(self) -> None:
        while not self.stopped.is_set():
            form = {"experiment_id": "during the update", "learning_rate": "0.01", "epoch": "1"}
            for path, data in (("/experiments", None), ("/test", urlencode(form).encode())):
                try:
                    with urllib.request.urlopen(f"{self.url}{path}", data, timeout=30) as answer:
                        answer.read()
                    self.answered += 1
                except OSError as error:
                    self.problems.append(f"{path}: {error}")


def leaders() -> list[str]:
    """Return the pods whose reconciler works; one that ends does not answer any more."""
    found = []
    for pod in objects("-n", "hello-flask", "pods", "-l", BACKEND):
        path = f"/api/v1/namespaces/hello-flask/pods/{pod['metadata']['name']}:5001/proxy/metrics"
        if b"hello_flask_reconcile_leads 1.0" in run("kubectl", "get", "--raw", path).stdout:
            found.append(pod["metadata"]["name"])
    return found


def delete(replicas: Deployment, name: str) -> None:
    """Delete an experiment once it has succeeded: other tests have its database, but no folder."""
    replicas.wait_until(name, "succeeded")
    address = f"{replicas.url}/experiments/{quote(name)}?outputs=true"
    answer = curl(address, "--request", "DELETE")
    assert answer is not None
    assert answer.status == 204, answer


def test_update_refuses_no_request(replicas: Deployment) -> None:
    client = Client(replicas.url)
    client.start()
    try:
        kubectl(*ROLLOUT, "restart", NAME)
        kubectl(*ROLLOUT, "status", NAME, "--timeout=240s")
    finally:
        client.stopped.set()
        client.join()
    delete(replicas, "during the update")
    assert client.problems == []
    assert client.answered > 20


def test_other_reconciler_takes_over(replicas: Deployment) -> None:
    (leader,) = eventually(
        lambda: found if len(found := leaders()) == 1 else None,
        seconds=30,
        what="one reconciler leads",
        explain=lambda: str(leaders()),
    )
    kubectl("-n", "hello-flask", "delete", "pod", leader, "--grace-period=0", "--force")
    (other,) = eventually(
        lambda: found if (found := leaders()) and leader not in found else None,
        seconds=60,
        what="another reconciler leads",
        explain=lambda: str(leaders()),
    )
    assert other != leader
    assert replicas.post("after the loss", epoch=1).status == 201
    delete(replicas, "after the loss")
    lease = kubectl("-n", "hello-flask", "get", "lease", "hello-flask-reconcile", "-o", "json")
    assert json.loads(lease)["spec"]["holderIdentity"].startswith(other)
