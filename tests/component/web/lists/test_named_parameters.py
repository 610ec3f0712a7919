"""Lists sorted, filtered and searched by what has no column of its own."""

import re
import sqlite3
from contextlib import closing
from urllib.parse import quote

import pytest

from backend.domain.experiment import Parameters
from backend.experiments.rebuild import rebuild
from backend.launchers.base import Observation, Phase
from backend.store import pages
from tests.component.support import check_problem
from tests.component.support import submit as submit_to
from tests.component.web.lists.test_sorted_list import ids, submit

OTHERS = {"a": (16, 8), "b": (64, 8), "c": (32, 128)}


@pytest.fixture
def chosen(client):
    for name, (batch_size, hidden) in OTHERS.items():
        submit(client, name, batch_size=str(batch_size), hidden=str(hidden))


@pytest.mark.usefixtures("chosen")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sort=batch_size", "acb"),
        ("sort=-batch_size", "bca"),
        ("sort=-parameters.batch_size&limit=2", "bc"),
        ("where=batch_size>=32", "cb"),
        ("where=parameters.hidden=8", "ba"),
        ("where=hidden!=8", "c"),
        ("where=hidden=8 and batch_size<64&sort=batch_size", "a"),
        ("where=parameters.learning_rate<0.01&sort=parameters.learning_rate", "abc"),
        ("where=model=autoencoder&sort=created_at", "abc"),
        ("where=size=&sort=created_at", "abc"),
        ("where=by=&sort=created_at", "abc"),
        ("where=batch_size=x", ""),
    ],
)
def test_order_and_filters(client, query, expected):
    assert ids(client, query.replace(" ", "%20")) == expected


@pytest.mark.usefixtures("chosen")
def test_pages_of_a_parameter(client):
    listed, path = "", "/experiments?limit=1&sort=-batch_size"
    while path:
        response = client.get(path)
        listed += "".join(experiment["experiment_id"] for experiment in response.json)
        link = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("Link", ""))
        path = link and link[1]

    assert listed == "bca"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("where=batchsize<1", "unknown name at character 1, 'batchsize'"),
        ("where=parameters.nothing=1", "unknown name at character 1, 'nothing'"),
        ("where=batch_size<x", "number"),
        ("sort=nothing", "another parameter"),
        ("sort=parameters.", "another parameter"),
    ],
)
def test_unknown_names(client, query, words):
    response = client.get(f"/experiments?{query}")
    assert response.status_code == 422
    assert words in response.json["detail"]


def with_text(model_parameters):
    return Parameters("other", 0.001, 20, None, model_parameters)


def test_every_type_of_value(client, experiments):
    """Also those of models that the catalogue does not have any more."""
    long = "x" * 201
    submit_to(experiments, "a", with_text('{"flag": true, "kind": "adam", "n": 1}'))
    submit_to(experiments, "b", with_text('{"flag": false, "kind": "3", "n": 2.5}'))
    submit_to(experiments, "c", with_text(f'{{"flag": true, "kind": "{long}", "n": {2**62}}}'))

    for query, expected in (
        ("where=flag=true", "ca"),
        ("where=kind=adam", "a"),
        ("where=kind=3", "b"),
        ("where=kind!=adam", "cb"),
        ("where=kind=Adam", ""),
        ("where=n>2", "cb"),
        ("where=n=1.0", "a"),
        ("sort=flag&where=n<3", "ba"),
        ("sort=-n", "cba"),
    ):
        assert (query, ids(client, query)) == (query, expected)


def older_version(settings):
    """Make the rows look as those of an older version."""
    with closing(sqlite3.connect(settings.sqlite_path, isolation_level=None)) as database:
        database.execute("DELETE FROM parameter")
        database.execute("UPDATE experiment SET is_indexed = NULL, folded_id = NULL")
        database.execute("UPDATE experiment SET submitted_by = NULL")
        database.execute("UPDATE transition SET actor = 'alice' WHERE from_status IS NULL")


@pytest.mark.usefixtures("chosen")
def test_rows_of_an_older_version_are_filled_in(client, services, settings):
    submit(client, "É", batch_size="100")
    before = client.get("/experiments?where=batch_size=16").json[0]["updated_at"]
    older_version(settings)
    assert ids(client, "sort=batch_size") == ids(client, "q=%C3%89&where=batch_size=1") == ""
    tag = client.get("/experiments").headers["ETag"]

    services.summaries.step()

    assert ids(client, "where=batch_size<=32&sort=batch_size") == "ac"
    assert ids(client, "q=e") == "É"
    (first,) = client.get("/experiments?where=batch_size=16").json
    assert (first["by"], first["updated_at"]) == ("alice", before)
    assert client.get("/experiments", headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.usefixtures("chosen")
def test_rebuild_restores_them(client, services, launcher, delete_rows):
    delete_rows()
    rebuild(services.archive, launcher)

    assert ids(client, "sort=batch_size") == "acb"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run", ["run_1", "Run 2"]),
        ("CAFE", ["Café"]),
        ("É", ["Café", "l'été", "Straße"]),
        ("ete", ["l'été"]),
        ("strasse", ["Straße"]),
        ("ΣΟΦΟΣ", ["σοφος"]),
        ("실험", ["실험 7"]),
        ("실", ["실험 7"]),
        ("n_1", ["run_1"]),
        ("%", []),
        ("\u0301", []),
        ("'", ["l'été"]),
    ],
)
def test_search_ignores_case_and_accents(client, experiments, text, expected):
    for name in ("run_1", "Run 2", "Café", "l'été", "Straße", "σοφος", "실험 7"):
        submit_to(experiments, name)

    found = client.get(f"/experiments?sort=created_at&q={quote(text)}").json
    assert [experiment["experiment_id"] for experiment in found] == expected


