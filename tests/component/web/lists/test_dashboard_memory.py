"""Tags, notes, columns and plots on the pages, and what a reader is offered of them."""

import re
from html import unescape

import pytest

from backend.launchers.base import Phase
from tests.component.support import ALICE, BOB, BROWSER, bearer
from tests.component.web.lists.test_dashboard_list import names, trained  # noqa: F401
from tests.component.web.lists.test_sorted_list import submit

NOTE = "**Good** <script>alert(1)</script> [paper](https://example.com)"


@pytest.mark.usefixtures("trained")
def test_tags_and_favourites_in_the_list(client):
    client.put("/experiments/a/tags/good%20seed")
    client.patch("/experiments/b", json={"favourite": True})
    html = client.get("/ui").text

    assert '<a class="label" href="/ui?tag=good+seed"' in html
    assert html.count('<svg class="star on"') == 1
    assert names(client.get("/ui?tag=good+seed").text) == "a"
    assert names(client.get("/ui?favourite=true").text) == "b"
    assert 'name="favourite" value="true" checked' in client.get("/ui?favourite=true").text
    assert 'class="count"' not in client.get("/ui?tag=good+seed").text


@pytest.mark.usefixtures("trained")
def test_chosen_columns_are_in_every_address(client):
    columns = "columns=batch_size&columns=metrics.val_loss.min&columns=tags&columns=duration"
    client.put("/experiments/a/tags/x")
    html = client.get(f"/ui?{columns}&sort=batch_size").text

    assert re.findall(r'<th scope="col" class="(\w+)"', html) == [
        *("name", "status"),
        *("figure", "figure", "labels", "figure"),
    ]
    assert 'class="figure" aria-sort="ascending" title="Batch size"' in html
    assert '<td class="figure" title="0.1">0.1</td>' in html
    for address in re.findall(r'<a href="(/ui\?[^"]*)"', html.partition("<table")[2]):
        if "tag=" not in address:
            assert columns in unescape(address)
    assert 'value="batch_size" checked' in html
    assert client.get("/ui?columns=learning_rate").text.count('<td class="rate">') == 4


@pytest.mark.usefixtures("trained")
def test_plots_of_a_filter(client):
    client.put("/experiments/a/tags/x")
    client.put("/experiments/b/tags/x")
    html = client.get("/ui/plots?x=learning_rate&group=tags&status=failed").text

    assert "3 experiments in one picture" in html
    assert html.count("<circle") == 3
    assert 'href="/ui/experiments/b" aria-label="b: 0.01, 0.1"' in html
    assert html.count("<polyline") == 3
    (row,) = re.findall(r'<th scope="row">x</th>(.*?)</tr>', html)
    assert re.findall(r">([^<]+)</(?:td|a)>", row) == ["2", "0.1", "0.2", "b"]
    chosen = client.get("/ui/plots?id=a&id=b").text
    assert chosen.count("<circle") == 2


@pytest.mark.usefixtures("trained")
def test_plots_of_nothing(client):
    assert "0 experiments in one picture" in client.get("/ui/plots?q=nothing").text
    assert client.get("/ui/plots?id=none").status_code == 404
    assert client.get("/ui/plots?where=x").status_code == 422
    assert client.get("/ui/plots?x=A").status_code == 422
    hostile = client.get("/ui/plots?y=metrics.%3Cscript%3E.min&x=metrics.%22%3E.max").text
    assert "<script>." not in hostile


def test_note_and_tags_of_an_experiment(client, make_experiment):
    make_experiment("first", Phase.SUCCEEDED)
    html = client.get("/ui/experiments/first").text
    assert "Add tags or a note" in html
    client.patch("/experiments/first", json={"note": NOTE, "tags": ["a", "b"], "favourite": True})
    html = client.get("/ui/experiments/first").text

    assert "<strong>Good</strong> &lt;script&gt;" in html
    assert '<a href="https://example.com" rel="noopener nofollow">paper</a>' in html
    assert "<script>alert" not in html
    assert 'id="notes-tags" value="a, b"' in html
    assert 'aria-pressed="true"' in html


def test_a_reader_is_offered_no_change(protected_app):
    reader = protected_app.test_client()
    form = {"learning_rate": "0.001", "epoch": "20", "experiment_id": "a"}
    reader.post("/test", data=form, headers=bearer(ALICE))
    reader.patch(
        "/experiments/a",
        json={"note": NOTE, "tags": ["x"], "favourite": True},
        headers=bearer(ALICE),
    )
    reader.post("/ui/login", data={"token": BOB})
    html = reader.get("/ui/experiments/a").text

    for shown in ("<strong>Good</strong>", ">x</a>", "submitted by alice", 'class="star on"'):
        assert shown in html
    for offer in ("notes-dialog", "data-patch", "Add tags", "Run again"):
        assert offer not in html
    for path in ("/ui/new", "/ui/new?from=a", "/ui/new?model=autoencoder"):
        response = reader.get(path, headers=BROWSER)
        assert response.status_code == 403
        assert "<form id=" not in response.text
        assert "may only read" in response.text


def test_suggested_names(client):
    submit(client, "digits-lr-0.1", learning_rate="0.1")
    submit(client, "digits-lr-0.05", learning_rate="0.05")

    def suggested(query):
        return client.get(f"/ui/new/name?from=digits-lr-0.1&{query}").json["experiment_id"]

    assert suggested("learning_rate=0.01") == "digits-lr-0.01"
    assert suggested("learning_rate=0.1") == "digits-lr-0.1-2"
    assert suggested("learning_rate=0.05") == "digits-lr-0.05-2"
    assert suggested("learning_rate=x") == "digits-lr-0.1-2"
    assert client.get("/ui/new/name?from=none").status_code == 404
    assert client.get("/ui/new/name").status_code == 404
