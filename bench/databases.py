"""Databases to measure on: one of our own on the MySQL of the folder that LAB names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import make_url

from tests.integration.databases import KitMySQL


@contextmanager
def mysql(name: str) -> Iterator[str]:
    """Have an empty database of this name; it is dropped at the end of the block.

    Yields:
        What DB_URL says.

    Raises:
        KeyError: LAB names no folder.
    """
    server = KitMySQL(os.environ["LAB"])
    url = make_url(server.database.url)
    server.root(f"DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name}")
    server.root(f"GRANT ALL ON {name}.* TO '{url.username}'@'%'")
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        server.root(f"DROP DATABASE {name}")
