"""The schema is made once, even if processes are killed, and foreign tables stay untouched."""

import itertools
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event, make_url

from backend.domain.exceptions import SchemaError, StoreUnavailable
from backend.store import schema
from backend.store.engine import make_engine
from backend.store.queries import Store
from backend.store.schema import HEAD, MIGRATIONS, VERSION_TABLE, migrate
from backend.store.tables import metadata
from tests.integration.waiting import DEADLINE_SECONDS

READING = ("SELECT", "SHOW", "PRAGMA", "DESCRIBE", "BEGIN", "EXPLAIN")

# Children of a clean process start quickly and share no connection with the test.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__, "alembic.command"])


def changes_something(statement):
    return not statement.lstrip().upper().startswith(READING)


def on_each_change(moment, act):
    """Call `act` before or after each statement that changes something."""

    @event.listens_for(Engine, f"{moment}_cursor_execute")
    def look(_connection, _cursor, statement, *_rest):
        if changes_something(statement):
            act()


def migrate_until_killed(url, moment, number):
    """Migrate, and die by SIGKILL before or after change `number`."""
    left = itertools.count(number, -1)
    next(left)
    on_each_change(moment, lambda: next(left) == 0 and os.kill(os.getpid(), signal.SIGKILL))
    migrate(make_url(url))


def meet(barrier):
    """Prepare a process that migrates together with others."""
    global wait_for_all
    wait_for_all = barrier.wait
    schema.LOCK_SECONDS = DEADLINE_SECONDS  # a migration may take longer on a busy machine


def prepare_together(url):
    """Prepare the database together with others; return the number of changes made."""
    changes = []
    on_each_change("after", lambda: changes.append(1))
    wait_for_all()
    store = Store(make_url(url))
    store.prepare()
    store.close()
    return len(changes)


def check_complete(database):
    """Check that the tables are those of tables.py and that no migration is left."""
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []
    assert database.execute(f"SELECT version_num FROM {VERSION_TABLE}") == [(HEAD,)]


@pytest.fixture
def database(database):
    """An empty database of each kind."""
    database.drop_tables()
    return database


@pytest.fixture
def server_database(server_database):
    """An empty database on each server."""
    server_database.drop_tables()
    return server_database


@pytest.fixture
def server(server):
    """Each database server, its database empty."""
    server.database.drop_tables()
    return server


def test_empty_database(database, store):
    store.prepare()

    check_complete(database)
    assert database.tables() == sorted([*metadata.tables, VERSION_TABLE])


def test_head_is_the_newest():
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_prepare_twice_changes_nothing(database, open_store):
    open_store(database).prepare()
    before = database.dump()

    open_store(database).prepare()

    assert database.dump() == before


def test_one_of_several_migrates(database):
    number = 4
    barrier = processes.Barrier(number)
    with ProcessPoolExecutor(number, processes, meet, (barrier,)) as pool:
        changes = list(pool.map(prepare_together, [database.url] * number))

    check_complete(database)
    assert sum(count > 0 for count in changes) == 1


@pytest.mark.parametrize(("moment", "first"), [("before", 2), ("after", 1)])
def test_killed_migration_is_completed(database, moment, first):
    """Each process is killed at the first change that leaves a trace; the next goes on there."""
    kills, number, known = 0, first, database.dump()
    while True:
        child = processes.Process(target=migrate_until_killed, args=(database.url, moment, number))
        child.start()
        child.join()
        if child.exitcode == 0:
            break  # there were fewer changes
        assert child.exitcode == -signal.SIGKILL
        kills, left = kills + 1, database.dump()
        number, known = number + 1 if left == known else first, left

    check_complete(database)
    assert kills > len(metadata.tables) + 2  # two indexes


@pytest.mark.parametrize("names", [("experiment",), ("transition",), ("experiment", "transition")])
def test_foreign_tables_of_our_names(database, store, names):
    """They are refused by name and left alone."""
    for name in names:
        database.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, theirs VARCHAR(9))")
        database.execute(f"INSERT INTO {name} VALUES (1, 'precious')")
    before = database.dump()

    with pytest.raises(SchemaError) as refusal:
        store.prepare()

    assert all(repr(name) in str(refusal.value) for name in names)
    assert database.dump() == before
    assert database.tables() == sorted(names)


def test_other_foreign_tables(database, store):
    database.execute("CREATE TABLE theirs (id INTEGER PRIMARY KEY)")
    try:
        store.prepare()
        assert set(database.tables()) == {"theirs", *metadata.tables, VERSION_TABLE}
    finally:
        database.execute("DROP TABLE theirs")


def test_newer_schema_is_refused(database, open_store):
    open_store(database).prepare()
    database.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    before = database.dump()

    with pytest.raises(SchemaError, match="9999"):
        open_store(database).prepare()

    assert database.dump() == before


def test_user_has_one_database(server_database):
    grants = [row[0] for row in server_database.execute("SHOW GRANTS")]

    assert any("ALL PRIVILEGES ON" in grant for grant in grants)
    assert not any(" ON *.*" in grant and "USAGE" not in grant for grant in grants)


def test_waiting_for_a_migration_ends(server_database, open_store, monkeypatch):
    monkeypatch.setattr(schema, "LOCK_SECONDS", 0)
    store, other = open_store(server_database), make_engine(make_url(server_database.url))

    with (
        other.connect() as connection,
        schema.migration_lock(connection),
        pytest.raises(StoreUnavailable, match="migrating"),
    ):
        store.prepare()
    other.dispose()

    store.prepare()
    check_complete(server_database)


def test_connection_lost_in_migration(server, open_store):
    store = open_store(server.database)
    victims = itertools.count()

    def kill_own_connection(connection, _cursor, statement, *_rest):
        if statement.lstrip().startswith("CREATE TABLE") and next(victims) == 1:
            server.root(f"KILL {connection.connection.dbapi_connection.thread_id()}")

    event.listen(Engine, "before_cursor_execute", kill_own_connection)
    try:
        with pytest.raises(StoreUnavailable):
            store.prepare()
    finally:
        event.remove(Engine, "before_cursor_execute", kill_own_connection)

    store.prepare()
    check_complete(server.database)
