"""Values are read back as written, and no change overwrites another."""

import itertools
import random
import shutil
import sqlite3
import unicodedata
import uuid
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert
from sqlalchemy.event import listens_for

from backend.domain.exceptions import StoreUnavailable
from backend.domain.selection import ALL, SORTS, Selection
from backend.domain.status import Status
from backend.store.tables import experiment
from backend.web.schemas.experiments import experiment_out, listed_out
from tests.integration.databases import Database

NOW = datetime(2024, 2, 29, 23, 59, 59, 123457, tzinfo=UTC)
SEOUL = timezone(timedelta(hours=9))

# Texts of a group are equal in some collation.
LOOK_ALIKE = {
    "case": ["Run1", "run1", "RUN1"],
    "normal form": [unicodedata.normalize(form, "é 실험") for form in ("NFC", "NFD")],
    "accents": ["cafe", "café", "cafe\u0301", "caf\u00e8"],
    "trailing": ["run", "run\u00a0", "run\u200b", "run\u0301"],
    "korean": ["실험 1", "실험 2", "\u1109\u1175\u11af험 1"],
    "emoji": ["🚀", "🔥", "🚀🔥", "🧑‍🚀", "🧑"],
    "ligature": ["straße", "strasse", "ﬁt", "fit"],
    "wide": ["１", "1", "①"],
}

# The database is shared by all examples; each uses an experiment_id of its own.
on_the_same_database = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def new_experiment(experiment_id=None, **values):
    """Return the columns of a new experiment."""
    return {
        "experiment_id": experiment_id or uuid.uuid4().hex,
        "uid": uuid.uuid4().hex,
        "model": "autoencoder",
        "learning_rate": 0.001,
        "epoch": 20,
        "dataset": None,
        "status": "submitting",
        "attempt": 1,
        "job": "autoencoder-1",
        "created_at": NOW,
        "updated_at": NOW,
    } | values


def inserted(store, **values):
    """Insert an experiment and return it."""
    values = new_experiment(**values)
    assert store.insert(values)
    return store.get(values["experiment_id"])


def move(store, row, path, **values):
    return store.advance(
        replace(row, status=Status(path[0])),
        path=path,
        times=[NOW] * (len(path) - 1),
        values=values,
        at=datetime.now(UTC),
    )


@pytest.mark.parametrize("alike", LOOK_ALIKE.values(), ids=LOOK_ALIKE)
def test_ids_are_compared_as_bytes(store, alike):
    rows = {one: inserted(store, experiment_id=one) for one in alike}

    assert len({row.id for row in rows.values()}) == len(alike)
    for experiment_id in alike:
        assert store.get(experiment_id) == rows[experiment_id]
        assert [row.experiment_id for row in store.page(limit=9) if row == rows[experiment_id]]


def test_id_is_unique(store):
    row = inserted(store, experiment_id="실험 1")

    assert not store.insert(new_experiment("실험 1", epoch=99))
    assert store.get("실험 1") == row
    assert len(store.history("실험 1")) == 1


@pytest.mark.parametrize(
    "experiment_id", ["가" * 85, "🚀" * 60, "x" * 200], ids=["korean", "emoji", "latin"]
)
def test_longest_ids(store, experiment_id):
    assert inserted(store, experiment_id=experiment_id).experiment_id == experiment_id


@on_the_same_database
@given(st.floats(min_value=0, max_value=10, exclude_min=True))
def test_learning_rate_is_exact(store, learning_rate):
    assert inserted(store, learning_rate=learning_rate).learning_rate == learning_rate


@on_the_same_database
@given(
    st.datetimes(
        min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.timezones()
    )
)
def test_times_are_exact_in_utc(store, time):
    row = inserted(store, created_at=time, started_at=time)

    assert row.created_at == row.started_at == time.astimezone(UTC)
    assert row.created_at.utcoffset() == timedelta(0)


def test_time_zone_of_the_server(server, open_store):
    before = inserted(open_store(server.database), experiment_id="before")
    server.root("SET GLOBAL time_zone = '-11:30'")
    try:
        store = open_store(server.database)  # its connections have the new time zone
        after = inserted(store, experiment_id="after", created_at=NOW.astimezone(SEOUL))
        assert store.get("before") == before
    finally:
        server.root("SET GLOBAL time_zone = 'SYSTEM'")

    assert open_store(server.database).get("after").created_at == after.created_at == NOW


