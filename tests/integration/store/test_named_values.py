"""Annotations, parameters by name and searches give the same on every database server."""

import unicodedata
from datetime import UTC, datetime

import pytest
from sqlalchemy import delete, update

from backend.domain.annotations.changes import AnnotationChange, AnnotationsChanged
from backend.domain.conditions import parse
from backend.domain.selection import Selection
from backend.store import pages
from backend.store.related.named import NamedValues
from backend.store.tables import experiment, parameter
from tests.integration.store.test_store import new_experiment

NAMES = ["run_1", "Run 2", "Café", "l'été", "Straße", "σοφος", "실험 7", "ÉCOLE"]


@pytest.fixture
def values(store):
    for number, name in enumerate(NAMES):
        chosen = (
            f'{{"batch": {2**number}, "flag": {str(number % 2 == 0).lower()}, "kind": "K{number}"}}'
        )
        row = new_experiment(name, model_parameters=chosen, created_at=datetime.now(UTC))
        assert store.insert(row, actor="alice")
    return NamedValues(store.database)


def found(store, **wanted):
    selection = Selection(sort=wanted.pop("sort", "created_at"), **wanted)
    names = [one.experiment_id for one in store.page(limit=100, selection=selection)]
    listing = store.listing(limit=100, selection=selection)
    assert [one.experiment_id for one in listing.experiments] == names
    assert store.listing_version(limit=100, selection=selection) == listing.version
    return names


@pytest.mark.usefixtures("values")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN", ["run_1", "Run 2"]),
        ("cafe", ["Café"]),
        (unicodedata.normalize("NFD", "É"), ["Café", "l'été", "Straße", "ÉCOLE"]),
        ("ecole", ["ÉCOLE"]),
        ("STRASSE", ["Straße"]),
        ("ΣΟΦΟΣ", ["σοφος"]),
        ("실험", ["실험 7"]),
        ("n_", ["run_1"]),
        ("%", []),
        ("\\", []),
    ],
)
def test_search(store, text, expected):
    assert found(store, text=text) == expected


@pytest.mark.usefixtures("values")
@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        ("batch>=64", ["실험 7", "ÉCOLE"]),
        ("batch=1", ["run_1"]),
        ("batch!=1", NAMES[1:]),
        ("kind=K1", ["Run 2"]),
        ("kind=k1", []),
        ("kind!=K1", ["run_1", *NAMES[2:]]),
        ("flag=true", NAMES[::2]),
    ],
)
def test_parameters(store, comparison, expected):
    assert found(store, conditions=(parse(comparison),)) == expected


@pytest.mark.usefixtures("values")
def test_order_by_a_parameter(store):
    assert found(store, sort="-parameters.batch") == NAMES[::-1]
    assert found(store, sort="parameters.flag")[:4] == NAMES[1::2]
    assert store.unknown_parameters({"batch", "none"}) == {"none"}


def test_annotations(store, values):
    change = AnnotationChange(added=("태그", "a"), note="é" * 16_000, favourite=True)
    assert values.annotate("Café", change)
    assert values.annotate("Café", change)  # nothing more to change
    assert values.annotate("run_1", AnnotationChange(added=("a",)))
    assert not values.annotate("none", change)
    with pytest.raises(AnnotationsChanged):
        values.annotate("Café", AnnotationChange(note="x", revision=0))

    stored = store.get("Café")
    assert (stored.tag_names, stored.favourite, stored.revision) == (["a", "태그"], True, 1)
    assert store.note(stored.id) == "é" * 16_000
    assert found(store, tags=("a",)) == ["run_1", "Café"]
    assert found(store, tags=("a", "태그")) == ["Café"]
    assert found(store, tags=("A",)) == []
    assert found(store, favourite=True) == ["Café"]
    assert found(store, favourite=False) == [name for name in NAMES if name != "Café"]
    assert store.delete(stored)
    assert found(store, tags=("a",)) == ["run_1"]


def test_older_rows_are_filled_in(store, values):
    store.database.write(lambda connection: connection.execute(delete(parameter)))
    older = update(experiment).values(is_indexed=None, folded_id=None, submitted_by=None)
    store.database.write(lambda connection: connection.execute(older))
    assert found(store, conditions=(parse("batch=1"),)) == []

    assert [values.fill(5), values.fill(5), values.fill(5)] == [5, 3, 0]

    assert found(store, conditions=(parse("batch=1"),)) == ["run_1"]
    assert found(store, text="ecole") == ["ÉCOLE"]
    assert store.get("ÉCOLE").submitted_by == "alice"


@pytest.mark.usefixtures("values")
@pytest.mark.parametrize("sort", ["created_at", "-created_at", "-parameters.batch"])
@pytest.mark.parametrize("wanted", [{"text": "run"}, {"conditions": (parse("batch<=2"),)}])
def test_a_search_goes_on_where_it_paused(store, monkeypatch, wanted, sort):
    monkeypatch.setattr(pages, "SEARCHED", (1, 3))
    selection = Selection(**wanted, sort=sort)
    names, after = [], None
    for _ in range(5):
        listing = store.listing(limit=10, after=after, selection=selection)
        names += [one.experiment_id for one in listing.experiments]
        after = listing.following
        if after is None:
            break

    assert after is None
    assert sorted(names) == ["Run 2", "run_1"]
