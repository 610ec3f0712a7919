"""The pages of sweeps in the dashboard."""

import re

import pytest

from backend.launchers.base import Phase
from tests.component.support import BROWSER
from tests.component.sweeps.test_routes import FORM
from tests.component.web.lists.test_sorted_list import submit


def test_list(client, house):
    assert "No sweeps yet" in client.get("/ui/sweeps").text
    client.post("/sweeps", data=FORM)
    house.driver.step()

    page = client.get("/ui/sweeps").text
    assert 'href="/ui/sweeps/s"' in page
    assert "2 of 4" in page
    assert "random for low val_loss" in page
    assert "s-0001" not in page
    house.end("s-0001", 0.0625)
    house.summaries()

    page = client.get("/ui/sweeps").text
    assert re.search(r'0\.0625 <a href="/ui/experiments/s-0001"[^>]*>trial 1</a>', page)


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
    assert page.count("best-line") == 1
    assert 'data-names="s-0003"' in page  # pruned, in a layer of its own
    assert "It was &lt;hopeless&gt;." in page
    assert "0.0001 to 0.1, by orders of magnitude" in page
    assert "32, 64" in page


def test_the_parameter_across_is_chosen_in_the_address(client, house):
    client.post("/sweeps", data=FORM)
    house.driver.step()

    for x, shown in (("learning_rate", "learning_rate"), ("hidden", "hidden"), ("none", "hidden")):
        page = client.get(f"/ui/sweeps/s?x={x}").text
        assert f'<option value="{shown}" selected>' in page


def test_the_table_shows_the_best_hundred(client, house):
    client.post("/sweeps", data=FORM | {"trials": "103", "parallel": "103"})
    house.driver.step()

    page = client.get("/ui/sweeps/s").text
    assert page.count("data-key=") == 100
    assert "/ui/sweeps/s?x=hidden&amp;rows=200" in page
    assert client.get("/ui/sweeps/s?rows=200").text.count("data-key=") == 103
    assert client.get("/ui/sweeps/s?rows=x").text.count("data-key=") == 100


def test_the_data_set_is_shown_with_its_files(client, house):
    for name in ("a.csv", "b.csv"):
        client.put(f"/inputs/{name}", data=b"x,y\n1,2\n3,4\n")
    client.post("/sweeps", data=FORM)
    before = client.get("/ui/sweeps/s").text
    house.driver.step()
    client.put("/inputs/c.csv", data=b"x,y\n1,2\n3,4\n")

    assert "every file (2)" in before
    assert "every file (2)" in client.get("/ui/sweeps/s").text  # those of its trials


def test_experiments_are_compared_by_their_sweeps(client, house):
    for sweep_id in ("s", "t"):
        client.post("/sweeps", data=FORM | {"sweep_id": sweep_id})
    house.driver.step()
    submit(client, "alone")
    house.end("s-0002", 0.25)
    house.end("t-0001", 0.5)
    house.summaries()

    page = client.get("/ui/plots?group=sweep&y=metrics.val_loss.min").text
    groups = re.findall(r'<th scope="row">(\w+)</th>(.*?)</tr>', page)
    figures = [(name, *re.findall(r">([^<]+)</(?:td|a)>", row)) for name, row in groups]
    assert figures == [
        ("s", "2", "0.25", "0.25", "s-0002"),
        ("t", "2", "0.5", "0.5", "t-0001"),
        ("none", "1"),
    ]
    assert ">Sweep</th>" in client.get("/ui?columns=sweep").text.replace("</a>", "")


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
    assert 'placeholder="lowest" value="0.0125"' in page
    assert 'placeholder="highest" value="1.25"' in page
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
