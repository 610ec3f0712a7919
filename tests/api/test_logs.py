import pytest

from backend.launchers.base import Observation, Phase

FORM = {"learning_rate": "0.001", "epoch": "20", "experiment_id": "first"}


@pytest.fixture
def experiment(client, experiments):
    client.post("/test", data=FORM)
    return experiments.get("first")


def test_the_log_of_a_run_that_goes_on(client, experiment):
    response = client.get("/experiments/first/logs")

    assert response.status_code == 200
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.text == "epoch 1/20\nepoch 2/20\n"


def test_the_log_stays_when_the_job_is_gone(client, experiment, experiments, launcher, settings):
    experiments.observe(experiment, Observation(experiment.uid, Phase.SUCCEEDED))
    launcher.jobs.clear()
    launcher.down = True

    assert client.get("/experiments/first/logs").text == "epoch 1/20\nepoch 2/20\n"
    assert (settings.output_dir / "first" / "logs" / "1.log").is_file()


def test_each_attempt_keeps_its_log(client, experiment, experiments, launcher):
    experiments.observe(experiment, Observation(experiment.uid, Phase.FAILED))
    client.post("/experiments/first/retry")
    launcher.jobs.clear()

    assert client.get("/experiments/first/logs").text == ""
    assert client.get("/experiments/first/logs?attempt=1").text == "epoch 1/20\nepoch 2/20\n"


def test_a_log_that_cannot_be_kept_does_not_hold_the_end_up(
    client, experiment, experiments, settings
):
    (settings.output_dir / "first" / "logs").touch()  # a file where the folder should be
    experiments.observe(experiment, Observation(experiment.uid, Phase.SUCCEEDED))

    assert client.get("/experiments/first").json["status"] == "succeeded"


def test_a_launcher_that_is_away(client, experiment, launcher):
    launcher.down = True
    response = client.get("/experiments/first/logs")

    assert response.status_code == 503
    assert response.content_type == "application/problem+json"


def test_nothing_there(client):
    assert client.get("/experiments/none/logs").status_code == 404


def test_a_query_that_is_wrong(client, experiment):
    assert client.get("/experiments/first/logs?attempt=0").status_code == 422
    assert client.get("/experiments/first/logs?tail=1").status_code == 422
