"""A database that fails: what can be retried is, and nothing is done by half."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, func, select, text, update

from backend.domain.exceptions import StoreUnavailable
from backend.store import engine as store_engine
from backend.store.engine import POOL_SIZE, make_engine, transact
from backend.store.mysql import ServerConnection
from backend.store.tables import experiment
from tests.integration.databases import Database, unresponsive_port
from tests.integration.store.test_store import inserted, move, new_experiment
from tests.integration.waiting import DEADLINE_SECONDS, eventually

FORM = {"experiment_id": "a", "learning_rate": "0.001", "epoch": "20"}


@pytest.fixture
def store(server, open_store):
    return open_store(server.database)


@pytest.fixture
def in_all_threads():
    """Return a function that calls `work` from as many threads as a web worker has."""
    with ThreadPoolExecutor(POOL_SIZE) as pool:

        def call(work):
            together = threading.Barrier(POOL_SIZE, timeout=DEADLINE_SECONDS)

            def one(number):
                together.wait()
                return work(number)

            return list(pool.map(one, range(POOL_SIZE), timeout=DEADLINE_SECONDS))

        yield call


def connections_of(server):
    """Return the ids of the ordinary user's connections, without the one that asks."""
    listed = server.database.execute(
        "SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID()"
    )
    return {row[0] for row in listed}


def fill_pool(store, in_all_threads):
    """Make every thread open a connection and return it to the pool."""
    together = threading.Barrier(POOL_SIZE, timeout=DEADLINE_SECONDS)
    in_all_threads(lambda _number: store.database.read(lambda connection: together.wait()))


@pytest.fixture
def kill_when(store, monkeypatch):
    """Return a function that makes the server kill a connection in use, once.

    It returns the list of errors that the program then saw: True for a lost connection.
    """
    listeners = []
    # To kill a connection takes a busy machine longer than the program would try.
    monkeypatch.setattr(store_engine, "RETRY_SECONDS", DEADLINE_SECONDS)

    def arrange(server, moment, chosen):
        victims, errors = [], []

        def see(context):
            errors.append(context.is_disconnect)

        def kill(connection, *details):
            if not victims and chosen(*details):
                victims.append(connection)
                raw = connection.connection.dbapi_connection
                if moment == "commit":
                    raw.commit()  # committed, only the answer is lost
                    raw.begin()  # so that the program must ask again
                server.root(f"KILL {raw.thread_id()}")

        listeners.extend([(moment, kill), ("handle_error", see)])
        for listener in listeners:
            event.listen(store.database.engine, *listener)
        return errors

    yield arrange
    for listener in listeners:
        event.remove(store.database.engine, *listener)


def test_restart_goes_unnoticed(server, store, in_all_threads):
    row = inserted(store, experiment_id="a")
    fill_pool(store, in_all_threads)

    server.restart()

    in_all_threads(lambda number: inserted(store, experiment_id=f"after {number}"))
    assert move(store, row, ["submitting", "queued"])
    assert len(store.page(limit=99)) == 1 + POOL_SIZE


def test_killed_connections(server, store, in_all_threads):
    store.prepare()
    fill_pool(store, in_all_threads)
    killed = connections_of(server)
    for one in killed:
        server.root(f"KILL {one}")
    eventually(lambda: not killed & connections_of(server))

    in_all_threads(lambda number: inserted(store, experiment_id=f"after {number}"))

    assert len(killed) >= POOL_SIZE
    assert len(store.page(limit=99)) == POOL_SIZE


def test_idle_connections(server, store, in_all_threads):
    together = threading.Barrier(POOL_SIZE, timeout=DEADLINE_SECONDS)

    def become_idle(connection):
        together.wait()
        connection.execute(text("SET SESSION wait_timeout = 1"))
        return connection.scalar(select(func.connection_id()))

    store.prepare()
    idle = set(in_all_threads(lambda _number: store.database.read(become_idle)))
    eventually(lambda: not idle & connections_of(server))

    in_all_threads(lambda number: inserted(store, experiment_id=f"after {number}"))

    assert len(idle) == POOL_SIZE
    assert len(store.page(limit=99)) == POOL_SIZE


@pytest.mark.parametrize("table", ["experiment", "transition"])
def test_connection_lost_in_transaction(server, store, kill_when, table):
    store.prepare()
    errors = kill_when(
        server,
        "after_cursor_execute",
        lambda _cursor, statement, *_rest: statement.startswith(f"INSERT INTO {table} "),
    )

    inserted(store, experiment_id="a")

    assert errors == [True]
    assert len(store.page(limit=9)) == len(store.history("a")) == 1


