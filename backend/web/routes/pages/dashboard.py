"""The dashboard: pages for people at `/ui`, rendered on the server.

The pages only show. To change anything, their script calls the API.
"""

import hashlib
import logging
import secrets
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from apiflask import APIBlueprint, APIFlask
from flask import Response, abort, render_template, request, url_for

from backend import __version__
from backend.domain.annotations.rules import MAX_NOTE_CHARACTERS, MAX_TAG_CHARACTERS
from backend.domain.catalogue import AUTOENCODER, CONTRACT
from backend.domain.data_sets.pins import choice_label, chosen_names
from backend.domain.exceptions import UnknownExperiment, UnknownModel
from backend.domain.execution.priority import Priority
from backend.domain.experiment import Experiment, Parameters
from backend.domain.identifiers import MAX_ID_CHARACTERS, experiment_id_problem
from backend.domain.status import LIVE, Status
from backend.files.curve_table import Curve
from backend.files.curves import Budget
from backend.web.access import access, is_read_only
from backend.web.current import services
from backend.web.languages.current import gettext, register_languages, translated
from backend.web.views import presentation
from backend.web.views.filters import refuse
from backend.web.views.markdown import note_html
from backend.web.views.names import next_id, renamed, shared_start
from backend.web.views.presentation import Summary
from backend.web.views.values import peak_texts

