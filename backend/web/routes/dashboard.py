"""The dashboard: pages for people at `/ui`, made on the server.

They only show. Whatever is changed, their script changes through the API.
"""

import hashlib
from functools import cache, lru_cache
from pathlib import Path
from typing import NoReturn

from apiflask import APIBlueprint, APIFlask
from flask import Response, abort, get_template_attribute, render_template, request, url_for
from markupsafe import Markup
from marshmallow import ValidationError

from backend.domain.exceptions import UnknownExperiment
from backend.domain.experiment import Experiment
from backend.domain.selection import Selection
from backend.domain.status import LIVE, Status
from backend.files.curves import Curves
from backend.web import presentation
from backend.web.current import services
from backend.web.presentation import Row
from backend.web.schemas.fields import MAX_EPOCH, MAX_LEARNING_RATE, After, cursor_text

PAGE_ROWS = 50
SPARK_POINTS = 40
MAX_COMPARED = 8  # curves that can still be told apart
MAX_SUGGESTIONS = 100
MAX_FILES = 200  # listed on the page of a run
FIRST_PARAMETERS = {"learning_rate": 0.001, "epoch": 20, "dataset": None}
PARAMETERS = ("learning_rate", "epoch", "dataset")
OURS = ("/ui", "/static/")
STATIC_FOLDER = Path(__file__).parents[1] / "static"
HEADERS = {
    # uPlot sets styles through the CSSOM, which style-src does not forbid.
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

blueprint = APIBlueprint("dashboard", __name__, url_prefix="/ui", enable_openapi=False)


def register_dashboard(app: APIFlask) -> None:
    """Let the app serve the pages and their static files."""
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    app.add_template_global(static_url)
    app.add_template_global(Status)
    for show in (presentation.number, presentation.size, presentation.run_time):
        app.add_template_filter(show)
    app.after_request(_add_headers)
    app.register_blueprint(blueprint)


@cache
def static_hash(name: str) -> str:
    """Name the content of a static file, so that its address changes when it does."""
    return hashlib.sha256((STATIC_FOLDER / name).read_bytes()).hexdigest()[:12]


def static_url(name: str) -> str:
    """Give the address of a static file; what it answers may be kept for ever."""
    return url_for("static", filename=name, v=static_hash(name))


@blueprint.get("")
def list_runs() -> str:
    """Show the runs, newest first, a page at a time."""
    status, text = request.args.get("status") or None, request.args.get("q", "").strip()[:200]
    if status is not None and status not in list(Status):
        _refuse(f"status must be one of {', '.join(Status)}.")
    after = request.args.get("after")
    try:
        cursor = After().deserialize(after) if after is not None else None
    except ValidationError:
        _refuse("after must come from the link to the next page.")
    selection = Selection(statuses=(status,) if status else (), text=text or None)
    page = services.experiments.page(limit=PAGE_ROWS + 1, after=cursor, selection=selection)
    shown = page[:PAGE_ROWS]
    following = cursor_text(selection.cursor(shown[-1])) if len(page) > PAGE_ROWS else None
    return render_template(
        "list.html",
        lines=[_line(one) for one in shown],
        last=shown[-1] if shown else None,
        status=status,
        text=text,
        after=after,
        next_url=_list_url(status, text, following) if following else None,
        list_url=_list_url,
    )


@blueprint.get("/new")
def new_run() -> str:
    """Show the form for a new run, filled in from the run `from`, or else from the last one."""
    experiments, template = services.experiments, request.args.get("from")
    last = [experiments.get(template)] if template else experiments.page(limit=1)
    values = {name: getattr(last[0], name) for name in PARAMETERS} if last else FIRST_PARAMETERS
    return render_template(
        "new.html",
        values=values,
        experiment_id=_free_id(last[0].experiment_id) if last else "run-1",
        template=template,
        datasets=services.inputs.list_names(),
        max_epoch=MAX_EPOCH,
        max_learning_rate=MAX_LEARNING_RATE,
    )


@blueprint.get("/experiments/<experiment_id>")
def show_run(experiment_id: str) -> str:
    """Show one run: curves, parameters, history, diagnosis, log, files, and what can be done."""
    experiments = services.experiments
    experiment = experiments.get(experiment_id)
    submit_url = url_for("experiments.submit_experiment", _external=True)
    return render_template(
        "run.html",
        run=_row(experiment),
        experiment=experiment,
        metrics=services.outputs.read_last_metrics(experiment_id) or {},
        history=experiments.history(experiment),
        files=services.outputs.list_files(experiment_id)[0][:MAX_FILES],
        max_files=MAX_FILES,
        curl=presentation.curl(experiment, submit_url),
        live=experiment.status in LIVE,
        retriable=experiment.status in (Status.FAILED, Status.CANCELLED),
    )


@blueprint.get("/compare")
def compare_runs() -> str:
    """Show several runs side by side: what differs in what was chosen and what came of it."""
    ids = list(dict.fromkeys(request.args.getlist("id")))
    if not 2 <= len(ids) <= MAX_COMPARED:
        _refuse(f"Tick 2 to {MAX_COMPARED} runs in the list to compare them.")
    experiments = services.experiments
    chosen = [experiments.get(one) for one in ids]
    metrics = [services.outputs.read_last_metrics(one.experiment_id) or {} for one in chosen]
    names = dict.fromkeys(name for one in metrics for name in one)
    parameters = {
        "learning rate": [one.learning_rate for one in chosen],
        "epochs": [one.epoch for one in chosen],
        "data set": [one.dataset or "every file" for one in chosen],
    }
    results = {name: [one.get(name) for one in metrics] for name in names}
    return render_template(
        "compare.html",
        experiments=chosen,
        parameters=parameters,
        results=results,
        differing=presentation.differing,
        best={name: presentation.best(results[name]) for name in names if "loss" in name},
    )


def _add_headers(response: Response) -> Response:
    if not request.path.startswith(OURS):  # asked of every answer
        return response
    if request.blueprint == blueprint.name or request.path.startswith(f"{blueprint.url_prefix}/"):
        response.headers["Cache-Control"] = "no-store"
    elif request.endpoint == "static":
        if response.status_code == 200 and "v" in request.args:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    else:
        return response
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _refuse(detail: str) -> NoReturn:
    abort(422, detail)


def _list_url(status: str | None, text: str, after: str | None = None) -> str:
    return url_for("dashboard.list_runs", status=status, q=text or None, after=after)


def _row(experiment: Experiment) -> Row:
    curve = services.curves.read(experiment.experiment_id, max_points=SPARK_POINTS)
    return presentation.row(experiment, curve)


def _line(experiment: Experiment) -> Markup:
    version = services.curves.version(experiment.experiment_id)
    return _line_as_of(services.curves, experiment, version)


@lru_cache(maxsize=2000)
def _line_as_of(_curves: Curves, experiment: Experiment, _version: str) -> Markup:
    """Write a line of the list anew only when the experiment or its curve is another one."""
    line: Markup = get_template_attribute("macros.html", "row")(_row(experiment))
    return line


def _free_id(experiment_id: str) -> str:
    """Suggest an id that no run has yet, the next in the series of `experiment_id`."""
    for _ in range(MAX_SUGGESTIONS):
        experiment_id = presentation.following_id(experiment_id)
        try:
            services.experiments.get(experiment_id)
        except UnknownExperiment:
            return experiment_id
    return experiment_id
