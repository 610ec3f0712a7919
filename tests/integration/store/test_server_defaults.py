"""Servers whose defaults, passwords or rights are not what drivers expect."""

import pytest
from sqlalchemy import make_url, text

from backend.settings import Settings
from backend.store.queries import Store

FORM = {"experiment_id": "a", "learning_rate": "0.001", "epoch": "20"}
DEFAULTS = {  # by variable: a default of the server that is not ours
    "autocommit": ("0", "1"),
    "sql_mode": ("'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'", "DEFAULT"),
    "transaction_isolation": ("'SERIALIZABLE'", "DEFAULT"),
    "time_zone": ("'+09:00'", "'SYSTEM'"),
    "transaction_read_only": ("1", "0"),
}


@pytest.fixture(params=DEFAULTS)
def default(request, server):
    """A server with another default of one session variable."""
    changed, usual = DEFAULTS[request.param]
    name = request.param
    if name.startswith("transaction") and not knows_variable(server, name):
        name = name.replace("transaction", "tx")  # MariaDB before 11.1
    server.database.drop_tables()  # so that the program makes its schema with these defaults
    server.root(f"SET GLOBAL {name} = {changed}")
    yield request.param
    server.root(f"SET GLOBAL {name} = {usual}")


def knows_variable(server, name):
    return bool(server.database.execute(f"SHOW VARIABLES LIKE '{name}'"))


@pytest.fixture
def read_only(server):
    """Return a function that makes the server refuse all writes of ordinary users."""
    yield lambda: server.root("SET GLOBAL read_only = 1")
    server.root("SET GLOBAL read_only = 0")


def test_schema_is_made_whatever_the_defaults(server, default, open_store):
    store = open_store(server.database)

    store.prepare()

    assert store.counts() == {}
    assert "experiment" in server.database.tables()


def test_session_is_set_up(server, default, open_store):
    store = open_store(server.database)
    is_new = knows_variable(server, "transaction_isolation")
    isolation = "transaction_isolation" if is_new else "tx_isolation"
    query = f"SELECT @@autocommit, @@sql_mode, @@{isolation}, @@time_zone"

    for connect in (store.database.read, store.database.write):
        row = connect(lambda connection: connection.execute(text(query)).one())
        assert tuple(row) == (
            1,
            "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION",
            "REPEATABLE-READ",
            "+00:00",
        )


def test_experiment_is_stored_whatever_the_defaults(server, default, make_app):
    client = make_app(server.database).test_client()
    form = FORM | {"experiment_id": "실험 'a' \"b\" %"}

    response = client.post("/test", data=form)

    assert response.status_code == 201, response.text
    (listed,) = client.get("/model").json
    assert listed["experiment_id"] == form["experiment_id"]
    assert listed["created_at"] == response.json["created_at"]


@pytest.mark.parametrize("password", ["비밀번호", "passé", "pass:w@rd/%", "🔑"])
def test_password_is_sent_as_utf_8(server, environ, password):
    """As the mysql client does; Latin-1 would be another password, or none at all."""
    url = make_url(server.database.url)
    server.root("DROP USER IF EXISTS utf8user")
    server.root(f"CREATE USER utf8user IDENTIFIED BY '{password}'")
    server.root(f"GRANT ALL ON {url.database}.* TO utf8user")
    parts = {
        "DB_IP": url.host,
        "DB_PORT": str(url.port),
        "DB_USER": "utf8user",
        "DB_PASSWORD": password,
        "DB_NAME": url.database,
    }
    store = Store(Settings.from_environment(environ | parts).database_url)
    try:
        store.prepare()
        store.ping()
    finally:
        store.close()
        server.root("DROP USER utf8user")


def test_read_only_server(server, make_app, read_only):
    """Reads are answered while writes are refused, which must not open the circuit breaker."""
    client = make_app(server.database).test_client()
    assert client.get("/readyz").json == {"status": "ready"}
    assert client.post("/test", data=FORM).status_code == 201
    read_only()

    for number in range(20):
        refused = client.post("/test", data=FORM | {"experiment_id": str(number)})
        assert refused.status_code == 503
        assert "is read-only" in refused.json["detail"]
        assert client.get("/model").status_code == 200
        assert client.get("/experiments/a").status_code == 200
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json["status"]) == (200, "read-only")
    assert "is read-only" in ready.json["detail"]
    server.root("SET GLOBAL read_only = 0")
    assert client.get("/readyz").json == {"status": "ready"}
    assert client.post("/test", data=FORM | {"experiment_id": "b"}).status_code == 201
