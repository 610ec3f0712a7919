"""Reads rows whose text is damaged: what is not UTF-8 is replaced, and the row says so."""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import ColumnElement, LargeBinary, Row, Select, String, cast

from backend.store.tables import metric_summaries

DIAGNOSIS = {
    "reason": "record_damaged",
    "message": "The database holds text of this experiment that is not UTF-8, shown as \ufffd.",
    "remedy": "Restore its row from its run.json: docs/operations.md, A lost database.",
}
METRICS = metric_summaries.c.content.key


def lenient(query: Select[Any]) -> Select[Any]:
    """Return the query with every text as bytes, which can be read whatever they are."""
    columns = [_as_bytes(column) for column in query.selected_columns]
    return query.with_only_columns(*columns, maintain_column_froms=True)


def repaired(row: Row[Any], names: Sequence[str | None]) -> list[Any]:
    """Return the values of a row of a lenient query, with the diagnosis if one was damaged."""
    values, is_damaged = [], False
    for value in row:
        if isinstance(value, bytes):
            text = value.decode(errors="replace")
            is_damaged |= text.encode() != value
            value = text
        values.append(value)
    if is_damaged:
        values = [_said(name, value) for name, value in zip(names, values, strict=True)]
    return values


def _said(name: str | None, value: Any) -> Any:
    """Return what a damaged row has in a column: the diagnosis, or JSON that can be parsed."""
    if name == METRICS:
        try:
            orjson.loads(value or "{}")
        except ValueError:
            return "{}"
    return DIAGNOSIS.get(name or "", value)


def _as_bytes(column: ColumnElement[Any]) -> ColumnElement[Any]:
    if not isinstance(column.type, String):
        return column
    return cast(column, LargeBinary).label(column.key)
