"""What experiments use, with metrics-server and without."""

from tests.e2e.conftest import DATASET
from tests.e2e.support import Deployment, eventually, kubectl, serves_metrics
from tests.e2e.test_1_ends import send

EPOCHS = 100_000  # goes on until it is cancelled
NOT_KNOWN = "What experiments use is not known"


def test_usage(backend: Deployment) -> None:
    assert backend.post("measured", epoch=EPOCHS, dataset=DATASET).status == 201
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
