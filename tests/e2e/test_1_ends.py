"""What is done with an experiment, the log that outlives its Job, and what it uses meanwhile."""

import json

from tests.e2e.conftest import DATASET
from tests.e2e.support import Answer, Deployment, curl, eventually, kubectl, serves_metrics

EPOCHS = 1000
ENDLESS = 100_000  # goes on until it is cancelled
NOT_KNOWN = "What experiments use is not known"  # in the log of the reconciler


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


def test_usage(backend: Deployment) -> None:
    assert backend.post("measured", epoch=ENDLESS, dataset=DATASET).status == 201
    backend.wait_for_epoch("measured", 50)
    if serves_metrics():
        is_shown(backend, "measured")
    else:
        is_said_to_be_unknown(backend, "measured")
    assert send(backend, "POST", "measured/cancel").status == 202
    backend.wait_until("measured", "cancelled")


def is_shown(backend: Deployment, experiment_id: str) -> None:
    found = eventually(
        lambda: (seen := backend.experiment(experiment_id))["peak_memory"] and seen,
        seconds=180,  # metrics-server has to measure the pod twice
        what="the usage is known",
        explain=backend.explain,
    )
    assert 2**26 < found["peak_memory"] < 2**31
    curve = backend.get(f"/experiments/{experiment_id}/resources").json()
    assert max(curve["resources"]["memory"]) >= 2**26
    assert max(curve["resources"]["cpu"]) > 0.05


def is_said_to_be_unknown(backend: Deployment, experiment_id: str) -> None:
    """The reconciler says so once, and works as ever."""

    def log() -> str:
        return kubectl("-n", backend.namespace, "logs", backend.workload, "-c", "reconcile")

    eventually(
        lambda: NOT_KNOWN in log(),
        seconds=60,
        what="the reconciler says that the usage is not known",
        explain=backend.explain,
    )
    found = backend.experiment(experiment_id)
    assert (found["peak_cpu"], found["peak_memory"]) == (None, None)
    assert backend.get(f"/experiments/{experiment_id}/resources").json()["elapsed"] == []
    assert log().count(NOT_KNOWN) == 1
