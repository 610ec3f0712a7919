"""Statements that read one page of the list of experiments, and the listing made from their rows.

A page costs about the same however many experiments there are. It begins where the page before
ended (keyset pagination), and each order has an index that ends with the primary key. A search
(`Selection.is_search`) examines a limited number of them: the page may then be short, or empty, and
another one follows.
"""

import hashlib
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from enum import Enum
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Select,
    String,
    and_,
    bindparam,
    case,
    cast,
    exists,
    false,
    func,
    or_,
    select,
    true,
    union_all,
)

from backend.domain.conditions import Condition, metric_of, parameter_of
from backend.domain.data_sets.pins import is_sha256
from backend.domain.experiment import Experiment
from backend.domain.identifiers import folded
from backend.domain.parameter import read_number
from backend.domain.selection import Cursor, ListedExperiment, Listing, Selection
from backend.domain.timestamps import from_text
from backend.store.tables import (
    UTCDateTime,
    experiment,
    experiment_input,
    metric,
    metric_summaries,
    parameter,
    tag,
)

EXPERIMENT_COLUMNS = tuple(field.name for field in fields(Experiment))
SEPARATOR = "\n"  # between the versions of the experiments of a page
# Experiments that are examined for one page: first a few, which fill most pages, then at most so
# many, which take about 0.1 s.
SEARCHED = (1_000, 20_000)
STATEMENTS = 32  # cached; building a statement takes as long as executing it

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
_compared_metric = metric.alias("_compared_metric")
_compared_parameter = parameter.alias("_compared_parameter")
_COLUMNS = {"by": "submitted_by"}  # of fields with another name


class Columns(Enum):
    """The columns that a page is read with."""

    ALL = "EXPERIMENT_COLUMNS"
    LISTED = "those of ListedExperiment, times as text, then the experiment's version"
    VERSION = "the versions of all experiments of the page, joined into one row"


@lru_cache(maxsize=STATEMENTS)
def statement(
    selection: Selection, *, has_cursor: bool, columns: Columns, has_end: bool = False
) -> Select[Any]:
    """Return the query for a page; `parameters` returns its parameters.

    Args:
        selection: which experiments, in which order.
        has_cursor: whether the page follows another page.
        columns: which columns.
        has_end: whether the page ends at a position, the one that `search_end` found.
    """
    conditions = [*_within(selection, has_cursor, has_end), *_conditions(selection)]
    table: FromClause = experiment
    key = _sort_column(selection)
    query = select(experiment).where(*conditions)
    joined = _joined_table(selection)
    if joined is not None:
        query = query.join(joined, joined.c.experiment == experiment.c.id)
    if len(selection.statuses) == 1:
        query = query.where(experiment.c.status == selection.statuses[0])
    elif selection.statuses and not selection.is_by_time:
        query = query.where(experiment.c.status.in_(selection.statuses))
    elif selection.statuses:
        # One query per status, each sorted by its index; with IN the database would have to sort.
        queries = [query.where(experiment.c.status == status) for status in selection.statuses]
        sorted_queries = [
            _sorted(query, experiment, key, selection).subquery() for query in queries
        ]
        table = union_all(*map(select, sorted_queries)).subquery()
        key = table.c[selection.column]
        query = select(table)
    match columns:
        case Columns.ALL:
            query = query.with_only_columns(*(table.c[name] for name in EXPERIMENT_COLUMNS))
        case Columns.LISTED:
            listed = [_as_json(table.c[name]) for name in ListedExperiment._fields[:-1]]
            query = _with_summaries(query, table)
            content = _valid_json(metric_summaries.c.content)
            query = query.with_only_columns(
                *listed, content, _as_json(key).label("key"), _version(table)
            )
        case Columns.VERSION:
            query = _with_summaries(query, table).with_only_columns(_version(table))
            return _joined(_sorted(query, table, key, selection))
    return _sorted(query, table, key, selection)


def parameters(limit: int, after: Cursor | None, until: Cursor | None = None) -> dict[str, Any]:
    """Return the parameters of a page of at most `limit` experiments after `after` to `until`."""
    values: dict[str, Any] = {"limit": limit}
    values |= {"value": after.value, "key": after.id} if after else {}
    return values | ({"last_value": until.value, "last_key": until.id} if until else {})