def test_messages_are_kept_whole(store):
    message = "이미지를 가져올 수 없음 🚫 `\\'\"%s%(x)s:x\n" * 200
    row = inserted(store)

    assert store.update(row, {"message": message})
    assert store.get(row.experiment_id).message == message


def test_pages_have_no_gap(store):
    ids = [inserted(store, experiment_id=f"run {number}").experiment_id for number in range(57)]
    pages, after = [], None
    while page := store.page(limit=10, after=after):
        pages.append([row.experiment_id for row in page])
        after = ALL.cursor(page[-1])
        inserted(store)  # newer ones belong to earlier pages

    assert [len(page) for page in pages] == [10, 10, 10, 10, 10, 7]
    assert list(itertools.chain(*pages)) == ids[::-1]


@pytest.mark.parametrize("statuses", [(), ("submitting",), ("submitting", "failed")])
def test_page_version_changes(store, statuses):
    def version():
        page = {"limit": 2, "after": None, "selection": Selection(statuses=statuses)}
        found = store.listing_version(**page)
        assert found == store.listing(**page).version
        return found

    versions = [version()]
    row = inserted(store)
    versions.append(version())
    store.update(row, {"reason": "image_pull"})
    versions.append(version())
    store.update(row, {"reason": "unschedulable"})
    versions.append(version())
    other = inserted(store)
    versions.append(version())
    store.delete(other)

    assert len(set(versions)) == len(versions)
    assert version() == versions[-2]


def test_version_of_the_largest_page(store):
    """MySQL cuts a concatenated text after 1 kB unless it is configured."""
    rows = [new_experiment() for _ in range(1001)]
    store.database.write(lambda connection: connection.execute(insert(experiment), rows))
    listing = store.listing(limit=1000)

    assert len(listing.experiments) == 1000
    assert listing.following == ALL.cursor(store.page(limit=1000)[-1])
    assert listing.version == store.listing_version(limit=1000)


def test_page_filters(store):
    row = inserted(store, experiment_id="50%_A\\b", model="other")
    inserted(store, experiment_id="500_a-b", status="queued")

    def page(**filters):
        return store.page(limit=9, selection=Selection(**filters))

    assert page(text="0%_a\\B") == [row]
    assert page(statuses=("submitting",)) == [row]
    assert page(model="other") == [row]
    assert page(model="other", statuses=("queued",)) == []
    assert page(model="other", statuses=("queued", "submitting")) == [row]
    assert page(created_after=NOW) == []
    assert len(page(created_after=NOW - timedelta(microseconds=1))) == 2
    assert page(created_after=NOW - timedelta(microseconds=1), sort="updated_at", model="other")


@pytest.mark.parametrize("statuses", [(), ("submitting",), ("submitting", "queued", "failed")])
@pytest.mark.parametrize("sort", SORTS)
def test_every_order_is_complete(store, sort, statuses):
    chance = random.Random(sort)
    rows = [
        inserted(
            store,
            status=chance.choice(["submitting", "queued"]),
            created_at=NOW + timedelta(seconds=chance.randrange(5)),
            updated_at=NOW + timedelta(seconds=chance.randrange(5)),
        )
        for _ in range(40)
    ]
    column = sort.removeprefix("-")
    wanted = sorted(
        (row for row in rows if not statuses or row.status in statuses),
        key=lambda row: (getattr(row, column), row.id),
        reverse=sort.startswith("-"),
    )
    selection, listed, after = Selection(statuses=statuses, sort=sort), [], None
    while page := store.page(limit=7, after=after, selection=selection):
        listing = store.listing(limit=7, after=after, selection=selection)
        assert [row.experiment_id for row in listing.experiments] == [
            row.experiment_id for row in page
        ]
        listed += page
        after = selection.cursor(page[-1])
        assert listing.following == (after if len(listed) < len(wanted) else None)

    assert listed == wanted


@on_the_same_database
@given(
    st.floats(min_value=0, max_value=10, exclude_min=True),
    st.none() | st.datetimes(min_value=datetime(1970, 1, 2), timezones=st.just(UTC)),
    st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=60),
)
def test_listed_like_the_experiment_itself(store, learning_rate, time, text):
    values = {"reason": text, "message": text, "remedy": text}
    times = dict.fromkeys(("started_at", "finished_at", "cancel_requested_at"), time)
    row = inserted(store, learning_rate=learning_rate, **values, **times)

    listed = listed_out(store.listing(limit=1).experiments[0])
    as_json = orjson.loads(orjson.dumps(listed))
    assert as_json.pop("metrics") == {}
    assert as_json == orjson.loads(orjson.dumps(experiment_out(row)))