SPARK_POINTS = 40
MAX_CURVES = 20  # in one chart: 8 colours, and 3 kinds of line
MAX_SUGGESTIONS = 100  # ids that are tried for the form
MAX_FILES_SHOWN = 200  # on an experiment's page
PAGE_PATHS = ("/ui", "/static/")
STATIC_FOLDER = Path(__file__).parents[2] / "static"
PAGE_HEADERS = {
    # uPlot sets styles through the CSSOM, which style-src does not forbid.
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

log = logging.getLogger(__name__)

blueprint = APIBlueprint("dashboard", __name__, url_prefix="/ui", enable_openapi=False)


def register_dashboard(app: APIFlask) -> None:
    """Prepare the app for the pages."""
    app.jinja_options = {
        "trim_blocks": True,
        "lstrip_blocks": True,
        "extensions": ["jinja2.ext.i18n"],
    }
    register_languages(app)
    app.add_template_global(static_url)
    app.add_template_global(stylesheet)
    app.add_template_global(Status)
    app.add_template_global(Priority)
    app.jinja_env.globals.update(
        version=__version__,
        max_id_characters=MAX_ID_CHARACTERS,
        max_compared=MAX_CURVES,
        LIVE=LIVE,
    )
    app.jinja_env.globals["max_tag_characters"] = MAX_TAG_CHARACTERS
    app.add_template_filter(presentation.label_of)
    app.add_template_filter(presentation.word)
    app.add_template_filter(choice_label)
    for template_filter in (presentation.number, presentation.size, presentation.training_time):
        app.add_template_filter(template_filter)
    app.after_request(_add_headers)


@cache
def static_hash(name: str) -> str:
    """Return a hash of a static file, which is part of its address."""
    return hashlib.sha256((STATIC_FOLDER / name).read_bytes()).hexdigest()[:12]


def static_url(name: str) -> str:
    """Return the address of a static file, which browsers may cache for ever."""
    return url_for("static", filename=name, v=static_hash(name))


@cache
def stylesheet() -> str:
    """Return the style sheet, for a page whose reader may not load static files yet."""
    return (STATIC_FOLDER / "dashboard.css").read_text()


@blueprint.get("/new")
def new_experiment() -> str:
    """Show the form, filled in with the values of the experiment `from`, or of the newest one.

    `dataset` chooses a data set.
    """
    if is_read_only():
        abort(403, "This session may only read. Sign in with another token to start experiments.")
    experiments, template = services.experiments, request.args.get("from")
    if template:
        last = [experiments.get(experiments.stored_id(template))]
    else:
        last = experiments.page(limit=1)
    chosen = last[0].parameters if last else Parameters(AUTOENCODER, 0.001, 20, None)
    entries = services.models.catalogue().entries
    model = request.args.get("model", chosen.model)
    if model not in entries and "model" not in request.args:
        model = AUTOENCODER  # that of the last experiment is gone
    entry = entries.get(model)
    if entry is None:
        raise UnknownModel(model, list(entries))
    values = chosen.values if model == chosen.model else {}
    choice = request.args.get("dataset", chosen.dataset)
    return render_template(
        "new.html",
        entry=entry,
        models=list(entries),
        fields=presentation.form_fields(entry, values),
        dataset=choice,
        chosen=chosen_names(choice),
        size=chosen.size if model == chosen.model else None,
        priority=(template and chosen.priority) or Priority.NORMAL,
        experiment_id=_free_id(last[0].experiment_id, last[0].parameters) if last else "run-1",
        template=template,
        datasets=services.inputs.list_names(),
    )


@blueprint.get("/new/name")
def suggest_name() -> dict[str, str]:
    """Return a free id for the experiment `from` with the other values of a form, as JSON."""
    experiments = services.experiments
    template = experiments.get(experiments.stored_id(request.args.get("from", "")))
    values = template.parameters.values
    name = renamed(template.experiment_id, values, request.args.to_dict())
    is_new = name != template.experiment_id
    if is_new and experiment_id_problem(name) is None and _is_free(name):
        return {"experiment_id": name}
    return {"experiment_id": _free_id(name, template.parameters)}


@blueprint.get("/experiments/<experiment_id>")
def show_experiment(experiment_id: str) -> str:
    """Show one experiment: curve, parameters, history, diagnosis, log, files and actions."""
    experiments = services.experiments
    experiment = experiments.get(experiment_id)
    history = experiments.history(experiment)
    shown, curve = summary_of(experiment)
    submit_url = url_for("experiments.submit_experiment", _external=True)
    note = services.annotations.note(experiment)
    return render_template(
        "experiment.html",
        summary=shown,
        objective=presentation.objective(curve, services.models.goals([experiment.model])),
        waited=presentation.waiting_time(experiment, history),
        trained=presentation.training_time(experiment, history),
        place=services.overview.place(experiment),
        experiment=experiment,
        metrics=_last_metrics(experiment),
        peaks=peak_texts(experiment),
        history=history,
        note=note,
        max_note_characters=MAX_NOTE_CHARACTERS,
        note_html=note_html(note) if note else "",
        files=services.outputs.list_files(experiment_id)[0][:MAX_FILES_SHOWN],
        max_files=MAX_FILES_SHOWN,
        curl=presentation.curl(
            experiment.parameters,
            _free_id(experiment_id, experiment.parameters),
            submit_url,
            needs_token=access().has_tokens,
        ),
        live=experiment.status in LIVE,
        retriable=experiment.is_retriable,
    )


@blueprint.get("/compare")
def compare_experiments() -> str:
    """Show several experiments side by side, and where their parameters and results differ."""
    ids = list(dict.fromkeys(request.args.getlist("id")))
    if not 2 <= len(ids) <= MAX_CURVES:
        number = f"{len(ids)} were ticked" if len(ids) != 1 else "one was ticked"
        refuse(f"Tick 2 to {MAX_CURVES} experiments in the list to compare them; {number}.")
    experiments = services.experiments
    chosen = [experiments.get(experiments.stored_id(experiment_id)) for experiment_id in ids]
    metrics = [_last_metrics(experiment) for experiment in chosen]
    names = dict.fromkeys(name for last in metrics for name in last)
    shown = [summary_of(experiment) for experiment in chosen]
    goals = services.models.goals(one.model for one in chosen)
    parameters: dict[str, list[Any]] = {
        gettext("learning rate"): [one.learning_rate for one in chosen],
        gettext("epochs"): [one.epoch for one in chosen],
        gettext("data set"): [translated(choice_label(one.dataset, one.inputs)) for one in chosen],
    }
    values = [experiment.parameters.readable_values for experiment in chosen]
    others = dict.fromkeys(name for one in values for name in one if name not in CONTRACT)
    parameters |= {
        presentation.label_of(name).lower(): [one.get(name) for one in values] for name in others
    }
    if len({one.model for one in chosen}) > 1:
        parameters[gettext("model")] = [one.model for one in chosen]
    best = presentation.best_values([curve for _, curve in shown], goals)
    return render_template(
        "compare.html",
        experiments=chosen,
        shared=shared_start([one.experiment_id for one in chosen]),
        # Those that differ come first.
        parameters=dict(
            sorted(parameters.items(), key=lambda one: not presentation.differ(one[1]))
        ),
        best=best,
        winners={name: presentation.winner(name, values, goals) for name, values in best.items()},
        objectives=[
            presentation.objective(curve, services.models.goals([one.model]))
            for one, (_, curve) in zip(chosen, shown, strict=True)
        ],
        last={name: [last.get(name) for last in metrics] for name in names},
        warnings=[summary.warnings for summary, _ in shown],
        differ=presentation.differ,
    )


def _add_headers(response: Response) -> Response:
    if not request.path.startswith(PAGE_PATHS):
        return response
    if request.blueprint == blueprint.name or request.path.startswith(f"{blueprint.url_prefix}/"):
        response.headers.setdefault("Cache-Control", "no-store")
    elif request.endpoint == "static":
        if response.status_code == 200 and "v" in request.args:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    else:
        return response
    for name, value in PAGE_HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _coarse_curve(experiment: Experiment, budget: Budget | None = None) -> Curve:
    """Return a few dozen points of a curve, among them the extremes of every metric."""
    return services.curves.read(
        experiment.experiment_id,
        max_points=SPARK_POINTS,
        ended=experiment.status not in LIVE,
        budget=budget,
    )


def summary_of(experiment: Experiment, budget: Budget | None = None) -> tuple[Summary, Curve]:
    """Return the summary of an experiment, and the coarse curve that it was made from."""
    curve, recent = _coarse_curve(experiment, budget), None
    if experiment.status is Status.RUNNING and curve.complete and curve.epochs:
        since = curve.epochs[-1] - presentation.RECENT_EPOCHS
        recent = services.curves.read(experiment.experiment_id, since_epoch=since, budget=budget)
    last_row = _last_metrics(experiment) if curve.complete else None
    goals = services.models.goals([experiment.model])
    return presentation.summary(experiment, curve, recent, last_row, goals), curve


def _last_metrics(experiment: Experiment) -> dict[str, Any]:
    """Return the last metrics of an experiment; none if it has none, or they cannot be read."""
    ended = experiment.status not in LIVE
    try:
        return services.outputs.read_last_metrics(experiment.experiment_id, ended=ended) or {}
    except Exception:
        log.exception("The metrics of %r cannot be shown", experiment.experiment_id)
        return {}


def _free_id(experiment_id: str, parameters: Parameters) -> str:
    """Return an id that no experiment and no folder has, the next in the series of another."""
    for _ in range(MAX_SUGGESTIONS):
        experiment_id = next_id(experiment_id, parameters)
        if _is_free(experiment_id):
            return experiment_id
    return next_id(f"{experiment_id}-{secrets.token_hex(4)}", parameters)


def _is_free(experiment_id: str) -> bool:
    try:
        services.experiments.get(experiment_id)
    except UnknownExperiment:
        with suppress(OSError):
            return services.outputs.is_free(experiment_id)
        return True
    return False
