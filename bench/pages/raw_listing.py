"""The baseline of `GET /model`: the same page with PyMySQL (or sqlite3) and orjson only.

It takes no parameters, checks nothing, and has a single page: the newest 100 experiments.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import orjson
import pymysql
from sqlalchemy import make_url

COLUMNS = (
    *("experiment_id", "model", "learning_rate", "epoch", "dataset", "status", "attempt", "job"),
    *("reason", "message", "remedy"),
    *("created_at", "updated_at", "started_at", "finished_at", "cancel_requested_at"),
)
STATEMENT = (
    f"SELECT {', '.join(COLUMNS)} FROM experiment ORDER BY created_at DESC, id DESC LIMIT 100"
)
OPTIONS = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
URL = make_url(os.environ["DB_URL"])

_thread = threading.local()


def app(_environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Return the page (WSGI)."""
    cursor = _connection().cursor()
    cursor.execute(STATEMENT)
    body = orjson.dumps([_shown(row) for row in cursor.fetchall()], option=OPTIONS)
    cursor.close()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def _shown(row: Sequence[Any]) -> dict[str, Any]:
    values = dict(zip(COLUMNS, row, strict=True))
    reason, message, remedy = (values.pop(name) for name in ("reason", "message", "remedy"))
    diagnosis = {"reason": reason, "message": message, "remedy": remedy}
    return values | {"diagnosis": diagnosis if reason else None}


def _connection() -> Any:
    if not hasattr(_thread, "connection"):
        _thread.connection = (
            sqlite3.connect(str(URL.database))
            if URL.get_backend_name() == "sqlite"
            else pymysql.connect(
                host=URL.host,
                port=URL.port or 3306,
                user=URL.username,
                password=URL.password or "",
                database=URL.database,
                autocommit=True,
            )
        )
    return _thread.connection


app.extensions = {"streams": SimpleNamespace()}  # type: ignore[attr-defined]  # for gunicorn.conf.py