@lru_cache(maxsize=STATEMENTS)
def search_end(selection: Selection, *, has_cursor: bool) -> Select[Any]:
    """Return the query for the value and the key of the last experiment that a search examines.

    There is no row if fewer are left. Its parameters are those of a page of one experiment, and
    `before`, the number of experiments that it examines before the last one.
    """
    key, last = _sort_column(selection), _key_column(selection)
    order = [column.desc() if selection.is_descending else column.asc() for column in (key, last)]
    query = select(key, last).where(*_within(selection, has_cursor, has_end=False))
    if len(selection.statuses) == 1 and selection.is_by_time:  # there is an index for it
        query = query.where(experiment.c.status == selection.statuses[0])
    limit, before = (bindparam(name, type_=Integer()) for name in ("limit", "before"))
    return query.order_by(*order).limit(limit).offset(before)


def to_listing(
    rows: Sequence[Sequence[Any]], limit: int, selection: Selection, until: Cursor | None = None
) -> Listing:
    """Return the listing of up to `limit` of these rows of Columns.LISTED.

    One row more than `limit` shows that another page follows; it is part of the version. After a
    search that ended at `until`, the next page begins there.
    """
    listed = [ListedExperiment._make(row[:-2]) for row in rows[:limit]]
    following = until
    if len(rows) > limit:
        cursors = (_cursor(row[-2], row[-4], selection) for row in reversed(rows[:limit]))
        following = next(filter(None, cursors), None)
    return Listing(to_version(SEPARATOR.join([row[-1] for row in rows])), listed, following)


def _cursor(key: Any, row_id: int, selection: Selection) -> Cursor | None:
    """Return where a page ends; None if the time that it is sorted by is damaged."""
    try:
        return Cursor(from_text(key) if selection.is_by_time else key, row_id)
    except ValueError:
        return None


def to_version(joined: str) -> str:
    """Return the version of a page from those of its experiments, joined by SEPARATOR."""
    return hashlib.sha256(joined.encode()).hexdigest()


def _sort_column(selection: Selection) -> ColumnElement[Any]:
    if selection.metric:
        return metric.c[selection.metric[1]]
    return parameter.c.number if selection.parameter else experiment.c[selection.column]


def _joined_table(selection: Selection) -> FromClause | None:
    """Return the table of what the list is sorted by, unless that is a column of experiments."""
    return metric if selection.metric else parameter if selection.parameter else None


def _key_column(selection: Selection) -> ColumnElement[Any]:
    joined = _joined_table(selection)
    return experiment.c.id if joined is None else joined.c.experiment


