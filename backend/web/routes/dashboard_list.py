"""The list of the dashboard: one table, whose filters and order are in its address."""

import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from flask import get_template_attribute, render_template, request, url_for
from markupsafe import Markup
from marshmallow import ValidationError

from backend.domain.conditions import Condition, ConditionError, parse_all
from backend.domain.experiment import Experiment
from backend.domain.identifiers import MAX_ID_CHARACTERS, canonical
from backend.domain.metric_summary import MetricSummary
from backend.domain.objective import Goals, objective_of
from backend.domain.selection import SORTS, Cursor, Selection
from backend.domain.status import LIVE, Status
from backend.files.curves import Budget, Curves
from backend.web.current import services
from backend.web.presentation import Figures, best_figure, figures
from backend.web.routes.dashboard import blueprint, refuse, summary_of
from backend.web.schemas.columns import CSV
from backend.web.schemas.fields import MAX_SORT, After, Sort, cursor_text
from backend.web.schemas.lists import MAX_CONDITIONS

PAGE_ROWS = 50
CACHED_ROWS = 2000
MAX_METRICS = 50  # to choose from
DEFAULT_METRIC = "loss"  # shown while no experiment of the page has metrics

__all__ = ["blueprint"]  # of the dashboard, with the list

Summaries = Mapping[str, MetricSummary]
# What a row is made from: see _row.
RowKey = tuple[Curves, Experiment, str, str, Figures | None, str]

log = logging.getLogger(__name__)
_rows: dict[RowKey, Markup] = {}  # oldest first
_rows_lock = threading.Lock()


@dataclass(frozen=True)
class Filters:
    """What the address of the list asks for.

    Attributes:
        dataset: the name or the digest of a data set that the experiments use.
        where: comparisons as text, each of which may hold several.
        metric: the metric to show; by default the objective.
    """

    status: str | None
    q: str
    dataset: str | None
    where: tuple[str, ...]
    sort: str
    metric: str | None

    def url(self, **changes: Any) -> str:
        """Return the address of the list with some of these changed, or with another `after`."""
        after = changes.pop("after", None)
        query = replace(self, **changes).query()
        return url_for("dashboard.list_experiments", **query, after=after)

    def query(self, *without: str) -> dict[str, Any]:
        """Return the parameters of an address, without these; None where none is needed."""
        query = {name: value or None for name, value in vars(self).items() if name not in without}
        if self.sort == SORTS[0]:
            query["sort"] = None
        return query


class Header(NamedTuple):
    """The header of a column by which the list can be sorted.

    Attributes:
        style: the class of the column.
        url: leads to the list in that order; in the opposite one if it is in that order already.
        order: `ascending` or `descending` if the list is sorted by it.
    """

    label: str
    style: str
    url: str
    order: str | None


@blueprint.get("")
def list_experiments() -> tuple[str, int]:
    """Show the experiments, by default newest first, PAGE_ROWS on a page."""
    filters, after = _filters(), _after()
    if after and (filters.sort in SORTS) is isinstance(after.value, float):
        refuse("after must come from the link to the next page.")
    conditions, problem = _conditions(filters.where)
    selection = Selection(
        statuses=(filters.status,) if filters.status else (),
        text=filters.q or None,
        dataset=filters.dataset,
        conditions=conditions,
        sort=filters.sort,
    )
    page: list[Experiment] = []
    if not problem:
        page = services.experiments.page(limit=PAGE_ROWS + 1, after=after, selection=selection)
    shown = page[:PAGE_ROWS]
    summaries = services.overview.summaries(shown) if shown else {}
    goals = services.models.goals(each.model for each in shown)
    names = list(dict.fromkeys(name for one in summaries.values() for name in one))[:MAX_METRICS]
    metric = filters.metric or (selection.metric or [None])[0] or objective_of(names, goals)
    metric = metric or next(iter(names), DEFAULT_METRIC)
    budget = Budget()
    keys = {each.id: _position(selection, each, summaries.get(each.id, {})) for each in shown}
    end = keys[shown[-1].id] if len(page) > PAGE_ROWS else None
    is_whole = not (filters.q or filters.where or filters.dataset)
    html = render_template(
        "list.html",
        rows=[
            _row(each, metric, summaries.get(each.id, {}), _text(keys[each.id]), budget)
            for each in shown
        ],
        filters=filters,
        selection=selection,
        after=request.args.get("after"),
        problem=problem,
        metric=metric,
        metrics=names if metric in names else [metric, *names],
        headers={header.style: header for header in _headers(filters, metric, goals)},
        counts=services.overview.counts() if is_whole else None,
        end=_text(end),
        table_url=url_for("experiments.list_experiments", format=CSV, **filters.query("metric")),
        next_url=filters.url(after=cursor_text(end)) if end else None,
    )
    return html, 422 if problem else 200


