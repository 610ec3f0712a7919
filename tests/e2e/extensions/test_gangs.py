"""An experiment of several nodes: an Indexed Job whose pods find each other by a headless Service.

Runs where the cluster has Indexed Jobs; an older one refuses such an experiment in one sentence.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import Images
from tests.e2e.support import ROOT, Deployment, curl, eventually, kubectl

ENTRY = ROOT / "models" / "conv-autoencoder" / "model.yaml"
CONFIG_MAP = "hello-flask-models"
DEFAULT = ("-n", "default")
EPOCHS = 400
# The pattern is not found in the command line of the shell that looks for it.
KILL_TRAINER = (
    "for process in /proc/[0-9]*; do "
    'if tr "\\0" " " <"$process/cmdline" | grep -q "[t]rain.py"; '
    'then kill -9 "${process#/proc/}"; fi; done'
)


@pytest.fixture
def paired(backend: Deployment, images: Images) -> Iterator[Deployment]:
    """A backend with a model `pair`, which is conv-autoencoder on two nodes."""
    entry = yaml.safe_load(ENTRY.read_text())
    image = re.search(r"pushing (\S+/conv-autoencoder:\S+)", images.printed)
    assert image, images.printed
    entry |= {"image": image[1], "nodes": 2, "resources": {"cpu": "100m", "memory": "1Gi"}}
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": "default"},
        "data": {"pair.yaml": json.dumps(entry)},
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(body).encode())
    eventually(
        lambda: backend.get("/models/pair").status == 200,
        seconds=180,  # the kubelet updates the files of a ConfigMap now and then
        what="the model `pair` is in the catalogue",
        explain=backend.explain,
    )
    yield backend
    kubectl(*DEFAULT, "delete", "configmap", CONFIG_MAP)


def log_of(backend: Deployment, experiment_id: str, worker: int) -> str:
    answer = backend.get(f"/experiments/{experiment_id}/logs?worker={worker}")
    assert answer.status == 200, answer
    return answer.body.decode()


def epochs_of(backend: Deployment, experiment_id: str) -> list[Any]:
    lines = backend.results(experiment_id)["metrics.jsonl"].decode().splitlines()
    return [json.loads(line)["epoch"] for line in lines]


def remove(backend: Deployment, experiment_id: str) -> None:
    url = f"{backend.url}/experiments/{experiment_id}?outputs=true"
    answer = curl(url, "--request", "DELETE")
    assert answer is not None
    assert answer.status == 204, answer


@pytest.mark.indexed_jobs
def test_two_nodes_train_together(paired: Deployment) -> None:
    answer = paired.post("pair", model="pair", epoch=3)
    assert answer.status == 201, answer
    job = answer.json()["job"]
    ended = paired.wait_until("pair", "succeeded", seconds=300)

    assert ended["nodes"] == 2
    paired.wait_for_completions(job, "2/2")
    assert epochs_of(paired, "pair") == [1, 2, 3]
    for worker in (0, 1):
        assert f"worker {worker} of 2, all have joined" in log_of(paired, "pair", worker)
    spec = json.loads(kubectl(*DEFAULT, "get", "job", job, "-o", "json"))["spec"]
    assert (spec["completionMode"], spec["backoffLimit"]) == ("Indexed", 0)
    remove(paired, "pair")


@pytest.mark.indexed_jobs
def test_killed_worker_ends_the_gang_and_a_retry_goes_on(paired: Deployment) -> None:
    assert paired.post("killed", model="pair", epoch=EPOCHS).status == 201
    paired.wait_for_epoch("killed", 3, seconds=300)
    (pod,) = (
        one["metadata"]["name"]
        for one in paired.pods_of("killed")
        if one["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] == "1"
    )
    kubectl(*DEFAULT, "exec", pod, "-c", "train", "--", "sh", "-c", KILL_TRAINER)
    failed = paired.wait_until("killed", "failed")
    assert failed["diagnosis"]["message"].startswith("Worker 1: "), failed
    assert "another worker of this experiment is gone" in log_of(paired, "killed", 0)

    answer = curl(f"{paired.url}/experiments/killed/retry", "--request", "POST")
    assert answer is not None
    assert answer.status < 300, answer
    ended = paired.wait_until("killed", "succeeded", seconds=600)
    assert ended["attempt"] == 2
    assert epochs_of(paired, "killed") == list(range(1, EPOCHS + 1))
    assert "resuming after epoch" in log_of(paired, "killed", 1)
    remove(paired, "killed")


@pytest.mark.no_indexed_jobs
def test_older_cluster_refuses_in_one_sentence(paired: Deployment) -> None:
    answer = paired.post("refused", model="pair")

    assert answer.status == 502, answer
    assert "its Kubernetes has no Indexed Jobs" in answer.json()["detail"]
    assert paired.jobs_of("refused") == []
    shown = paired.experiment("refused")
    assert (shown["status"], shown["diagnosis"]["reason"]) == ("failed", "gang_unsupported")
    remove(paired, "refused")
