"""The list of the dashboard: order, filters, counts, and what a reader is offered."""

import json
import re
from html import unescape
from urllib.parse import quote

import pytest

from backend.launchers.base import Observation, Phase
from backend.web.routes.pages import experiments as experiments_page
from tests.component.support import ALICE, BOB, bearer
from tests.component.web.lists.test_sorted_list import submit

CURVES = {"a": [0.9, 0.3, 0.4], "b": [0.8, 0.1, 0.9], "c": [0.7, 0.5, 0.35]}


@pytest.fixture
def trained(client, services, experiments):
    """Three experiments with curves that have failed, and one that waits."""
    for number, (name, curve) in enumerate(CURVES.items(), 1):
        submit(client, name, learning_rate=str(0.1**number), epoch="3")
        lines = [{"epoch": e, "val_loss": v, "accuracy": -v} for e, v in enumerate(curve, 1)]
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (services.outputs.folder(name) / "metrics.jsonl").write_text(text)
        experiment = experiments.get(name)
        services.recorder.record(experiment, Observation(experiment.uid, Phase.FAILED))
    submit(client, "d")
    services.summaries.step()


def names(html):
    return "".join(re.findall(r'name="id" value="(.)"', html))


def link(html, label):
    """Return the address of the link with this text."""
    (address,) = re.findall(rf'<a [^>]*href="([^"]+)"[^>]*>{label}</a>', html)
    return unescape(address)


@pytest.mark.usefixtures("trained")
def test_headers_sort_and_reverse(client):
    html = client.get("/ui").text
    assert names(html) == "dcba"
    for label, first, second in (
        ("Best val_loss", "bac", "cab"),
        ("Last val_loss", "cab", "bac"),
        ("Learning rate", "dcba", "abcd"),
        ("Submitted", "abcd", "dcba"),
    ):
        sorted_html = client.get(link(html, label)).text
        assert (label, names(sorted_html)) == (label, first)
        assert names(client.get(link(sorted_html, label)).text) == second


@pytest.mark.usefixtures("trained")
def test_high_is_best_for_an_accuracy(client):
    html = client.get("/ui?metric=accuracy").text
    sorted_html = client.get(link(html, "Best accuracy")).text

    assert "sort=-metrics.accuracy.max" in link(html, "Best accuracy")
    assert names(sorted_html) == "bac"
    assert '<td class="best">-0.1 <span class="quiet">at 2</span></td>' in sorted_html


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("sort", ["metrics.val_loss.min", "-learning_rate", "-epoch", "updated_at"])
def test_pages_keep_order_and_filter(client, monkeypatch, sort):
    monkeypatch.setattr(experiments_page, "PAGE_ROWS", 1)
    address, found = f"/ui?sort={sort}&where=learning_rate%3C0.5&status=failed", ""
    while address:
        html = client.get(address).text
        found += names(html)
        following = re.search(r'rel="next" [^>]*href="([^"]+)"', html)
        address = following and unescape(following[1])
        assert "learning_rate&lt;0.5" in html

    assert sorted(found) == ["a", "b", "c"]


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("metrics.val_loss.min<0.3 and learning_rate<0.05", "b"),
        ("experiment_id=x and y", ""),
        ("  ", "dcba"),
        ("epoch=3 and metrics.val_loss.last!=0.4", "cb"),
    ],
)
def test_one_filter_of_several_comparisons(client, where, expected):
    response = client.get(f"/ui?where={quote(where)}")

    assert response.status_code == 200
    assert names(response.text) == expected


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("rate<1", "The filter has an unknown name at character 1"),
        ("epoch=3 and epoch<x", "a number such as"),
        (" and ".join(["epoch=3"] * 21), "at most 20 comparisons"),
        ("<script>alert(1)</script>", "The filter has an unknown name"),
    ],
)
def test_wrong_filter_is_explained_in_the_page(client, where, words):
    response = client.get(f"/ui?where={quote(where)}")

    assert response.status_code == 422
    assert words in unescape(response.text)
    assert names(response.text) == ""
    assert "<script>alert" not in response.text


@pytest.mark.parametrize(
    "query",
    [
        "sort=uid",
        "sort=metrics.x.min&after=2026-01-01T00:00:00.000000Z~1",
        "after=0.5~1",
        "metric=a%00",
        f"metric={'x' * 301}",
    ],
)
def test_wrong_addresses_are_refused(client, query):
    assert client.get(f"/ui?{query}").status_code == 422


@pytest.mark.usefixtures("trained")
def test_tabs_have_counts(client):
    tabs = re.findall(r'(\w+) <span class="count">(\d+)</span>', client.get("/ui").text)

    assert dict(tabs)["failed"] == "3"
    assert dict(tabs)["all"] == "4"
    assert 'class="count"' not in client.get("/ui?q=a").text  # they would count others


@pytest.mark.usefixtures("trained")
def test_rows_name_what_can_be_done(client):
    assert re.findall('data-can="([^"]*)"', client.get("/ui").text) == [
        "cancel",
        *["retry delete"] * 3,
    ]


@pytest.mark.usefixtures("trained")
def test_link_to_the_same_list_as_a_table(client):
    html = client.get("/ui?where=epoch%3D3&sort=metrics.val_loss.min&metric=accuracy").text
    answer = client.get(link(html, "CSV"))

    assert answer.content_type.startswith("text/csv")
    assert [row.partition(",")[0] for row in answer.text.split("\r\n")[1:4]] == ["b", "a", "c"]


def test_hostile_metric_names(client, services, experiments):
    submit(client, "a")
    rows = {"epoch": 1, "<script>alert(1)</script>": 1, "'\"&?#%": 2, "손실": 3}
    (services.outputs.folder("a") / "metrics.jsonl").write_text(json.dumps(rows) + "\n")
    experiment = experiments.get("a")
    services.recorder.record(experiment, Observation(experiment.uid, Phase.FAILED))
    services.summaries.step()
    for name in list(rows)[1:]:
        html = client.get(f"/ui?sort=metrics.{quote(name)}.max").text
        assert names(html) == "a"
        assert "<script>alert" not in html
        assert names(
            client.get(unescape(re.findall('class="best"[^>]*><a href="([^"]+)', html)[0])).text
        )


def test_read_only_session_is_offered_nothing(client, protected_app, signed_in):
    html = signed_in.get("/ui").text
    assert "New experiment" in html
    assert "data-bulk" in html
    reader = protected_app.test_client()
    reader.post("/ui/login", data={"token": BOB})
    html = reader.get("/ui").text
    assert "Experiments" in html
    for offer in ("New experiment", "data-bulk", "<dialog"):
        assert offer not in html


def test_read_only_session_cannot_cancel_on_the_page(protected_app):
    reader = protected_app.test_client()
    form = {"learning_rate": "0.001", "epoch": "20", "experiment_id": "a"}
    assert reader.post("/test", data=form, headers=bearer(ALICE)).status_code == 201
    reader.post("/ui/login", data={"token": BOB})
    html = reader.get("/ui/experiments/a").text

    assert "<h1>a</h1>" in html
    for offer in ("cancel-dialog", "Run again", "New experiment"):
        assert offer not in html
