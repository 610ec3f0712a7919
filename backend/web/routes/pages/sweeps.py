"""The pages of sweeps in the dashboard: the list, one sweep, and the form for a new one."""

from typing import Any

from flask import render_template, request

from backend.domain.catalogue import AUTOENCODER, Entry
from backend.domain.exceptions import UnknownModel
from backend.domain.sweeps.sweep import Sweep, SweepStatus, Trial
from backend.sweeps.plan import Plan
from backend.sweeps.progress import by_value
from backend.sweeps.samplers import Method
from backend.sweeps.spaces import PREFIX
from backend.sweeps.stopping import Rule
from backend.web.current import services, sweeps
from backend.web.languages.current import translated
from backend.web.routes.pages.dashboard import blueprint
from backend.web.schemas.sweeps.requests import SweepIn
from backend.web.schemas.sweeps.responses import analysis_out, sweep_detail_out, sweep_out
from backend.web.views import presentation
from backend.web.views.sweeps import best_chart, dimension_text

PAGE_ROWS = 100
MAX_TRIALS_SHOWN = 500

__all__ = ["blueprint"]  # of the dashboard, with these pages


@blueprint.get("/sweeps")
def list_sweeps() -> str:
    """Show the sweeps, newest first."""
    page = sweeps.page(limit=PAGE_ROWS)
    counts = sweeps.counts(page)
    return render_template(
        "sweeps.html", rows=[sweep_out(sweep, counts[sweep.sweep_id]) for sweep in page]
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
    return render_template(
        "sweep.html",
        sweep=sweep_detail_out(sweep, trials),
        space={name: translated(dimension_text(one)) for name, one in plan.space.items()},
        fixed=plan.fixed,
        varying=list(plan.space),
        trials=by_value(trials, plan.goal)[:MAX_TRIALS_SHOWN],
        more=max(len(trials) - MAX_TRIALS_SHOWN, 0),
        chart=best_chart(analysis["best_so_far"], sweep.trials),
        importance=analysis["importance"] or {},
        importance_trials=analysis["importance_trials"],
        can=_possible(sweep, trials),
    )


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


def _fields(entry: Entry, values: dict[str, Any]) -> list[tuple[str, presentation.FormField]]:
    """Return the fields of the parameters, each with the name under which it is sent."""
    taken = SweepIn().fields
    return [
        (PREFIX + field.name if field.name in taken else field.name, field)
        for field in presentation.form_fields(entry, values)
    ]


def _free_id() -> str:
    """Return an id for the next sweep: s1, s2, ..."""
    known = {sweep.sweep_id for sweep in sweeps.page(limit=PAGE_ROWS)}
    return next(name for number in range(1, 10_000) if (name := f"s{number}") not in known)