def test_advance_records_each_step(store):
    row = inserted(store, experiment_id="a")

    assert move(store, row, ["submitting", "queued", "failed"], reason="evicted", finished_at=NOW)

    moved = store.get("a")
    assert (moved.status, moved.reason, moved.finished_at) == ("failed", "evicted", NOW)
    assert moved.updated_at > row.updated_at
    steps = [(one.from_status, one.to_status, one.reason) for one in store.history("a")]
    assert steps == [
        (None, "submitting", None),
        ("submitting", "queued", None),
        ("queued", "failed", "evicted"),
    ]


STALE = [{"status": Status.RUNNING}, {"attempt": 2}, {"uid": "another"}]


@pytest.mark.parametrize("stale", STALE)
def test_stale_change_is_ignored(store, stale):
    row = inserted(store, experiment_id="a")
    known = replace(row, **stale)

    moved = store.advance(known, path=[known.status, "failed"], times=[NOW], values={}, at=NOW)
    noted = store.update(known, {"reason": "x"})
    retried = store.retry(known, job="autoencoder-2")

    assert (moved, noted, retried) == (False, False, False)
    assert store.get("a") == row
    assert len(store.history("a")) == 1


def test_second_of_two_changes_loses(database, open_store):
    here, there = open_store(database), open_store(database)
    row = inserted(here, experiment_id="a")

    assert move(there, row, ["submitting", "queued"])
    assert not move(here, row, ["submitting", "failed"], reason="x")

    assert here.get("a").status == "queued"
    assert [one.to_status for one in there.history("a")] == ["submitting", "queued"]


def test_delete_removes_the_history(database, store):
    row = inserted(store, experiment_id="a")
    inserted(store, experiment_id="b")

    assert not any(store.delete(replace(row, **stale)) for stale in STALE)
    assert store.get("a") == row
    assert store.delete(row)

    assert store.get("a") is None
    assert database.execute("SELECT COUNT(*) FROM transition") == [(1,)]


def test_lost_tables_are_made_again(database, store):
    inserted(store)
    database.drop_tables()

    with pytest.raises(StoreUnavailable):
        store.page(limit=9)
    assert store.page(limit=9) == []
    assert inserted(store)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("message", b"\xff\xfe"),
        ("updated_at", "yesterday"),
        ("status", "confused"),
        ("created_at", b"\xff"),
    ],
)
def test_damaged_row_is_left_out(tmp_path, migrated_sqlite, open_store, caplog, column, value):
    """Each record on its own: the others are read, and the damaged one is logged once."""
    path = shutil.copy(migrated_sqlite, tmp_path / "damaged.sqlite3")
    store = open_store(Database(f"sqlite:///{path}"))
    first, damaged, last = (inserted(store, experiment_id=name) for name in "abc")
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        cast = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
        file.execute(f"UPDATE experiment SET {column} = {cast} WHERE id = ?", (value, damaged.id))

    for _ in range(2):
        ids = {first.experiment_id, damaged.experiment_id, last.experiment_id}
        assert {each.id for each in store.by_ids(ids)} == {first.id, last.id}
        live = store.in_status(["submitting", "confused"])
        assert [each.experiment_id for each in live] == ["a", "c"]
        assert store.page(limit=9)[0].experiment_id == "c"
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
    assert f"row {damaged.id} " in caplog.text


def test_text_in_another_encoding_than_agreed(server_database, open_store):
    """A server that sends Latin-1 (skip-character-set-client-handshake): the rest is shown."""
    store = open_store(server_database)
    for name in ("first", "second", "third"):
        inserted(store, experiment_id=name, message="résumé" if name == "second" else None)
    store.close()

    @listens_for(store.database.engine, "connect")
    def send_latin1(connection, _record):
        connection.query("SET character_set_results = latin1")

    listing = store.listing(limit=9)

    assert [one.message for one in listing.experiments] == [None, "résumé", None]
    assert store.listing_version(limit=9) == listing.version
    assert [one.experiment_id for one in store.page(limit=9)] == ["third", "second", "first"]
    assert store.counts() == {"submitting": 3}
    store.ping()
