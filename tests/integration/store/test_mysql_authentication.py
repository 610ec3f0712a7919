"""Every MySQL user can connect the first time, with TLS and without (contract C9)."""

import pytest
from sqlalchemy import text

from backend.domain.exceptions import StoreUnavailable
from backend.settings import Settings
from backend.store.queries import Store
from tests.integration.databases import port_of

pytestmark = pytest.mark.needs("mysql_control")
WITH_TLS, WITHOUT_TLS = "", "?ssl_disabled=true"


@pytest.fixture(params=["caching_sha2_password", "sha256_password"])
def new_user(request, mysql):
    """The name of a user who has never connected, so that the server's cache is empty."""
    if not mysql.database.execute(
        "SELECT 1 FROM information_schema.plugins"
        " WHERE plugin_name = :plugin AND plugin_status = 'ACTIVE'",
        plugin=request.param,
    ):
        pytest.skip(f"this MySQL has no {request.param} any more")
    mysql.root("DROP USER IF EXISTS newcomer")
    mysql.root(f"CREATE USER newcomer IDENTIFIED WITH {request.param} BY 'pass:w@rd/%'")
    mysql.root("GRANT ALL ON testdb.* TO newcomer")
    yield "newcomer"
    mysql.root("DROP USER newcomer")


def connect(environ):
    """Connect as a process with these variables; return the user and whether TLS is used."""
    store = Store(Settings.from_environment(environ).database_url)
    try:
        store.prepare()
        with store.database.engine.connect() as connection:
            cipher = connection.execute(text("SHOW SESSION STATUS LIKE 'Ssl_cipher'")).one()[1]
            user = connection.execute(text("SELECT CURRENT_USER()")).scalar()
    finally:
        store.close()
    return user, bool(cipher)


@pytest.mark.parametrize(("query", "tls"), [(WITH_TLS, True), (WITHOUT_TLS, False)])
def test_first_connection_by_url(mysql, environ, new_user, query, tls):
    port = port_of(mysql.database)
    url = f"mysql://{new_user}:pass%3Aw%40rd%2F%25@127.0.0.1:{port}/testdb{query}"

    assert connect(environ | {"DB_URL": url}) == ("newcomer@%", tls)


def test_first_connection_by_parts(mysql, environ, new_user):
    parts = {
        "DB_IP": "127.0.0.1",
        "DB_PORT": str(port_of(mysql.database)),
        "DB_USER": new_user,
        "DB_PASSWORD": "pass:w@rd/%",
        "DB_NAME": "testdb",
    }

    assert connect(environ | parts) == ("newcomer@%", True)


def test_no_tls_and_an_empty_cache(mysql, environ, new_user):
    """The server has forgotten the password, and must ask for it over RSA."""
    port = port_of(mysql.database)
    url = f"mysql://{new_user}:pass%3Aw%40rd%2F%25@127.0.0.1:{port}/testdb{WITHOUT_TLS}"
    connect(environ | {"DB_URL": url})

    mysql.root("FLUSH PRIVILEGES")

    assert connect(environ | {"DB_URL": url}) == ("newcomer@%", False)


@pytest.mark.parametrize("query", [WITH_TLS, WITHOUT_TLS])
def test_wrong_password_is_no_outage(mysql, environ, new_user, query):
    url = f"mysql://{new_user}:hunter2@127.0.0.1:{port_of(mysql.database)}/testdb{query}"

    with pytest.raises(StoreUnavailable) as refusal:
        connect(environ | {"DB_URL": url})

    assert refusal.value.denied
    assert "hunter2" not in str(refusal.value)