def test_lost_answer_to_a_commit(server, store, kill_when):
    """The change happens exactly once."""
    row = inserted(store, experiment_id="a")
    errors = kill_when(server, "commit", lambda: True)

    store.update(row, {"reason": "x"})
    store.insert(new_experiment("b"))

    assert errors == [True]
    assert [one.reason for one in store.page(limit=9)] == [None, "x"]
    assert len(store.history("b")) == 1


def test_deadlock_is_retried(server, store):
    store.prepare()
    first, second = (inserted(store, experiment_id=name).id for name in "ab")
    engine = make_engine(store.database.url)
    together, tries = threading.Barrier(2, timeout=DEADLINE_SECONDS), []

    def lock(mine, other):
        def work(connection):
            connection.execute(
                select(experiment.c.id).where(experiment.c.id == mine).with_for_update()
            )
            tries.append(mine)
            if len(tries) <= 2:
                together.wait()
            connection.execute(
                update(experiment).where(experiment.c.id == other).values(epoch=mine)
            )
            return mine

        return transact(engine, work)

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(lock, first, second), pool.submit(lock, second, first)]
        assert [call.result(DEADLINE_SECONDS) for call in calls] == [first, second]
    engine.dispose()

    assert len(tries) == 3  # one of the two was the victim
    assert {store.get("a").epoch, store.get("b").epoch} == {second, first}


def test_lock_timeout_is_retried(server, open_store):
    server.root("SET GLOBAL innodb_lock_wait_timeout = 1")
    try:
        store = open_store(server.database)
        row = inserted(store, experiment_id="a")
    finally:
        server.root("SET GLOBAL innodb_lock_wait_timeout = DEFAULT")
    waited = threading.Event()
    event.listen(store.database.engine, "handle_error", lambda _context: waited.set())

    with ThreadPoolExecutor(1) as pool, server.database.engine.connect() as other:
        other.execute(select(experiment.c.id).where(experiment.c.id == row.id).with_for_update())
        change = pool.submit(move, store, row, ["submitting", "queued"])
        assert waited.wait(DEADLINE_SECONDS)
        other.rollback()
        assert change.result(DEADLINE_SECONDS)

    assert store.get("a").status == "queued"


def test_outage_and_recovery(server, store, in_all_threads):
    row = inserted(store, experiment_id="a")
    fill_pool(store, in_all_threads)
    server.down()
    try:
        for call in (
            store.ping,
            lambda: store.get("a"),
            lambda: store.insert(new_experiment("b")),
            lambda: move(store, row, ["submitting", "queued"]),
        ):
            with pytest.raises(StoreUnavailable) as outage:
                call()
            assert not outage.value.denied
    finally:
        server.up()

    assert store.get("a") == row
    assert move(store, row, ["submitting", "queued"])
    assert store.insert(new_experiment("b"))


def test_submit_in_an_outage(server, make_app, kubernetes, settings):
    """Nothing is started and nothing is left behind."""
    client = make_app(server.database).test_client()
    assert client.post("/test", data=FORM | {"experiment_id": "before"}).status_code == 201
    server.down()
    try:
        before = sorted(settings.output_dir.rglob("*"))
        answers = [client.post("/test", data=FORM), client.get("/model"), client.get("/readyz")]
        for answer in answers:
            assert answer.status_code == 503
            assert answer.content_type == "application/problem+json"
            assert int(answer.headers["Retry-After"]) > 0
        assert client.get("/healthz").status_code == 200
        assert client.get("/").text == "Hello Flask!"
        assert sorted(settings.output_dir.rglob("*")) == before
        assert len(kubernetes.jobs()) == 1
    finally:
        server.up()

    assert client.get("/readyz").status_code == 200
    assert client.post("/test", data=FORM).status_code == 201
    assert len(kubernetes.jobs()) == 2


def test_app_starts_before_its_database(server, make_app):
    server.down()
    try:
        client = make_app(server.database).test_client()
        assert client.get("/readyz").status_code == 503
        assert client.post("/test", data=FORM).status_code == 503
    finally:
        server.up()

    assert client.get("/readyz").status_code == 200
    assert client.post("/test", data=FORM).status_code == 201


