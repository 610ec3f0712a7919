"""The pages of sweeps in the dashboard: the list, one sweep, and the form for a new one."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from flask import render_template, request

from backend.domain.catalogue import AUTOENCODER, Entry
from backend.domain.data_sets.pins import choice_label
from backend.domain.exceptions import UnknownExperiment, UnknownModel
from backend.domain.sweeps.sweep import MAX_TRIALS, Sweep, SweepStatus, Trial
from backend.domain.timestamps import from_text
from backend.sweeps.plan import Plan
from backend.sweeps.progress import by_value
from backend.sweeps.samplers import Method
from backend.sweeps.spaces import PREFIX, Range
from backend.sweeps.stopping import Rule
from backend.web.current import services, sweeps
from backend.web.languages.current import translated
from backend.web.routes.pages.dashboard import blueprint
from backend.web.schemas.sweeps.requests import SweepIn
from backend.web.schemas.sweeps.responses import analysis_out, sweep_detail_out, sweep_out
from backend.web.views import plots, presentation
from backend.web.views.sweeps import (
    LOG_RATIO,
    best_chart,
    dimension_text,
    objective_column,
    range_around,
    trial_rows,
)
from backend.web.views.values import column_label

PAGE_ROWS = 100
MAX_DRAWN = 500  # trials in the pictures
TABLE_ROWS = 100  # trials in the table, unless the address says more

__all__ = ["blueprint"]  # of the dashboard, with these pages


@blueprint.get("/sweeps")
def list_sweeps() -> str:
    """Show the sweeps, newest first."""
    page = sweeps.page(limit=PAGE_ROWS)
    standings = sweeps.standings(page)
    return render_template(
        "sweeps.html", rows=[sweep_out(sweep, standings[sweep.sweep_id]) for sweep in page]
    )


@blueprint.get("/sweeps/new")
def new_sweep() -> str:
    """Show the form for a new sweep, filled in with the values of the experiment `from`, if any."""
    entries = services.models.catalogue().entries
    template, values = request.args.get("from"), dict[str, Any]()
    model = request.args.get("model", AUTOENCODER)
    if template:
        experiment = services.experiments.get(services.experiments.stored_id(template))
        model = request.args.get("model", experiment.model)
        values = experiment.parameters.values if model == experiment.model else {}
    entry = entries.get(model)
    if entry is None:
        raise UnknownModel(model, list(entries))
    return render_template(
        "new_sweep.html",
        entry=entry,
        models=list(entries),
        fields=_fields(entry, values),
        template=template,
        sweep_id=_free_id(),
        datasets=services.inputs.list_names(),
        methods=list(Method),
        rules=list(Rule),
    )


@blueprint.get("/sweeps/<sweep_id>")
def show_sweep(sweep_id: str) -> str:
    """Show one sweep: its best trial, the best value so far, and its trials, the best first."""
    sweep = sweeps.get(sweep_id)
    trials = sweeps.trials(sweep)
    plan = Plan.from_text(sweep.definition)
    analysis = analysis_out(sweep, trials)
    detail = sweep_detail_out(sweep, trials)
    x = request.args.get("x", "")
    x = x if x in plan.space else next(iter(plan.space))
    rows = min(request.args.get("rows", TABLE_ROWS, type=int), MAX_TRIALS)
    rows = max(rows, TABLE_ROWS)
    return render_template(
        "sweep.html",
        sweep=detail,
        live=not sweep.is_ended or any(trial.is_live for trial in trials),
        space={name: translated(dimension_text(one)) for name, one in plan.space.items()},
        fixed=plan.fixed,
        varying=list(plan.space),
        trials=by_value(trials, plan.goal)[:rows],
        more=max(len(trials) - rows, 0),
        rows=rows,
        importance=analysis["importance"] or {},
        importance_trials=analysis["importance_trials"],
        dataset=_dataset(plan, trials),
        time_left=_time_left(detail["ends_at"]),
        can=_possible(sweep, trials),
        x=x,
        **_pictures(sweep, plan, trials[-MAX_DRAWN:], x),
    )


def _pictures(sweep: Sweep, plan: Plan, trials: list[Trial], x: str) -> dict[str, Any]:
    """Return the pictures of a sweep, and what their templates need."""
    column = objective_column(plan.metric, plan.goal)
    rows = trial_rows(trials, column)
    by_magnitude = [name for name, one in plan.space.items() if isinstance(one, Range) and one.log]
    log_ratios = {column: LOG_RATIO} | dict.fromkeys(by_magnitude, 1.0)
    return {
        "chart": best_chart(trials, plan.goal, sweep.trials),
        "scatter": plots.scatter(rows, x, column, plan.goal, log_ratios=log_ratios),
        "parallel": plots.parallel(
            rows, list(plan.space), column, plan.goal, log_ratios=log_ratios
        ),
        "plots": plots,
        "label": column_label,
    }


def _dataset(plan: Plan, trials: list[Trial]) -> str:
    """Return the data set of a sweep as people read it, with the number of files.

    The files are those of the last trial; before the first one, those that there are now.
    """
    if plan.dataset or not trials:
        count = len(services.inputs.list_names())
        return choice_label(plan.dataset) if plan.dataset else f"every file ({count})"
    with suppress(UnknownExperiment):  # deleted meanwhile
        return choice_label(None, services.experiments.get(trials[-1].experiment_id).inputs)
    return choice_label(None)


def _time_left(ends_at: str | None) -> str | None:
    if ends_at is None:
        return None
    seconds = (from_text(ends_at) - datetime.now(UTC)).total_seconds()
    return presentation.duration(seconds) if seconds > 0 else None


def _possible(sweep: Sweep, trials: list[Trial]) -> set[str]:
    """Return what can be done with a sweep."""
    if sweep.delete_requested_at:
        return set()
    possible = {
        "pause": sweep.status is SweepStatus.RUNNING,
        "resume": sweep.status is SweepStatus.PAUSED
        or (sweep.status is SweepStatus.FAILED and sweep.issued < sweep.trials),
        "cancel": not sweep.is_ended,
        "extend": sweep.status is not SweepStatus.CANCELLED,
        "delete": sweep.is_ended
        and (sweep.status is SweepStatus.CANCELLED or not any(one.is_live for one in trials)),
    }
    return {name for name, is_possible in possible.items() if is_possible}


def _fields(
    entry: Entry, values: dict[str, Any]
) -> list[tuple[str, presentation.FormField, str, str]]:
    """Return the fields of the parameters.

    Each has the name under which it is sent, and the ends of the range that is suggested.
    """
    taken = SweepIn().fields
    found = []
    for parameter, field in zip(
        entry.parameters.values(), presentation.form_fields(entry, values), strict=True
    ):
        default = parameter.default if parameter.example is None else parameter.example
        low, high = range_around(parameter, values.get(parameter.name, default))
        name = PREFIX + field.name if field.name in taken else field.name
        found.append((name, field, low, high))
    return found


def _free_id() -> str:
    """Return an id for the next sweep: s1, s2, ..."""
    known = {sweep.sweep_id for sweep in sweeps.page(limit=PAGE_ROWS)}
    return next(name for number in range(1, 10_000) if (name := f"s{number}") not in known)