@pytest.mark.parametrize("sort", ["-created_at", "created_at", "learning_rate", "-batch_size"])
@pytest.mark.parametrize(
    "searched",
    ["q=hit", "where=hidden=99", "where=job!=x&where=hidden=99", "q=HIT&where=hidden=99"],
)
def test_a_search_examines_a_bounded_number(client, monkeypatch, searched, sort):
    """A page may be empty and another one follow, which finds the rest."""
    monkeypatch.setattr(pages, "SEARCHED", (1, 2))
    submit_hits(client)
    sizes, found, path = [], [], f"/experiments?{searched}&sort={sort}"
    while path:
        response = client.get(path)
        sizes.append(len(response.json))
        found += [experiment["experiment_id"] for experiment in response.json]
        again = client.get(path, headers={"If-None-Match": response.headers["ETag"]})
        assert again.status_code == 304
        link = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("Link", ""))
        path = link and link[1]

    assert sizes == [1, 0, 1]
    assert sorted(found) == ["hit-0", "hit-4"]
    exported = client.get(f"/experiments?{searched}&sort={sort}&format=ndjson").text
    assert exported.count("\n") == 2


@pytest.mark.parametrize("limit", [1, 2])
def test_an_empty_page_changes_when_something_matches(client, services, monkeypatch, limit):
    monkeypatch.setattr(pages, "SEARCHED", (1, 2))
    submit_hits(client)
    path = f"/experiments?where=status=running&limit={limit}"
    empty = client.get(path)
    assert (empty.json, "Link" in empty.headers) == ([], True)
    running = services.experiments.get("run-3")
    services.recorder.record(running, Observation(running.uid, Phase.RUNNING))

    changed = client.get(path, headers={"If-None-Match": empty.headers["ETag"]})
    assert [experiment["experiment_id"] for experiment in changed.json] == ["run-3"]


@pytest.mark.parametrize(
    "wanted", ["where=experiment_id=hit-0", "tag=good", "tag=good&where=hidden=99"]
)
def test_few_are_found_at_once(client, monkeypatch, wanted):
    """An index leads to them, so that no other experiment is examined."""
    monkeypatch.setattr(pages, "SEARCHED", (1, 2))
    submit_hits(client)
    assert client.put("/experiments/hit-0/tags/good").status_code in (200, 201, 204)

    response = client.get(f"/experiments?{wanted}")
    assert [experiment["experiment_id"] for experiment in response.json] == ["hit-0"]
    assert "Link" not in response.headers


def test_a_search_within_a_status(client, services, monkeypatch):
    """Only those of the status are examined."""
    monkeypatch.setattr(pages, "SEARCHED", (1, 2))
    submit_hits(client)
    oldest = services.experiments.get("hit-0")
    services.recorder.record(oldest, Observation(oldest.uid, Phase.RUNNING))

    for sort in ("created_at", "-created_at"):
        found = client.get(f"/experiments?status=running&where=hidden=99&sort={sort}")
        assert [experiment["experiment_id"] for experiment in found.json] == ["hit-0"]
        assert "Link" not in found.headers


def submit_hits(client):
    """Submit five experiments, of which a search finds the first and the last."""
    for number in range(5):
        is_hit = number in (0, 4)
        submit(
            client,
            f"hit-{number}" if is_hit else f"run-{number}",
            learning_rate=str(0.1 / (number + 1)),
            batch_size=str(9 - number),
            hidden="99" if is_hit else "8",
        )


def test_the_dashboard_says_that_a_search_goes_on(client, monkeypatch):
    monkeypatch.setattr(pages, "SEARCHED", (1, 2))
    for name in ("hit", "b", "c"):
        submit(client, name)
    html = client.get("/ui?q=hit").text

    assert "No experiment matches so far" in html
    assert "Search older experiments" in html


def test_wrong_columns_and_tags_of_a_page(client):
    for query in ("columns=Uid", "columns=metrics.a.worst", "tag=a%2Fb", "x=1", "columns=a%00"):
        page = "/ui/plots" if query.startswith("x=") else "/ui"
        assert client.get(f"{page}?{query}").status_code == 422
    many = "&".join(f"columns=p{number}" for number in range(31))
    check_problem(client.get("/experiments?where=nothing=1"), 422)
    assert client.get(f"/ui?{many}").status_code == 422
