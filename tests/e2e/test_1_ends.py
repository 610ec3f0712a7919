"""Cancelling, retrying and deleting an experiment, and the log that outlives its Job."""

import json

from tests.e2e.conftest import DATASET
from tests.e2e.support import Answer, Deployment, curl, kubectl

EPOCHS = 1000


def send(backend: Deployment, method: str, path: str) -> Answer:
    answer = curl(f"{backend.url}/experiments/{path}", "--request", method)
    assert answer is not None
    return answer


def test_cancel_retry_and_delete(backend: Deployment) -> None:
    assert backend.post("stopped", epoch=EPOCHS, dataset=DATASET).status == 201
    backend.wait_for_epoch("stopped", 1)
    assert send(backend, "DELETE", "stopped").status == 409
    assert send(backend, "POST", "stopped/cancel").status == 202
    backend.wait_until("stopped", "cancelled", seconds=60)
    assert backend.jobs_of("stopped") == []
    assert send(backend, "POST", "stopped/cancel").status == 200
    assert b"samples" in send(backend, "GET", "stopped/logs").body

    answer = send(backend, "POST", "stopped/retry")
    assert answer.status == 202, answer
    assert answer.json()["attempt"] == 2
    backend.wait_until("stopped", "succeeded", seconds=180)
    assert send(backend, "POST", "stopped/retry").status == 409
    lines = backend.results("stopped")["metrics.jsonl"].splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, EPOCHS + 1))
    assert b"resuming after epoch" in send(backend, "GET", "stopped/logs").body
    assert b"resuming after epoch" not in send(backend, "GET", "stopped/logs?attempt=1").body

    assert send(backend, "DELETE", "stopped?outputs=true").status == 204
    assert backend.get("/experiments/stopped").status == 404
    assert backend.jobs_of("stopped") == []
    assert backend.in_web("sh", "-c", "test -e /output/stopped || echo gone").strip() == b"gone"


def test_log_outlives_its_job(backend: Deployment) -> None:
    assert backend.post("logged", epoch=2, dataset=DATASET).status == 201
    backend.wait_until("logged", "succeeded")
    (job,) = backend.jobs_of("logged")
    kubectl("-n", backend.namespace, "delete", "job", job["metadata"]["name"])
    log = send(backend, "GET", "logged/logs")
    assert log.headers["content-type"] == "text/plain; charset=utf-8"
    assert b"epoch 2/2" in log.body
    assert backend.experiment("logged")["status"] == "succeeded"
