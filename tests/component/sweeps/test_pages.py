"""The pages of sweeps in the dashboard."""

import pytest

from backend.launchers.base import Phase
from tests.component.support import BROWSER
from tests.component.sweeps.test_routes import FORM


def test_list(client, house):
    assert "No sweeps yet" in client.get("/ui/sweeps").text
    client.post("/sweeps", data=FORM)
    house.driver.step()

    page = client.get("/ui/sweeps").text
    assert 'href="/ui/sweeps/s"' in page
    assert "2 of 4" in page
    assert "random for low val_loss" in page


def test_one(client, house, services):
    client.post("/sweeps", data=FORM)
    house.driver.step()
    page = client.get("/ui/sweeps/s").text
    assert "Too few trials" in page
    assert "Pause" in page
    house.end("s-0001", 0.5)
    house.end("s-0002", 0.25)
    house.driver.step()
    services.experiments.prune("s-0003", 1, "It was <hopeless>.")
    house.end("s-0003", 0.9, phase=Phase.CANCELLED)
    house.summaries()

    page = client.get("/ui/sweeps/s").text
    assert page.index("s-0002</a></th>") < page.index("s-0001</a></th>")
    assert "polyline" in page
    assert "It was &lt;hopeless&gt;." in page
    assert "0.0001 to 0.1, by orders of magnitude" in page
    assert "32, 64" in page


def test_a_trial_leads_to_its_sweep(client, house):
    client.post("/sweeps", data=FORM)
    house.driver.step()

    assert 'trial 1 of <a href="/ui/sweeps/s">' in client.get("/ui/experiments/s-0001").text


@pytest.mark.parametrize("model", ["autoencoder", "classifier", "conv-autoencoder"])
def test_new(client, model):
    page = client.get(f"/ui/sweeps/new?model={model}").text

    assert 'data-name="learning_rate"' in page
    assert 'data-name="parameter.seed"' in page


def test_new_around_an_experiment(client):
    client.post("/test", data={"experiment_id": "first", "learning_rate": "0.125", "epoch": "7"})

    page = client.get("/ui/sweeps/new?from=first").text
    assert 'value="0.125"' in page
    assert 'href="/ui/sweeps/new?from=first"' in client.get("/ui/experiments/first").text


@pytest.mark.parametrize(
    ("path", "status"),
    [("/ui/sweeps/none", 404), ("/ui/sweeps/new?model=none", 404), ("/ui/sweeps/new?from=no", 404)],
)
def test_what_is_not_there(client, path, status):
    assert client.get(path, headers=BROWSER).status_code == status


def test_read_only_sessions_are_offered_no_changes(anonymous):
    assert anonymous.get("/ui/sweeps", headers=BROWSER).status_code in (303, 401)


def test_actions_of_an_ended_sweep(client, house):
    client.post("/sweeps", data=FORM)
    house.driver.step()
    client.post("/sweeps/s/cancel")

    page = client.get("/ui/sweeps/s").text
    assert 'data-dialog="delete-dialog"' in page
    assert 'data-dialog="extend-dialog"' not in page
    assert "data-post" not in page
