"""Databases for measurements, on the MySQL server of the folder that LAB names."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url

from tests.integration.databases import LabMySQL


@contextmanager
def mysql(name: str, *, privilege: str = "") -> Iterator[str]:
    """Provide an empty database and a user of the same name during the block.

    Locks the server against tests, which may restart it.

    Args:
        name: An identifier that needs no quotes.
        privilege: A global privilege that the user needs as well.

    Yields:
        The value of DB_URL.

    Raises:
        KeyError: LAB is not set.
    """
    server, password = LabMySQL(os.environ["LAB"]), secrets.token_hex(16)
    url = make_url(server.database.url).set(username=name, password=password, database=name)

    def drop() -> None:
        server.root(f"DROP DATABASE IF EXISTS {name}; DROP USER IF EXISTS {name}")

    with Path(os.environ["LAB"], "mysql").open() as program:
        fcntl.flock(program, fcntl.LOCK_SH)
        drop()
        server.root(f"CREATE DATABASE {name}; CREATE USER {name} IDENTIFIED BY '{password}'")
        server.root(f"GRANT ALL ON {name}.* TO {name}")
        if privilege:
            server.root(f"GRANT {privilege} ON *.* TO {name}")
        try:
            yield url.render_as_string(hide_password=False)
        finally:
            drop()
