"""One page of the list of experiments, at about the same cost however many there are.

A page begins where the one before ended (keyset), and each order has an index that ends with the
primary key. Only a search in ids, `text`, has to look at every one until the page is full.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, String, cast, or_, select, union_all

from backend.store.tables import experiment

SORTS = ("-created_at", "created_at", "-updated_at", "updated_at")  # `-`: the latest first


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

    statuses: Sequence[str] = ()
    model: str | None = None
    text: str | None = None
    created_after: datetime | None = None
    sort: str = SORTS[0]

    def cursor(self, row: Any) -> Cursor:
        """Say where a page ends whose last one is `row`."""
        return Cursor(getattr(row, self._column), row.id)

    def page(self, *, limit: int, after: Cursor | None) -> Select[Any]:
        """Ask for a page: at most `limit` experiments that follow `after`."""
        parts = [
            self._ordered(select(experiment).where(*self._conditions(after), *status), limit)
            for status in [[experiment.c.status == one] for one in self.statuses] or [[]]
        ]
        if len(parts) == 1:
            return parts[0]
        # Each status by itself, in its index; together they would have to be sorted.
        together = union_all(*(select(part.subquery()) for part in parts)).subquery()
        return self._ordered(select(together), limit)

    @property
    def _column(self) -> str:
        return self.sort.removeprefix("-")

    def _conditions(self, after: Cursor | None) -> list[ColumnElement[bool]]:
        conditions, column, key = [], experiment.c[self._column], experiment.c.id
        if after is not None and self.sort.startswith("-"):
            beyond = or_(column < after.time, key < after.id)
            conditions += [column <= after.time, beyond]
        elif after is not None:
            beyond = or_(column > after.time, key > after.id)
            conditions += [column >= after.time, beyond]
        if self.created_after is not None:
            conditions.append(experiment.c.created_at > self.created_after)
            if column is not experiment.c.created_at:  # follows from it, and bounds the index
                conditions.append(column > self.created_after)
        if self.model is not None:
            conditions.append(experiment.c.model == self.model)
        if self.text is not None:
            conditions.append(experiment.c.experiment_id.icontains(self.text, autoescape=True))
        return conditions

    def _ordered(self, query: Select[Any], limit: int) -> Select[Any]:
        columns = [query.selected_columns[name] for name in (self._column, "id")]
        if self.sort.startswith("-"):
            columns = [column.desc() for column in columns]
        return query.order_by(*columns).limit(limit)


ALL = Selection()


@lru_cache(maxsize=32)  # to put the question together takes longer than to answer it
def versions(selection: Selection, limit: int, after: Cursor | None) -> Select[str]:
    """Ask for a text of each experiment of a page that changes whenever it does.

    Every change of an experiment writes `updated_at`.
    """
    page = selection.page(limit=limit, after=after)
    of = page.selected_columns
    text = of.uid + of.status + cast(of.attempt, String(10)) + cast(of.updated_at, String(32))
    return page.with_only_columns(text)
