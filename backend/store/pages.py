"""One page of the list of experiments, at about the same cost however many there are.

A page begins where the one before ended (keyset), and each order has an index that ends with the
primary key. Only a search in ids, `text`, has to look at every one until the page is full.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Select,
    String,
    bindparam,
    cast,
    func,
    or_,
    select,
    union_all,
)

from backend.store.tables import UTCDateTime, experiment

SORTS = ("-created_at", "created_at", "-updated_at", "updated_at")  # `-`: the latest first
LISTED = (
    *("experiment_id", "model", "learning_rate", "epoch", "dataset", "status", "attempt", "job"),
    *("reason", "created_at", "updated_at", "started_at", "finished_at", "cancel_requested_at"),
    *("message", "remedy", "id"),
)
SEPARATOR = "\n"  # of versions
STATEMENTS = 32  # that are kept: to make one takes as long as to run it


class Columns(Enum):
    """What a page holds of each experiment."""

    WHOLE = "all there is"
    LISTED = "the columns LISTED, times as they are written in JSON, and its version"
    VERSION = "the versions of all, as one text in one row"


class Cursor(NamedTuple):
    """Where a page ended: the time that the list is sorted by, and the key."""

    time: datetime
    id: int


@dataclass(frozen=True)
class Selection:
    """Which experiments, in which order.

    Attributes:
        statuses: one of these; any if there are none.
        model: that one.
        text: a part of the experiment_id, in upper or lower case.
        created_after: later than that.
        sort: one of SORTS.
    """

    statuses: tuple[str, ...] = ()
    model: str | None = None
    text: str | None = None
    created_after: datetime | None = None
    sort: str = SORTS[0]

    @property
    def column(self) -> str:
        """Name the column that it is sorted by."""
        return self.sort.removeprefix("-")

    def cursor(self, row: Any) -> Cursor:
        """Say where a page ends whose last one is `row`."""
        return Cursor(getattr(row, self.column), row.id)


ALL = Selection()


@lru_cache(maxsize=STATEMENTS)
def page(selection: Selection, *, goes_on: bool, columns: Columns) -> Select[Any]:
    """Ask for a page; its parameters are those that `parameters` gives.

    Args:
        selection: which experiments.
        goes_on: whether it follows another page.
        columns: what of each experiment.
    """
    conditions = list(_conditions(selection, goes_on))
    parts = [
        select(experiment).where(*conditions, *status)
        for status in [[experiment.c.status == one] for one in selection.statuses] or [[]]
    ]
    table: FromClause = experiment
    query = parts[0]
    if len(parts) > 1:
        # Each status by itself, in its index; together they would have to be sorted.
        ordered = [_ordered(part, experiment, selection).subquery() for part in parts]
        table = union_all(*map(select, ordered)).subquery()
        query = select(table)
    if columns is Columns.LISTED:
        query = query.with_only_columns(
            *(_written(table, name) for name in LISTED), _version(table)
        )
    elif columns is Columns.VERSION:
        return _joined(_ordered(query.with_only_columns(_version(table)), table, selection))
    return _ordered(query, table, selection)


def parameters(limit: int, after: Cursor | None) -> dict[str, Any]:
    """Give the parameters of a page of at most `limit` experiments that follow `after`."""
    return {"limit": limit} | ({"time": after.time, "key": after.id} if after else {})


def version(rows: Iterable[Any]) -> str:
    """Name the state of a page from its rows' `version`; another or a changed page has another."""
    return hashlib.sha256(SEPARATOR.join(row.version for row in rows).encode()).hexdigest()


def _conditions(selection: Selection, goes_on: bool) -> Iterable[ColumnElement[bool]]:
    column, key = experiment.c[selection.column], experiment.c.id
    time, last = bindparam("time", type_=column.type), bindparam("key", type_=key.type)
    if goes_on and selection.sort.startswith("-"):
        yield column <= time
        yield or_(column < time, key < last)
    elif goes_on:
        yield column >= time
        yield or_(column > time, key > last)
    if selection.created_after is not None:
        yield experiment.c.created_at > selection.created_after
        if column is not experiment.c.created_at:  # follows from it, and bounds the index
            yield column > selection.created_after
    if selection.model is not None:
        yield experiment.c.model == selection.model
    if selection.text is not None:
        yield experiment.c.experiment_id.icontains(selection.text, autoescape=True)


def _ordered(query: Select[Any], table: FromClause, selection: Selection) -> Select[Any]:
    columns = (table.c[selection.column], table.c.id)
    falling = selection.sort.startswith("-")
    order = [column.desc() if falling else column.asc() for column in columns]
    return query.order_by(*order).limit(bindparam("limit", type_=Integer()))


def _written(table: FromClause, name: str) -> ColumnElement[Any]:
    """Let the database write a time, as timestamps.to_text does."""
    column = table.c[name]
    if not isinstance(column.type, UTCDateTime):
        return column
    return (func.replace(cast(column, String()), " ", "T") + "Z").label(name)


def _version(table: FromClause) -> ColumnElement[str]:
    """Name the state of an experiment: every change of it writes `updated_at`."""
    of = table.c
    text = of.uid + of.status + cast(of.attempt, String(10)) + cast(of.updated_at, String(32))
    return text.label("version")


def _joined(versions: Select[Any]) -> Select[Any]:
    """Let the database put the versions of a page into one row: it is sent, and read, at once.

    MySQL would cut the text after 1 kB. Were it cut all the same, or joined in another order, it
    would equal no whole page's, and the page would be sent again.
    """
    joined = func.aggregate_strings(versions.subquery().c.version, SEPARATOR)
    return select(func.coalesce(joined, "").label("version")).prefix_with(
        "/*+ SET_VAR(group_concat_max_len = 1048576) */", dialect="mysql"
    )
