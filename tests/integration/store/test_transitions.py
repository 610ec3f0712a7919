"""Transitions come in order, and none is missing, on every database."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import insert

from backend.experiments.events import TransitionFeed
from backend.store.tables import transition
from tests.integration.store.test_store import NOW, inserted, move, new_experiment
from tests.integration.waiting import DEADLINE_SECONDS, eventually


@pytest.fixture
def background():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def ids(rows):
    return [row.id for row in rows]


def test_transitions_in_order(store):
    assert store.transitions.last_id() == 0
    assert store.transitions.after(0, 10) == []
    first = inserted(store, experiment_id="실험 1")
    move(store, first, ["submitting", "queued", "running"])

    events = store.transitions.after(0, 10)

    assert [
        (event.experiment_id, event.transition.from_status, event.transition.to_status)
        for event in events
    ] == [
        ("실험 1", None, "submitting"),
        ("실험 1", "submitting", "queued"),
        ("실험 1", "queued", "running"),
    ]
    assert store.transitions.last_id() == events[-1].id
    assert store.transitions.after(events[0].id, 1) == events[1:2]
    assert store.transitions.after(events[-1].id, 10) == []


def test_ids_are_never_reused(store):
    kept, forgotten = inserted(store), inserted(store)
    last = store.transitions.last_id()
    assert store.delete(forgotten)

    inserted(store)

    assert ids(store.transitions.after(last, 10)) == [store.transitions.last_id()]
    assert store.transitions.last_id() > last
    assert ids(store.transitions.after(0, 10))[0] < last
    assert kept


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_late_commit_is_waited_for(server_database, open_store, background, end):
    store = open_store(server_database)
    experiment = inserted(store)
    seen = store.transitions.last_id()
    with store.database.engine.connect() as late:
        key = late.execute(
            insert(transition).values(
                experiment=experiment.id, attempt=1, to_status="queued", at=NOW
            )
        ).inserted_primary_key[0]
        inserted(store)  # commits first, with a higher id
        reading = [
            background.submit(store.transitions.after, seen, 10),
            background.submit(store.transitions.last_id),
        ]
        eventually(lambda: waiting(server_database) == 2)
        assert store.insert(new_experiment())  # writers do not have to wait
        getattr(late, end)()
    rows, last = [one.result(DEADLINE_SECONDS) for one in reading]

    assert (key in ids(rows)) == (end == "commit")
    assert ids(rows) == sorted(ids(rows))
    assert ids(rows)[-1] == last == key + 1
    assert ids(store.transitions.after(seen, 10)) == [*ids(rows), key + 2]


def waiting(database):
    """Return the number of locking reads in progress."""
    listed = database.execute(
        "SELECT info FROM information_schema.processlist WHERE id <> CONNECTION_ID()"
    )
    return sum("SHARE" in str(info) for (info,) in listed)


def test_feed_misses_nothing(store, monkeypatch):
    monkeypatch.setattr("backend.experiments.events.POLL_SECONDS", 0)
    heard = TransitionFeed(store.transitions)
    first = inserted(store)
    seen = heard.last_id()

    move(store, first, ["submitting", "queued"])
    inserted(store)

    rows = heard.after(seen)
    assert [row.transition.to_status for row in rows] == ["queued", "submitting"]
    assert heard.after(rows[0].id) == rows[1:]
    assert heard.after(rows[1].id) == []
