"""Statements that read one page of the list of experiments, and the listing made from their rows.

A page costs about the same however many experiments there are. It begins where the page before
ended (keyset pagination), and each order has an index that ends with the primary key. Only a
search within ids, `text`, examines every experiment until the page is full.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Row,
    Select,
    String,
    bindparam,
    cast,
    func,
    or_,
    select,
    union_all,
)

from backend.domain.selection import Cursor, ListedExperiment, Listing, Selection
from backend.domain.timestamps import from_text
from backend.store.tables import UTCDateTime, experiment

SEPARATOR = "\n"  # between the versions of the experiments of a page
STATEMENTS = 32  # cached; building a statement takes as long as executing it


class Columns(Enum):
    """The columns that a page is read with."""

    ALL = "all columns of the table"
    LISTED = "those of ListedExperiment, times as text, then the experiment's version"
    VERSION = "the versions of all experiments of the page, joined into one row"


@lru_cache(maxsize=STATEMENTS)
def statement(selection: Selection, *, has_cursor: bool, columns: Columns) -> Select[Any]:
    """Return the query for a page; `parameters` returns its parameters.

    Args:
        selection: which experiments, in which order.
        has_cursor: whether the page follows another page.
        columns: which columns.
    """
    conditions = list(_conditions(selection, has_cursor))
    table: FromClause = experiment
    query = select(experiment).where(*conditions)
    if len(selection.statuses) == 1:
        query = query.where(experiment.c.status == selection.statuses[0])
    elif selection.statuses:
        # One query per status, each sorted by its index; with IN the database would have to sort.
        queries = [query.where(experiment.c.status == status) for status in selection.statuses]
        sorted_queries = [_sorted(query, experiment, selection).subquery() for query in queries]
        table = union_all(*map(select, sorted_queries)).subquery()
        query = select(table)
    match columns:
        case Columns.LISTED:
            listed = [_as_json(table.c[name]) for name in ListedExperiment._fields]
            query = query.with_only_columns(*listed, _version(table))
        case Columns.VERSION:
            query = query.with_only_columns(_version(table))
            return _joined(_sorted(query, table, selection))
    return _sorted(query, table, selection)


def parameters(limit: int, after: Cursor | None) -> dict[str, Any]:
    """Return the parameters of a page of at most `limit` experiments that follow `after`."""
    return {"limit": limit} | ({"time": after.time, "key": after.id} if after else {})


def to_listing(rows: Sequence[Row[Any]], limit: int, selection: Selection) -> Listing:
    """Return the listing of up to `limit` of these rows of Columns.LISTED.

    One row more than `limit` shows that another page follows; it is part of the version.
    """
    listed = [ListedExperiment._make(row[:-1]) for row in rows[:limit]]
    following = None
    if len(rows) > limit:
        last = listed[-1]
        following = Cursor(from_text(getattr(last, selection.column)), last.id)
    return Listing(to_version(SEPARATOR.join([row[-1] for row in rows])), listed, following)


def to_version(joined: str) -> str:
    """Return the version of a page from those of its experiments, joined by SEPARATOR."""
    return hashlib.sha256(joined.encode()).hexdigest()


def _conditions(selection: Selection, has_cursor: bool) -> Iterator[ColumnElement[bool]]:
    column, key = experiment.c[selection.column], experiment.c.id
    time, last = bindparam("time", type_=column.type), bindparam("key", type_=key.type)
    if has_cursor and selection.is_descending:
        yield column <= time
        yield or_(column < time, key < last)
    elif has_cursor:
        yield column >= time
        yield or_(column > time, key > last)
    if selection.created_after is not None:
        yield experiment.c.created_at > selection.created_after
        if column is not experiment.c.created_at:  # implied, and limits the range of the index
            yield column > selection.created_after
    if selection.model is not None:
        yield experiment.c.model == selection.model
    if selection.text is not None:
        yield experiment.c.experiment_id.icontains(selection.text, autoescape=True)


def _sorted(query: Select[Any], table: FromClause, selection: Selection) -> Select[Any]:
    columns: Iterable[ColumnElement[Any]] = (table.c[selection.column], table.c.id)
    order = [column.desc() if selection.is_descending else column.asc() for column in columns]
    return query.order_by(*order).limit(bindparam("limit", type_=Integer()))


def _as_json(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the column; a time as text, formatted by the database as timestamps.to_text does."""
    if not isinstance(column.type, UTCDateTime):
        return column
    return (func.replace(cast(column, String()), " ", "T") + "Z").label(column.key)


def _version(table: FromClause) -> ColumnElement[str]:
    """Return the version of an experiment: every change of it sets `updated_at`."""
    columns = table.c
    text = columns.uid + columns.status
    text += cast(columns.attempt, String(10)) + cast(columns.updated_at, String(32))
    return text.label("version")


def _joined(versions: Select[Any]) -> Select[Any]:
    """Return a query that joins the versions of a page into one row, which is faster to read.

    MySQL would cut the text after 1 kB. Should it be cut nevertheless, or joined in another order,
    it would equal the version of no whole page, and the page would be sent again.
    """
    joined = func.aggregate_strings(versions.subquery().c.version, SEPARATOR)
    return select(func.coalesce(joined, "").label("version")).prefix_with(
        "/*+ SET_VAR(group_concat_max_len = 1048576) */", dialect="mysql"
    )
