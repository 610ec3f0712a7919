"""The page that shows many experiments in one picture, or in groups."""

from collections.abc import Mapping, Sequence
from typing import Any

from flask import render_template, request, url_for

from backend.domain.conditions import metric_of
from backend.domain.experiment import Experiment
from backend.domain.objective import Goals, goal_of, objective_of
from backend.web.current import services
from backend.web.languages.current import gettext
from backend.web.routes.pages.experiments import blueprint
from backend.web.views import plots
from backend.web.views.filters import Filters, is_column, read_conditions, read_filters, refuse
from backend.web.views.plots import Row
from backend.web.views.presentation import best_figure
from backend.web.views.values import Summaries, column_label, value_of, value_text

__all__ = ["blueprint"]  # of the dashboard, with the list and this page

MAX_PLOTTED = 1000  # experiments
MAX_METRICS = 50  # to choose from
FACTS = (
    "model",
    "dataset",
    "size",
    "by",
    "sweep",
    "duration",
)  # to choose from, beside the parameters
DEFAULT_METRIC = "metrics.loss.min"


@blueprint.get("/plots")
def show_plots() -> str:
    """Show the experiments of a filter, or those that are named, in pictures and in groups."""
    filters = read_filters()
    experiments, is_cut = _experiments(filters)
    summaries = services.overview.summaries(experiments) if experiments else {}
    goals = services.models.goals(each.model for each in experiments)
    parameters = list(
        dict.fromkeys(name for each in experiments for name in each.parameters.readable_values)
    )
    metrics = _metrics(experiments, summaries, goals)
    default_y = _default_metric(metrics, filters, goals)
    y = _column("y", default_y)
    x = _column("x", parameters[0] if parameters else "learning_rate")
    group = _column("group", "")
    columns = list(dict.fromkeys([*parameters, *FACTS, x, y, *([group] if group else [])]))
    rows = [_row(each, summaries.get(each.id, {}), columns) for each in experiments]
    goal = goal_of(figure[0], goals) if (figure := metric_of(y)) else None
    return render_template(
        "plots.html",
        filters=filters,
        ids=request.args.getlist("id"),
        number=len(rows),
        is_cut=is_cut,
        x=x,
        y=y,
        group=group,
        metrics=metrics,
        columns=list(dict.fromkeys([*parameters, *FACTS])),
        label=column_label,
        scatter=plots.scatter(rows, x, y, goal),
        parallel=plots.parallel(rows, parameters, y, goal),
        groups=_groups(experiments, rows, group, y, goals) if group else [],
        plots=plots,
    )


def _experiments(filters: Filters) -> tuple[Sequence[Experiment], bool]:
    """Return the experiments to show, and whether there are more of them."""
    ids = list(dict.fromkeys(request.args.getlist("id")))
    if ids:
        if len(ids) > MAX_PLOTTED:
            refuse(f"At most {MAX_PLOTTED} experiments can be plotted.")
        stored = [services.experiments.stored_id(each) for each in ids]
        return services.experiments.get_all(stored), False
    conditions, problem = read_conditions(filters.where)
    if problem:
        refuse(f"The filter {problem}")
    selection = filters.selection(conditions)
    until = services.experiments.search_end(None, selection)
    page = services.experiments.page(limit=MAX_PLOTTED + 1, selection=selection, until=until)
    return page[:MAX_PLOTTED], len(page) > MAX_PLOTTED or until is not None


def _metrics(
    experiments: Sequence[Experiment], summaries: Mapping[int, Summaries], goals: Goals
) -> list[str]:
    """Return the columns of the metrics to choose from: the best and the last value of each."""
    names = dict.fromkeys(name for each in experiments for name in summaries.get(each.id, {}))
    found = []
    for name in list(names)[:MAX_METRICS]:
        found += [f"metrics.{name}.{best_figure(name, goals)}", f"metrics.{name}.last"]
    return found


def _default_metric(metrics: Sequence[str], filters: Filters, goals: Goals) -> str:
    """Return the metric that the list shows, or the objective."""
    names = [figure[0] for each in metrics if (figure := metric_of(each))]
    name = filters.metric if filters.metric in names else objective_of(names, goals)
    first = next(iter(metrics), DEFAULT_METRIC)
    return f"metrics.{name}.{best_figure(name, goals)}" if name else first


def _column(argument: str, default: str) -> str:
    """Return the column that an argument of the address names."""
    name = request.args.get(argument) or default
    if name and not is_column(name):
        refuse(f"{argument} has an unknown name, {name[:60]!r}.")
    return name


def _row(experiment: Experiment, summaries: Summaries, columns: Sequence[str]) -> Row:
    name = experiment.experiment_id
    values: dict[str, Any] = {column: value_of(experiment, summaries, column) for column in columns}
    return Row(name, url_for("dashboard.show_experiment", experiment_id=name), values)


def _groups(
    experiments: Sequence[Experiment], rows: Sequence[Row], by: str, metric: str, goals: Goals
) -> list[plots.Group]:
    if by == "tags":
        values = [each.tag_names or [gettext("no tag")] for each in experiments]
    else:
        values = [[value_text(by, row.values.get(by)) or gettext("none")] for row in rows]
    figure = metric_of(metric)
    return plots.groups(rows, values, metric, goal_of(figure[0], goals) if figure else None)
