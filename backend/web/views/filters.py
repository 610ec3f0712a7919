"""What the address of the dashboard's list asks for: filters, order and columns."""

import re
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from flask import abort, request, url_for
from marshmallow import ValidationError

from backend.domain.annotations.rules import tag_problem
from backend.domain.conditions import Condition, full_name, metric_of, parameter_of
from backend.domain.execution.usage import PEAKS
from backend.domain.identifiers import MAX_ID_CHARACTERS, canonical
from backend.domain.selection import SORTS, Cursor, Selection
from backend.domain.status import Status
from backend.web.schemas.fields import MAX_SORT, After, Sort, Where
from backend.web.schemas.lists import MAX_CONDITIONS

DEFAULT_COLUMNS = ("learning_rate", "dataset", "progress", "last", "best", "curve", "created_at")
OTHER_COLUMNS = ("tags", "by", "model", "size", "sweep", "duration", "epoch", *PEAKS)
MAX_COLUMNS = 30

_NUL = re.compile("\0")


@dataclass(frozen=True)
class Filters:
    """What the address of the list asks for.

    Attributes:
        dataset: the name or the digest of a data set that the experiments use.
        where: comparisons as text, each of which may hold several.
        tag: show experiments with all of these.
        favourite: show favourites only.
        metric: the metric to show; by default the objective.
        columns: names of columns; by default DEFAULT_COLUMNS.
    """

    status: str | None
    q: str
    dataset: str | None
    where: tuple[str, ...]
    tag: tuple[str, ...]
    favourite: bool
    sort: str
    metric: str | None
    columns: tuple[str, ...]

    def url(self, *, page: str = "dashboard.list_experiments", **changes: Any) -> str:
        """Return the address of the list with some of these changed, or with another `after`."""
        after = changes.pop("after", None)
        query = replace(self, **changes).query()
        return url_for(page, **query, after=after)

    def query(self, *without: str) -> dict[str, Any]:
        """Return the parameters of an address, without these; None where none is needed."""
        query = {name: value or None for name, value in vars(self).items() if name not in without}
        if self.sort == SORTS[0]:
            query["sort"] = None
        if self.favourite and "favourite" in query:
            query["favourite"] = "true"
        return query

    def hidden(self, *without: str) -> list[tuple[str, str]]:
        """Return these parameters, without some, as the hidden fields of a form."""
        found = []
        for name, value in self.query(*without).items():
            values = value if isinstance(value, tuple) else (value,)
            found += [(name, each) for each in values if each is not None]
        return found

    @property
    def is_whole(self) -> bool:
        """Whether it shows all experiments, but for their status."""
        return not (self.q or self.dataset or self.where or self.tag or self.favourite)

    @property
    def shown_columns(self) -> tuple[str, ...]:
        """The columns to show."""
        return self.columns or DEFAULT_COLUMNS

    def selection(self, conditions: tuple[Condition, ...]) -> Selection:
        """Return the experiments to show, in their order."""
        return Selection(
            statuses=(self.status,) if self.status else (),
            text=self.q or None,
            dataset=self.dataset,
            tags=self.tag,
            favourite=True if self.favourite else None,
            conditions=conditions,
            sort=self.sort,
        )


def refuse(detail: str) -> NoReturn:
    """Answer 422 with a page that shows `detail`."""
    abort(422, detail)


def read_filters() -> Filters:
    """Return the filters of the current request; refuse those that no link of the list has."""
    arguments = request.args
    q = arguments.get("q", "").strip()[:MAX_ID_CHARACTERS]
    status, metric = arguments.get("status") or None, arguments.get("metric") or None
    dataset = canonical(arguments.get("dataset", "")) or None
    for name, text in (("q", q), ("metric", metric or ""), ("dataset", dataset or "")):
        if _NUL.search(text):
            refuse(f"{name} must not contain NUL (%00).")
    if status is not None and status not in list(Status):
        refuse(f"status must be one of {', '.join(Status)}.")
    if metric and len(metric) > MAX_SORT:
        refuse(f"metric must be at most {MAX_SORT} characters.")
    try:
        sort = Sort().deserialize(arguments.get("sort") or SORTS[0])
    except ValidationError as error:
        refuse(f"sort {error.messages[0]}")
    where = tuple(text for each in arguments.getlist("where") if (text := each.strip()))
    is_favourite = arguments.get("favourite") == "true"
    return Filters(status, q, dataset, where, _tags(), is_favourite, sort, metric, _columns())


def read_after() -> Cursor | None:
    """Return where the page begins; refuse what no link of the list has."""
    after = request.args.get("after")
    try:
        cursor: Cursor | None = After().deserialize(after) if after is not None else None
    except ValidationError:
        refuse("after must come from the link to the next page.")
    return cursor


def read_conditions(texts: tuple[str, ...]) -> tuple[tuple[Condition, ...], str]:
    """Return the comparisons of the filter, and why it cannot be read: an empty text if it can."""
    try:
        comparisons: Any = Where().deserialize(list(texts))
        found: tuple[Condition, ...] = tuple(comparisons)
    except ValidationError as error:
        return (), str(error.messages[0])
    if len(found) > MAX_CONDITIONS:
        return (), f"must be at most {MAX_CONDITIONS} comparisons."
    return found, ""


def is_column(name: str) -> bool:
    """Return whether a name is that of a column: one of ours, a parameter or a figure."""
    is_figure = len(name) <= MAX_SORT and not _NUL.search(name) and metric_of(name) is not None
    is_ours = name in (*DEFAULT_COLUMNS, *OTHER_COLUMNS)
    return is_ours or is_figure or parameter_of(full_name(name)) is not None


def _tags() -> tuple[str, ...]:
    parts = [part.strip() for text in request.args.getlist("tag") for part in text.split(",")]
    tags = tuple(dict.fromkeys(canonical(part) for part in parts if part))
    for tag in tags:
        if problem := tag_problem(tag):
            refuse(f"A tag {problem}.")
    if len(tags) > MAX_CONDITIONS:
        refuse(f"tag must be at most {MAX_CONDITIONS} tags.")
    return tags


def _columns() -> tuple[str, ...]:
    names = tuple(dict.fromkeys(request.args.getlist("columns")))
    if len(names) > MAX_COLUMNS:
        refuse(f"columns must be at most {MAX_COLUMNS} names.")
    for name in names:
        if not is_column(name):
            refuse(f"columns has an unknown name, {name[:60]!r}.")
    return () if names == DEFAULT_COLUMNS else names
