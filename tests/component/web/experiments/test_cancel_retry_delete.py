"""Cancel, retry, delete."""

import json

import pytest

from backend.domain.status import Status
from backend.launchers.base import Observation, Phase
from tests.component.support import FORM

LIVE = (Phase.QUEUED, Phase.RUNNING)
ENDS = (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)


@pytest.fixture
def bring_to(services, client, experiments):
    """Return a function that submits an experiment and records observations."""

    def submit_and_record(*phases):
        client.post("/test", data=FORM)
        for phase in phases:
            experiment = experiments.get("first")
            services.recorder.record(experiment, Observation(experiment.uid, phase))
        return experiments.get("first")

    return submit_and_record


def check_conflict(response, *texts):
    assert response.status_code == 409
    assert response.content_type == "application/problem+json"
    for text in texts:
        assert text in response.json["detail"]


@pytest.mark.parametrize("phase", LIVE)
def test_cancel(client, launcher, bring_to, phase):
    experiment = bring_to(phase)
    response = client.post("/experiments/first/cancel")

    assert response.status_code == 202
    assert response.json["status"] == experiment.status
    assert response.json["cancel_requested_at"]
    assert not launcher.jobs


def test_cancel_twice(services, client, experiments, bring_to):
    bring_to()
    client.post("/experiments/first/cancel")
    assert client.post("/experiments/first/cancel").status_code == 202
    services.recorder.record_gone(experiments.get("first"))
    response = client.post("/experiments/first/cancel")

    assert response.status_code == 200
    assert response.json["status"] == "cancelled"


@pytest.mark.parametrize("phase", [Phase.SUCCEEDED, Phase.FAILED])
def test_cancel_after_end_conflicts(client, bring_to, phase):
    bring_to(phase)

    check_conflict(client.post("/experiments/first/cancel"), "'first'", str(phase))


def test_cancel_while_launcher_is_down(client, launcher, bring_to):
    bring_to()
    launcher.down = True
    response = client.post("/experiments/first/cancel")

    assert response.status_code == 202
    assert response.json["cancel_requested_at"]


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.CANCELLED])
def test_retry(client, launcher, bring_to, phase):
    first = bring_to(phase)
    response = client.post("/experiments/first/retry")

    assert response.status_code == 202
    assert response.json["status"] == "queued"
    assert response.json["attempt"] == 2
    assert response.json["job"] != first.job
    assert response.json["finished_at"] is None
    assert {first.job, response.json["job"]} <= launcher.jobs.keys()
    history = client.get("/experiments/first").json["history"]
    assert [(transition["attempt"], transition["to_status"]) for transition in history] == [
        (1, "submitting"),
        (1, "queued"),
        (1, str(phase)),
        (2, "submitting"),
        (2, "queued"),
    ]


@pytest.mark.parametrize("phase", [Phase.QUEUED, Phase.RUNNING, Phase.SUCCEEDED])
def test_retry_needs_failed_or_cancelled(client, bring_to, phase):
    bring_to(phase)

    check_conflict(client.post("/experiments/first/retry"), str(phase))


def test_resubmit_after_retry(client, bring_to):
    """Submitting a retried experiment again answers with its current attempt."""
    bring_to(Phase.FAILED)
    client.post("/experiments/first/retry")
    response = client.post("/test", data=FORM)

    assert response.status_code == 200
    assert response.json["attempt"] == 2


@pytest.mark.parametrize("phase", ENDS)
@pytest.mark.parametrize("outputs", ["false", "true"])
def test_delete(client, launcher, settings, bring_to, phase, outputs):
    bring_to(phase)
    response = client.delete(f"/experiments/first?outputs={outputs}")

    assert response.status_code == 204
    assert response.data == b""
    assert client.get("/experiments/first").status_code == 404
    assert not launcher.jobs
    assert (settings.output_dir / "first").exists() == (outputs == "false")


@pytest.mark.parametrize(("outputs", "status"), [("false", 409), ("true", 201)])
def test_reuse_of_deleted_id(client, bring_to, outputs, status):
    bring_to(Phase.FAILED)
    client.delete(f"/experiments/first?outputs={outputs}")

    assert client.post("/test", data=FORM).status_code == status


@pytest.mark.parametrize("phase", LIVE)
def test_live_cannot_be_deleted(client, bring_to, phase):
    bring_to(phase)

    check_conflict(client.delete("/experiments/first"), "cancel it first")


def test_delete_while_launcher_is_down(client, launcher, settings, bring_to):
    bring_to(Phase.FAILED)
    launcher.down = True
    response = client.delete("/experiments/first?outputs=true")

    assert response.status_code == 503
    assert client.get("/experiments/first").status_code == 200
    assert (settings.output_dir / "first").exists()


def test_delete_follows_no_link(client, settings, tmp_path, bring_to):
    bring_to(Phase.FAILED)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    (settings.output_dir / "first" / "link").symlink_to(tmp_path / "elsewhere")
    client.delete("/experiments/first?outputs=true")

    assert (tmp_path / "elsewhere" / "kept").exists()


def test_delete_with_the_folder_of_another(client, settings, bring_to):
    """Its folder was replaced by that of another experiment, which loses nothing."""
    bring_to(Phase.CANCELLED)
    file = settings.output_dir / "first" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"uid": "other"}))

    refused = client.delete("/experiments/first?outputs=true")
    assert refused.status_code == 409
    assert "belongs to another experiment" in refused.json["detail"]
    assert client.get("/experiments/first").json["status"] == "cancelled"
    assert client.delete("/experiments/first").status_code == 204
    assert file.exists()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/experiments/none/cancel"),
        ("post", "/experiments/none/retry"),
        ("delete", "/experiments/none"),
    ],
)
def test_unknown_experiment(client, method, path):
    assert getattr(client, method)(path).status_code == 404


def test_success_before_cancel_counts(services, client, experiments, settings, bring_to):
    bring_to(Phase.RUNNING)
    client.post("/experiments/first/cancel")
    (settings.output_dir / "first" / "summary.json").write_text("{}")
    services.recorder.record_gone(experiments.get("first"))

    assert experiments.get("first").status is Status.SUCCEEDED


def test_retry_with_unwritable_folder(client, experiments, settings, bring_to):
    bring_to(Phase.FAILED)
    folder = settings.output_dir / "first"
    aside = folder.rename(settings.output_dir / "aside")
    folder.touch()  # a file where the folder should be
    response = client.post("/experiments/first/retry")

    assert response.status_code == 202
    assert response.json["status"] == "submitting"

    folder.unlink()
    aside.rename(folder)
    assert experiments.launch(experiments.get("first")).status is Status.QUEUED
