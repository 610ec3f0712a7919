"""The list of the dashboard: one table, whose filters and order are in its address."""

import logging
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from flask import get_template_attribute, render_template, request, url_for
from markupsafe import Markup

from backend.domain.conditions import metric_of
from backend.domain.execution.usage import PEAKS
from backend.domain.experiment import Experiment
from backend.domain.objective import Goals, objective_of
from backend.domain.selection import SORTS, Cursor, Selection
from backend.domain.status import LIVE
from backend.files.curves import Budget, Curves
from backend.web.current import services
from backend.web.languages.current import gettext, language
from backend.web.routes.pages.dashboard import blueprint, summary_of
from backend.web.schemas.columns import CSV
from backend.web.schemas.fields import cursor_text
from backend.web.views.filters import (
    DEFAULT_COLUMNS,
    OTHER_COLUMNS,
    Filters,
    read_after,
    read_conditions,
    read_filters,
    refuse,
)
from backend.web.views.presentation import Figures, best_figure, figures
from backend.web.views.values import Summaries, column_label, value_of, value_text

PAGE_ROWS = 50
CACHED_ROWS = 2000
MAX_METRICS = 50  # to choose from
DEFAULT_METRIC = "loss"  # shown while no experiment of the page has metrics

__all__ = ["blueprint"]  # of the dashboard, with the list

_STYLES = {  # classes of the columns that have a style of their own
    "learning_rate": "rate",
    "dataset": "data",
    "progress": "progress",
    "last": "last",
    "best": "best",
    "curve": "curve",
    "created_at": "when",
    "tags": "labels",
    "by": "text",
    "model": "text",
    "size": "text",
}
_UNSORTED = ("dataset", "curve", "tags", "by", "model", "size", "sweep", "duration")
# What a row is made from: see _row.
RowKey = tuple[Curves, Experiment, str, str, Figures | None, str, tuple["Cell", ...], str]

log = logging.getLogger(__name__)
_rows: dict[RowKey, Markup] = {}  # oldest first
_rows_lock = threading.Lock()


class Header(NamedTuple):
    """The header of a column.

    Attributes:
        style: the class of the column.
        url: leads to the list in its order; in the opposite one if it is in that order already.
            None if the list cannot be sorted by it.
        order: `ascending` or `descending` if the list is sorted by it.
    """

    label: str
    style: str
    url: str | None = None
    order: str | None = None


class Cell(NamedTuple):
    """One cell of a row.

    Attributes:
        text: of a column that has no macro of its own.
    """

    column: str
    style: str
    text: str = ""


@blueprint.get("")
def list_experiments() -> tuple[str, int]:
    """Show the experiments, by default newest first, PAGE_ROWS on a page."""
    filters, after = read_filters(), read_after()
    if after and (filters.sort in SORTS) is isinstance(after.value, float):
        refuse("after must come from the link to the next page.")
    conditions, problem = read_conditions(filters.where)
    selection = filters.selection(conditions)
    page: list[Experiment] = []
    until = None
    if not problem:
        until = services.experiments.search_end(after, selection)
        page = services.experiments.page(
            limit=PAGE_ROWS + 1, after=after, selection=selection, until=until
        )
    shown = page[:PAGE_ROWS]
    summaries = services.overview.summaries(shown) if shown else {}
    goals = services.models.goals(each.model for each in shown)
    names = list(dict.fromkeys(name for one in summaries.values() for name in one))[:MAX_METRICS]
    metric = filters.metric or (selection.metric or [None])[0] or objective_of(names, goals)
    metric = metric or next(iter(names), DEFAULT_METRIC)
    budget = Budget()
    keys = {each.id: _position(selection, each, summaries.get(each.id, {})) for each in shown}
    end = keys[shown[-1].id] if len(page) > PAGE_ROWS else until
    html = render_template(
        "list.html",
        rows=[
            _row(
                each,
                metric,
                summaries.get(each.id, {}),
                _text(keys[each.id]),
                filters.shown_columns,
                budget,
            )
            for each in shown
        ],
        filters=filters,
        selection=selection,
        after=request.args.get("after"),
        problem=problem,
        metric=metric,
        metrics=names if metric in names else [metric, *names],
        headers=list(_headers(filters, metric, goals)),
        choices=_choices(filters, shown, names),
        counts=services.overview.counts() if filters.is_whole else None,
        end=_text(end),
        is_searching=until is not None and end == until,
        table_url=_list_url(filters, format=CSV),
        matching_url=_list_url(filters, limit=1000, fields="experiment_id,status"),
        next_url=filters.url(after=cursor_text(end)) if end else None,
    )
    return html, 422 if problem else 200


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


