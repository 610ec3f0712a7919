"""What a call says to a database server: every word takes a way there and back."""

import pymysql
import pytest
from sqlalchemy import text

from tests.component.support import FORM
from tests.integration.test_store import a_run, inserted, move


@pytest.fixture
def store(server_database, open_store):
    return open_store(server_database)


@pytest.fixture
def said(monkeypatch):
    """Note the first word of each statement that PyMySQL sends, and `ping`."""
    words = []

    def note(method, word=None):
        real = getattr(pymysql.Connection, method)

        def noted(self, *arguments, **options):
            words.append(word or str(arguments[0]).split()[0])
            return real(self, *arguments, **options)

        monkeypatch.setattr(pymysql.Connection, method, noted)

    note("query")
    for method in ("begin", "commit", "rollback"):
        note(method, method.upper())
    for method in ("ping", "autocommit", "select_db", "set_character_set"):
        note(method, method)
    return words


def test_a_question_is_one_statement(store, said):
    inserted(store, experiment_id="a")
    said.clear()

    store.listing(limit=9)

    assert said == ["ping", "SELECT"]
    said.clear()

    store.listing_version(limit=9)

    assert said == ["ping", "SELECT"]


def test_a_change_is_one_transaction(store, said):
    row = inserted(store, experiment_id="a")
    said.clear()

    assert move(store, row, ["submitting", "queued"])

    assert said == ["ping", "BEGIN", "UPDATE", "INSERT", "COMMIT"]


def test_a_submission_asks_three_times(server_database, make_app, said):
    """The last question finds what was written into run.json, so nothing is written again."""
    client = make_app(server_database).test_client()
    assert client.get("/readyz").status_code == 200
    said.clear()

    assert client.post("/test", data=FORM).status_code == 201

    intent = ["ping", "BEGIN", "INSERT", "INSERT", "COMMIT"]
    queued = ["ping", "BEGIN", "UPDATE", "INSERT", "COMMIT"]
    assert said == [*intent, *queued, "ping", "SELECT"]


def test_a_change_that_fails_is_taken_back(store, said):
    inserted(store, experiment_id="a")
    said.clear()

    assert not store.insert(a_run("a"))

    assert said == ["ping", "BEGIN", "INSERT", "ROLLBACK"]


def test_a_change_that_fails_late_leaves_nothing(server_database, store):
    def work(connection):
        connection.execute(text("DELETE FROM experiment"))
        raise LookupError

    row = inserted(store, experiment_id="a")
    with pytest.raises(LookupError):
        store.database.write(work)

    assert store.get("a") == row
    assert server_database.execute("SELECT experiment_id FROM experiment") == [("a",)]


def test_waiting_for_transitions_leaves_a_connection_as_it_was(store, said):
    inserted(store, experiment_id="a")
    said.clear()
    store.transitions.last_id()

    assert said == ["ping", "SELECT", "ping", "SET", "BEGIN", "SELECT", "COMMIT"]
    levels, automatic = zip(*(store.database.read(_habits) for _ in range(3)), strict=True)
    assert set(levels) == {"REPEATABLE READ"}
    assert set(automatic) == {True}


def _habits(connection):
    """Tell how a connection runs what it is not told how to run."""
    return connection.get_isolation_level(), connection.connection.dbapi_connection.get_autocommit()
