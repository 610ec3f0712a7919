"""Databases to measure on: one of our own on the MySQL of the folder that LAB names."""

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
    """Have an empty database and a user of it, both of this name, until the end of the block.

    Waits for tests on the same server, and keeps them from it: they may kill it.

    Args:
        name: An identifier that needs no quotes.
        privilege: A global one that the user needs, too.

    Yields:
        What DB_URL says.

    Raises:
        KeyError: LAB names no folder.
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
