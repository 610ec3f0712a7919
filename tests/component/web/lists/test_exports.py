"""Whole lists as CSV and NDJSON, and the choice of their columns."""

import csv
import io
import json
from urllib.parse import quote

import pytest

from backend.domain.exceptions import StoreUnavailable
from backend.launchers.base import Observation, Phase
from backend.web import exports
from backend.web.exports import harmless
from tests.component.web.lists.test_sorted_list import CURVES, submit, trained  # noqa: F401  (a fixture)


def table(response):
    """Return the rows of a CSV response as dicts."""
    assert response.status_code == 200, response.text
    assert response.content_type == "text/csv; charset=utf-8"
    text = response.data.decode()
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text[1:], newline="")))


def lines(response):
    assert response.status_code == 200, response.text
    assert response.content_type == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


@pytest.mark.usefixtures("trained")
def test_csv(client):
    rows = table(client.get("/experiments?format=csv&sort=metrics.val_loss.min"))

    assert [row["experiment_id"] for row in rows] == ["b", "a", "c"]
    assert rows[0]["metrics.val_loss.min"] == "0.1"
    assert rows[0]["metrics.손실.min"] == "-0.9"
    assert float(rows[0]["learning_rate"]) == 0.1**2
    assert rows[0]["status"] == "succeeded"
    assert rows[0]["reason"] == ""


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("kind", ["csv", "ndjson"])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "dcba"),
        ("&limit=3", "dcb"),
        ("&limit=2", "dc"),
        ("&sort=metrics.val_loss.last", "cab"),
        ("&sort=created_at&where=epoch=3", "abc"),
        ("&q=none", ""),
    ],
)
def test_all_pages(client, monkeypatch, kind, query, expected):
    monkeypatch.setattr(exports, "PAGE", 1)
    response = client.get(f"/model?format={kind}{query}")
    rows = table(response) if kind == "csv" else lines(response)

    assert "".join(row["experiment_id"] for row in rows) == expected


@pytest.mark.usefixtures("trained")
def test_ndjson_has_the_members_of_the_list(client):
    assert lines(client.get("/experiments?format=ndjson")) == client.get("/experiments").json


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/csv", "text/csv; charset=utf-8"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/json, text/csv;q=0.5", "application/json"),
        ("text/csv, application/json;q=0.5", "text/csv; charset=utf-8"),
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("text/csv;q=0", "application/json"),
        ("nonsense;;;", "application/json"),
    ],
)
def test_accept_header(client, accept, kind):
    response = client.get("/experiments", headers={"Accept": accept})

    assert response.content_type == kind
    assert "Accept" in response.headers["Vary"]
    assert client.get("/model?format=csv", headers={"Accept": accept}).data[:3] == b"\xef\xbb\xbf"


@pytest.mark.usefixtures("trained")
def test_chosen_fields(client):
    query = "fields=experiment_id,metrics.val_loss.min&fields=metrics.none.max&fields=reason"
    expected = {
        "experiment_id": "a",
        "metrics.val_loss.min": 0.3,
        "metrics.none.max": None,
        "reason": None,
    }

    assert client.get(f"/experiments?{query}&q=a").json == [expected]
    assert lines(client.get(f"/experiments?{query}&q=a&format=ndjson")) == [expected]
    assert table(client.get(f"/experiments?{query}&q=a&format=csv")) == [
        {"experiment_id": "a", "metrics.val_loss.min": "0.3", "metrics.none.max": "", "reason": ""}
    ]
    (row,) = table(client.get("/experiments?fields=metrics,diagnosis&q=a&format=csv"))
    assert json.loads(row["metrics"])["val_loss"]["min"] == 0.3
    assert row["diagnosis"] == ""


@pytest.mark.parametrize(
    "query",
    [
        "format=xml",
        "format=",
        "fields=uid",
        "fields=metrics.val_loss",
        "fields=a%00",
        "format=csv&sort=uid",
        "format=csv&where=x",
        f"fields={','.join(f'metrics.m{number}.min' for number in range(201))}",
    ],
)
def test_wrong_queries_are_refused(client, query):
    response = client.get(f"/experiments?{query}")

    assert response.status_code == 422
    assert response.content_type == "application/problem+json"


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@SUM(A1)", "=HYPERLINK(\"x\";'y')", "＝1", 'a,b"c', "실험 1"]
)
def test_formulas_are_harmless(client, services, experiments, name):
    submit(client, name)
    metric = '=cmd|"/c calc"!A1'
    (services.outputs.folder(name) / "metrics.jsonl").write_text(json.dumps({metric: -1}) + "\n")
    experiment = experiments.get(name)
    services.recorder.record(experiment, Observation(experiment.uid, Phase.FAILED))
    services.summaries.step()

    (row,) = table(client.get("/experiments?format=csv"))
    expected = name if name[0] in "a실" else f"'{name}"
    assert row["experiment_id"] == expected
    assert row[f"metrics.{metric}.min"] == "-1.0"  # a number stays one
    (chosen,) = table(
        client.get(f"/experiments?format=csv&fields={quote(f'metrics.{metric}.min')}")
    )
    assert chosen == {f"metrics.{metric}.min": "-1.0"}


def test_every_beginning_of_a_formula_is_harmless():
    for begin in "=+-@\t\r":
        assert harmless(f"{begin}1") == f"'{begin}1"
    assert harmless(-1.5) == -1.5
    assert harmless(None) is None


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_a_list_that_breaks_off_is_not_complete(client, services, monkeypatch, kind):
    """The error reaches the server, which then closes the connection without the last chunk."""
    monkeypatch.setattr(exports, "PAGE", 1)
    listing, calls = services.store.listing, []

    def failing(**options):
        calls.append(options)
        if len(calls) > 2:
            raise StoreUnavailable("gone")
        return listing(**options)

    monkeypatch.setattr(services.store, "listing", failing)
    with pytest.raises(StoreUnavailable):
        client.get(f"/experiments?format={kind}")
    response = client.get(f"/experiments?format={kind}")  # fails before anything is sent
    assert response.status_code == 503


@pytest.mark.usefixtures("trained")
def test_pages_are_read_while_they_are_sent(client, services, monkeypatch):
    monkeypatch.setattr(exports, "PAGE", 1)
    monkeypatch.setattr(exports, "PIECE_BYTES", 1)
    listing, calls = services.store.listing, []

    def counting(**options):
        calls.append(options["limit"])
        return listing(**options)

    monkeypatch.setattr(services.store, "listing", counting)
    response = client.get("/experiments?format=ndjson", buffered=False)
    pieces = response.iter_encoded()
    next(pieces)
    assert calls == [1]
    assert sum(1 for _ in pieces) == len(CURVES)
    response.close()
