"""What a call sends to a database server: each statement costs a round trip."""

import pymysql
import pytest
from sqlalchemy import text

from tests.component.support import FORM
from tests.integration.store.test_store import inserted, move, new_experiment


@pytest.fixture
def store(server_database, open_store):
    return open_store(server_database)


def _text(statement):
    """Return a statement as text; one for several rows is a bytearray."""
    return statement if isinstance(statement, str) else bytes(statement).decode()


@pytest.fixture
def statements(monkeypatch):
    """Note the first word of each statement that PyMySQL sends, and `ping`."""
    words = []

    def note(method, word=None):
        real = getattr(pymysql.Connection, method)

        def noted(self, *arguments, **options):
            words.append(word or _text(arguments[0]).split()[0])
            return real(self, *arguments, **options)

        monkeypatch.setattr(pymysql.Connection, method, noted)

    note("query")
    for method in ("begin", "commit", "rollback"):
        note(method, method.upper())
    for method in ("ping", "autocommit", "select_db", "set_character_set"):
        note(method, method)
    return words


def test_query_is_one_statement(store, statements):
    inserted(store, experiment_id="a")
    statements.clear()

    store.listing(limit=9)

    assert statements == ["ping", "SELECT"]
    statements.clear()

    store.listing_version(limit=9)

    assert statements == ["ping", "SELECT"]


def test_change_is_one_transaction(store, statements):
    row = inserted(store, experiment_id="a")
    statements.clear()

    assert move(store, row, ["submitting", "queued"])

    assert statements == ["ping", "BEGIN", "UPDATE", "INSERT", "COMMIT"]


def test_submit_uses_three_round_trips(server_database, make_app, statements):
    """The last query finds what run.json already says, so that it is not written again."""
    client = make_app(server_database).test_client()
    assert client.get("/readyz").status_code == 200
    statements.clear()

    assert client.post("/test", data=FORM).status_code == 201

    intent = ["ping", "BEGIN", *["INSERT"] * 3, "COMMIT"]  # with its parameters and transition
    with_entry = ["ping", "BEGIN", *["INSERT"] * 4, "COMMIT"]
    queued = ["ping", "BEGIN", "UPDATE", "INSERT", "COMMIT"]
    assert statements == [*with_entry, *queued, "ping", "SELECT"]
    statements.clear()

    assert client.post("/test", data=FORM | {"experiment_id": "next"}).status_code == 201

    assert statements == [*intent, *queued, "ping", "SELECT"]


def test_failed_insert_is_rolled_back(store, statements):
    inserted(store, experiment_id="a")
    statements.clear()

    assert not store.insert(new_experiment("a"))

    assert statements == ["ping", "BEGIN", "INSERT", "ROLLBACK"]


def test_failed_change_is_rolled_back(server_database, store):
    def work(connection):
        connection.execute(text("DELETE FROM experiment"))
        raise LookupError

    row = inserted(store, experiment_id="a")
    with pytest.raises(LookupError):
        store.database.write(work)

    assert store.get("a") == row
    assert server_database.execute("SELECT experiment_id FROM experiment") == [("a",)]


def test_connection_settings_are_restored(store, statements):
    inserted(store, experiment_id="a")
    statements.clear()
    store.transitions.last_id()

    assert statements == ["ping", "SELECT", "ping", "SET", "BEGIN", "SELECT", "COMMIT"]
    levels, automatic = zip(*(store.database.read(defaults_of) for _ in range(3)), strict=True)
    assert set(levels) == {"REPEATABLE READ"}
    assert set(automatic) == {True}


def defaults_of(connection):
    """Return the isolation level and the autocommit mode of a connection."""
    return connection.get_isolation_level(), connection.connection.dbapi_connection.get_autocommit()