def _within(selection: Selection, has_cursor: bool, has_end: bool) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions for the positions of a page: after its cursor, and not after its end."""
    column, key = _sort_column(selection), _key_column(selection)
    if selection.metric:
        yield metric.c.name == selection.metric[0]
    if selection.parameter:
        yield parameter.c.name == selection.parameter
        yield parameter.c.number.is_not(None)
    if selection.is_by_peak:
        yield column.is_not(None)
    ends = [(has_cursor, "value", "key", operator.gt, operator.ge, operator.gt)]
    ends += [(has_end, "last_value", "last_key", operator.lt, operator.le, operator.le)]
    opposite = {operator.gt: operator.lt, operator.lt: operator.gt}
    opposite |= {operator.ge: operator.le, operator.le: operator.ge}
    for is_present, value_name, key_name, *comparisons in ends:
        if not is_present:
            continue
        value, last = bindparam(value_name, type_=column.type), bindparam(key_name, type_=key.type)
        if selection.is_descending:
            comparisons = [opposite[each] for each in comparisons]
        beyond, within, key_within = comparisons
        yield within(column, value)
        yield or_(beyond(column, value), key_within(key, last))


def _conditions(selection: Selection) -> Iterator[ColumnElement[bool]]:
    column = _sort_column(selection)
    if selection.created_after is not None:
        yield experiment.c.created_at > selection.created_after
        if selection.column == "updated_at":  # implied, and limits the range of the index
            yield column > selection.created_after
    if selection.model is not None:
        yield experiment.c.model == selection.model
    if selection.dataset is not None:
        names = experiment_input.c
        used = names.sha256 if is_sha256(selection.dataset) else names.name
        yield exists().where(names.experiment == experiment.c.id, used == selection.dataset)
    if selection.text is not None:
        searched = func.coalesce(experiment.c.folded_id, func.lower(experiment.c.experiment_id))
        yield searched.contains(folded(selection.text) or selection.text, autoescape=True)
    for name in selection.tags:
        # Not EXISTS, with which SQLite would look at each experiment: few have a tag.
        yield experiment.c.id.in_(select(tag.c.experiment).where(tag.c.name == name))
    if selection.favourite is not None:
        is_favourite = experiment.c.favourite == true()
        yield is_favourite if selection.favourite else func.coalesce(is_favourite, False) == false()
    yield from map(_comparison, selection.conditions)


def _comparison(condition: Condition) -> ColumnElement[bool]:
    """Return a condition as SQL; its value is a parameter of the statement."""
    compare: Callable[[Any, Any], ColumnElement[bool]] = _OPERATORS[condition.operator]
    named = metric_of(condition.field)
    if named:
        name, figure = named
        fits = and_(
            _compared_metric.c.name == name, compare(_compared_metric.c[figure], condition.value)
        )
        return exists().where(_compared_metric.c.experiment == experiment.c.id, fits)
    if name_of_parameter := parameter_of(condition.field):
        return exists().where(
            _compared_parameter.c.experiment == experiment.c.id,
            _compared_parameter.c.name == name_of_parameter,
            _parameter_fits(condition),
        )
    column = experiment.c[_COLUMNS.get(condition.field, condition.field)]
    if condition.operator == "!=" and condition.value is not None and column.nullable:
        return or_(column.is_(None), column != condition.value)
    return compare(column, condition.value)


def _parameter_fits(condition: Condition) -> ColumnElement[bool]:
    """Return a comparison with the value of a parameter, a number or a text, as SQL."""
    compare, value = _OPERATORS[condition.operator], condition.value
    number, text = _compared_parameter.c.number, _compared_parameter.c.text
    if isinstance(value, float):
        fits: ColumnElement[bool] = compare(number, value)
        return fits
    known = read_number(value)
    equal = text == value if known is None else or_(text == value, number == known)
    return equal if condition.operator == "=" else func.coalesce(equal, False) == false()


def _with_summaries(query: Select[Any], table: FromClause) -> Select[Any]:
    return query.outerjoin(metric_summaries, metric_summaries.c.experiment == table.c.id)


def _sorted(
    query: Select[Any], table: FromClause, key: ColumnElement[Any], selection: Selection
) -> Select[Any]:
    last = table.c.id if _joined_table(selection) is None else _key_column(selection)
    order = [column.desc() if selection.is_descending else column.asc() for column in (key, last)]
    return query.order_by(*order).limit(bindparam("limit", type_=Integer()))


def _as_json(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the column as it stands in JSON.

    The database formats a time as timestamps.to_text does, and leaves out damaged tags.
    """
    if column.key == experiment.c.tags.key:
        return _valid_json(column)
    if not isinstance(column.type, UTCDateTime):
        return column
    return (func.replace(cast(column, String()), " ", "T") + "Z").label(column.key)


def _valid_json(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the column, NULL where it holds no JSON: it is put into the answer as it is."""
    return case((func.json_valid(column) == 1, column)).label(column.key)


def _version(table: FromClause) -> ColumnElement[str]:
    """Return the version of an experiment: every change of it sets `updated_at`.

    Its metrics have a version of their own, and its peaks are part of it.
    """
    columns = table.c
    text = columns.uid + columns.status
    text += cast(columns.attempt, String(10)) + cast(columns.updated_at, String(32))
    text += func.coalesce(metric_summaries.c.version, "")
    text += func.coalesce(columns.submitted_by, "")  # of older rows, filled in afterwards
    # Peaks only rise during an attempt, and so does their sum, which is one number to convert.
    sizes = func.coalesce(columns.peak_memory, -1) + func.coalesce(columns.peak_gpu_memory, -1)
    units = func.coalesce(columns.peak_cpu, -1) + func.coalesce(columns.peak_gpu, -1)
    text += cast(sizes + cast(func.round(1000 * units), Integer()), String(32))
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