def test_password_is_not_shown(server, make_app, caplog):
    wrong = server.database.engine.url.set(password="hunter2").render_as_string(hide_password=False)
    answer = make_app(Database(wrong)).test_client().post("/test", data=FORM)

    assert answer.status_code == 503
    assert "hunter2" not in answer.text + caplog.text


@pytest.fixture
def connection_attempts(monkeypatch):
    """The connections tried so far; functions in the list are called at each try."""
    attempts, real = [], ServerConnection.connect

    def connect(self, sock=None):
        for held in [one for one in attempts if callable(one)]:
            held()
        attempts.append(1)
        real(self, sock)

    monkeypatch.setattr(ServerConnection, "connect", connect)
    return attempts


def test_hanging_ping(server, store, connection_attempts):
    inserted(store, experiment_id="a")
    connection_attempts.clear()

    with server.hanging(), pytest.raises(StoreUnavailable) as outage:
        store.get("a")

    # A ping that waits for ANSWER_SECONDS would leave no time to connect again.
    assert outage.value.away
    assert len(connection_attempts) == 1
    assert store.get("a")


def test_hanging_statement_is_not_retried(server, open_store):
    store = open_store(server.database, answer_seconds=1)
    store.prepare()
    asked = []

    def ask(connection):
        asked.append(1)
        with server.hanging():
            connection.execute(select(experiment))

    with pytest.raises(StoreUnavailable):
        store.database.read(ask)

    assert len(asked) == 1
    assert store.page(limit=9) == []


def test_host_drops_packets(open_store):
    with unresponsive_port() as port:
        store = open_store(Database(f"mysql+pymysql://user:secret@127.0.0.1:{port}/runs"))
        with pytest.raises(StoreUnavailable, match="timed out") as outage:
            store.ping()

    assert outage.value.away


def test_one_call_probes_others_fail_fast(server, store, in_all_threads, connection_attempts):
    row = inserted(store, experiment_id="a")
    trying, told = threading.Event(), threading.Semaphore(0)

    def hold():  # the probe ends after all others have failed
        trying.set()
        for _ in range(POOL_SIZE - 1):
            assert told.acquire(timeout=DEADLINE_SECONDS)

    def ask(number):
        assert number == 0 or trying.wait(DEADLINE_SECONDS)
        with pytest.raises(StoreUnavailable):
            store.get("a")
        told.release()

    with server.away():
        with pytest.raises(StoreUnavailable):
            store.get("a")
        connection_attempts[:] = [hold]
        in_all_threads(ask)

    assert connection_attempts == [hold, 1]
    connection_attempts.clear()
    assert store.get("a") == row
    assert in_all_threads(lambda _number: store.get("a")) == [row] * POOL_SIZE


def test_hundred_clients_in_an_outage(server, backend):
    web = backend("web", DB_URL=server.database.url).ready()
    forms = [FORM | {"experiment_id": f"while away {number}"} for number in range(50)]

    def ask(number):
        """Send requests that need no database, and two that do."""
        answers = [web.ask("/"), web.ask("/healthz"), web.ask("/model")]
        return [one.status for one in [*answers, web.ask("/test", forms[number % 50])]]

    with ThreadPoolExecutor(100) as clients:
        with server.hanging():
            answers = list(clients.map(ask, range(100), timeout=DEADLINE_SECONDS))
        assert answers == [[200, 200, 503, 503]] * 100
        assert web.ready().ask("/model").json == []


def test_server_starts_before_database(server, backend):
    server.down()
    try:
        process = backend("web", DB_URL=server.database.url)
        eventually(lambda: process.answers("/healthz"))
        assert process.ask("/readyz").status == 503
    finally:
        server.up()

    assert process.ready().ask("/model").json == []


def test_migrate_in_an_outage(server, backend):
    server.down()
    try:
        process = backend("migrate", DB_URL=server.database.url)
        assert process.exit_code() == 2
    finally:
        server.up()

    assert "error: The database does not answer" in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize("role", ["serve", "web", "reconcile", "migrate"])
def test_access_denied_stops_the_start(server, backend, role):
    wrong = server.database.engine.url.set(password="hunter2").render_as_string(hide_password=False)

    process = backend(role, DB_URL=wrong)

    assert process.exit_code() == 2
    assert "Access denied" in process.stderr
    assert "DB_PASSWORD" in process.stderr
    assert "hunter2" not in process.stderr + process.stdout
