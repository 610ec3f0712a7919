"""What a call says to a database server: every word takes a way there and back."""

import pytest
from sqlalchemy import text

from backend.store.mysql import ServerConnection
from backend.store.pages import Columns
from tests.component.support import FORM
from tests.integration.test_store import a_run, inserted, move


@pytest.fixture
def store(server_database, open_store):
    return open_store(server_database)


@pytest.fixture
def said(monkeypatch):
    """Note the first word of each statement, and `ping`."""
    words, real = [], ServerConnection._execute_command

    def execute(self, command, sql):
        sql = sql.decode() if isinstance(sql, bytes) else sql
        words.append(sql.split()[0] if sql else "ping")
        real(self, command, sql)

    monkeypatch.setattr(ServerConnection, "_execute_command", execute)
    return words


def test_a_question_is_one_statement(store, said):
    inserted(store, experiment_id="a")
    said.clear()

    store.page(limit=9, columns=Columns.LISTED)

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
        store._write(work)

    assert store.get("a") == row
    assert server_database.execute("SELECT experiment_id FROM experiment") == [("a",)]


def test_waiting_for_transitions_leaves_a_connection_as_it_was(store, said):
    inserted(store, experiment_id="a")
    said.clear()
    store.last_transition()

    assert said == ["ping", "SELECT", "ping", "SET", "BEGIN", "SELECT", "COMMIT"]
    levels, automatic = zip(*(store._read(_habits) for _ in range(3)), strict=True)
    assert set(levels) == {"REPEATABLE READ"}
    assert set(automatic) == {True}


def _habits(connection):
    """Tell how a connection runs what it is not told how to run."""
    return connection.get_isolation_level(), connection.connection.dbapi_connection.get_autocommit()