def _list_url(filters: Filters, **options: Any) -> str:
    """Return the address of the same list in the API."""
    query = filters.query("metric", "columns")
    return url_for("experiments.list_experiments", **query, **options)


def _headers(filters: Filters, metric: str, goals: Goals) -> Iterator[Header]:
    """Yield the headers of the columns after the name and the status."""
    best = best_figure(metric, goals)
    sign = "-" if best == "max" else ""
    named = {
        "progress": (gettext("Epochs"), "-epoch"),
        "last": (gettext("Last {metric}").format(metric=metric), f"{sign}metrics.{metric}.last"),
        "best": (gettext("Best {metric}").format(metric=metric), f"{sign}metrics.{metric}.{best}"),
        "curve": (gettext("Curve"), ""),
        "created_at": (gettext("Submitted"), SORTS[0]),
    } | {name: (column_label(name), f"-{name}") for name in PEAKS}
    for name in filters.shown_columns:
        label, first = named.get(name) or (column_label(name), name)
        style = _STYLES.get(name, "figure")
        if name in _UNSORTED:
            yield Header(label, style)
            continue
        figure = metric_of(name)
        if figure and best_figure(figure[0], goals) == "max":
            first = f"-{name}"
        column = first.removeprefix("-")
        opposite = column if first.startswith("-") else f"-{column}"
        order = None
        if filters.sort.removeprefix("-") in _orders(column):
            order = "descending" if filters.sort.startswith("-") else "ascending"
        url = filters.url(sort=opposite if filters.sort in _orders(first) else first)
        yield Header(label, style, url, order)


def _orders(name: str) -> tuple[str, ...]:
    """Return the names of an order: that of a parameter can be written in two ways."""
    full = f"parameters.{name.removeprefix('-')}"
    if name.startswith("-"):
        return (name, f"-{full}")
    return (name, full)


def _choices(
    filters: Filters, shown: Sequence[Experiment], metrics: Sequence[str]
) -> list[tuple[str, str, bool]]:
    """Return the columns to choose from: name, label, and whether it is shown."""
    parameters = dict.fromkeys(name for each in shown for name in each.parameters.readable_values)
    names = [*DEFAULT_COLUMNS, *OTHER_COLUMNS, *parameters]
    names += [f"metrics.{name}.{figure}" for name in metrics for figure in ("last", "min", "max")]
    labels = {
        "last": gettext("Last of the metric"),
        "best": gettext("Best of the metric"),
        "progress": gettext("Progress"),
    }
    return [
        (name, labels.get(name) or column_label(name), name in filters.shown_columns)
        for name in dict.fromkeys([*names, *filters.columns])
    ]


def _row(
    experiment: Experiment,
    metric: str,
    summaries: Summaries,
    position: str,
    columns: Sequence[str],
    budget: Budget,
) -> Markup:
    """Return the row of an experiment in the list; of one that cannot be shown, a row saying so.

    A row is rendered again only if the experiment, its curve or its place has changed: a page of 50
    takes 4 ms instead of 23 ms (docs/performance.md, "The dashboard").
    """
    try:
        goals = services.models.goals([experiment.model])
        stored = figures(metric, summaries, goals) if summaries else None
        version = services.curves.version(experiment.experiment_id)
        cells = tuple(_cell(experiment, summaries, name) for name in columns)
        place = (stored, position, cells, language())
        key = services.curves, experiment, version, metric, *place
        row = _rows.get(key)
        if row is None:
            summary, curve = summary_of(experiment, budget)
            last = {"loss": summary.loss, "val_loss": summary.val_loss}.get(metric)
            row = _rendered(
                "row", summary, position, stored or Figures(last), _possible(experiment), cells
            )
            if curve.complete:
                with _rows_lock:
                    _rows[key] = row
                    while len(_rows) > CACHED_ROWS:
                        del _rows[next(iter(_rows))]
    except Exception:
        # What a trainer has written must not hide the experiments of others.
        log.exception("%r cannot be shown in the list", experiment.experiment_id)
        return _rendered(
            "unshowable_row", experiment, position, _possible(experiment), len(columns)
        )
    return row


def _cell(experiment: Experiment, summaries: Summaries, name: str) -> Cell:
    if name in DEFAULT_COLUMNS:
        return Cell(name, _STYLES[name])
    text = value_text(name, value_of(experiment, summaries, name))
    return Cell(name, _STYLES.get(name, "figure"), text)


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
    row: Markup = get_template_attribute("parts/macros.html", macro)(*shown)
    return row