def _filters() -> Filters:
    """Return the filters of the current request; refuse those that no link of the list has."""
    arguments = request.args
    q = arguments.get("q", "").strip()[:MAX_ID_CHARACTERS]
    status, metric = arguments.get("status") or None, arguments.get("metric") or None
    dataset = canonical(arguments.get("dataset", "")) or None
    for name, text in (("q", q), ("metric", metric or ""), ("dataset", dataset or "")):
        if "\0" in text:
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
    return Filters(status, q, dataset, where, sort, metric)


def _after() -> Cursor | None:
    after = request.args.get("after")
    try:
        cursor: Cursor | None = After().deserialize(after) if after is not None else None
    except ValidationError:
        refuse("after must come from the link to the next page.")
    return cursor


def _conditions(texts: tuple[str, ...]) -> tuple[tuple[Condition, ...], str]:
    """Return the comparisons of the filter, and why it cannot be read: an empty text if it can."""
    try:
        found = tuple(condition for text in texts for condition in parse_all(text))
    except ConditionError as error:
        return (), str(error)
    if len(found) > MAX_CONDITIONS:
        return (), f"must be at most {MAX_CONDITIONS} comparisons."
    return found, ""


def _position(selection: Selection, experiment: Experiment, summaries: Summaries) -> Cursor:
    """Return where an experiment stands in the order of the list."""
    if selection.metric is None:
        return selection.cursor(experiment)
    name, figure = selection.metric
    # Its summary may have been replaced since the page was read; it then comes first or last.
    found = summaries.get(name)
    return Cursor(float(getattr(found, figure)) if found else 0.0, experiment.id)


def _text(position: Cursor | None) -> str:
    """Return a position for the page's script: a number and the key, which order the list."""
    if position is None:
        return ""
    value = position.value
    number = round(1e6 * value.timestamp()) if isinstance(value, datetime) else value
    return f"{number!r} {position.id}"


def _headers(filters: Filters, metric: str, goals: Goals) -> Iterator[Header]:
    best = best_figure(metric, goals)
    sign = "-" if best == "max" else ""
    for label, style, first in (
        ("Learning rate", "rate", "learning_rate"),
        ("Epochs", "progress", "-epoch"),
        (f"Last {metric}", "last", f"{sign}metrics.{metric}.last"),
        (f"Best {metric}", "best", f"{sign}metrics.{metric}.{best}"),
        ("Submitted", "when", SORTS[0]),
    ):
        column = first.removeprefix("-")
        opposite = column if first.startswith("-") else f"-{column}"
        order = None
        if filters.sort in (first, opposite):
            order = "descending" if filters.sort.startswith("-") else "ascending"
        url = filters.url(sort=opposite if filters.sort == first else first)
        yield Header(label, style, url, order)


def _row(
    experiment: Experiment, metric: str, summaries: Summaries, position: str, budget: Budget
) -> Markup:
    """Return the row of an experiment in the list; of one that cannot be shown, a row saying so.

    A row is rendered again only if the experiment, its curve or its place has changed: a page of 50
    takes 4 ms instead of 23 ms (docs/performance.md, "The dashboard").
    """
    try:
        goals = services.models.goals([experiment.model])
        stored = figures(metric, summaries, goals) if summaries else None
        version = services.curves.version(experiment.experiment_id)
        key = services.curves, experiment, version, metric, stored, position
        row = _rows.get(key)
        if row is None:
            summary, curve = summary_of(experiment, budget)
            last = {"loss": summary.loss, "val_loss": summary.val_loss}.get(metric)
            row = _rendered(
                "row", summary, position, stored or Figures(last), _possible(experiment)
            )
            if curve.complete:
                with _rows_lock:
                    _rows[key] = row
                    while len(_rows) > CACHED_ROWS:
                        del _rows[next(iter(_rows))]
    except Exception:
        # What a trainer has written must not hide the experiments of others.
        log.exception("%r cannot be shown in the list", experiment.experiment_id)
        return _rendered("unshowable_row", experiment, position, _possible(experiment))
    return row


def _possible(experiment: Experiment) -> str:
    """Return what can be done with an experiment, separated by spaces."""
    is_live = experiment.status in LIVE
    possible = {
        "cancel": is_live and not experiment.cancel_requested_at,
        "retry": experiment.is_retriable,
        "delete": not is_live,
    }
    return " ".join(name for name, is_possible in possible.items() if is_possible)


def _rendered(macro: str, *shown: Any) -> Markup:
    row: Markup = get_template_attribute("macros.html", macro)(*shown)
    return row
