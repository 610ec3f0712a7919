"""Sweeps: start, list, show, pause, resume, cancel, change, delete."""

from typing import Any
from urllib.parse import quote

import orjson
from apiflask import APIBlueprint
from flask import Response, jsonify, request

from backend.domain.sweeps.sweep import Sweep
from backend.experiments.submission import Outcome
from backend.sweeps.plan import Plan
from backend.sweeps.progress import by_value
from backend.web.access import actor
from backend.web.current import sweeps
from backend.web.proxies import address
from backend.web.schemas.submissions import DeleteIn
from backend.web.schemas.sweeps.requests import (
    SweepChangeIn,
    SweepIn,
    SweepListIn,
    TrialCurvesIn,
    TrialsIn,
)
from backend.web.schemas.sweeps.responses import (
    AnalysisOut,
    StartedSweepOut,
    SweepDetailOut,
    SweepOut,
    TrialCurvesOut,
    TrialOut,
    analysis_out,
    sweep_detail_out,
    sweep_out,
    trial_curves_out,
    trial_out,
)

blueprint = APIBlueprint("sweeps", __name__, tag="Sweeps")

_MESSAGES = {
    Outcome.CREATED: (201, "Sweep Started"),
    Outcome.ACCEPTED: (202, "Sweep Accepted: it starts as soon as its folder can be written"),
    Outcome.EXISTING: (200, "Sweep Already Started"),
}


@blueprint.post("/sweeps")
@blueprint.input(SweepIn, location="json_or_form", arg_name="fields")
@blueprint.output(StartedSweepOut, status_code=201, description="The sweep was started")
@blueprint.doc(
    summary="Start a sweep",
    responses={
        200: "The same sweep exists; nothing was started",
        202: "The sweep is recorded, and starts as soon as its folder can be written",
        400: "The body is not JSON",
        409: "The sweep_id, or the id of a trial, belongs to something else",
        413: "The body is too large",
        415: "The content type is not supported",
        503: "The database is unavailable; send the same again, nothing is started twice",
        507: "The output folder is full; nothing was started",
    },
)
def start_sweep(fields: dict[str, Any]) -> Response:
    """Start a sweep: many experiments from one search space, of which hopeless ones are stopped.

    The other fields are the parameters of the model: a range (`0.0001..0.1 log`, `16..64 step 16`,
    in JSON `{"low": 16, "high": 64, "step": 16}`), several values, or one. A parameter that has
    the name of a field of the sweep is sent as `parameter.NAME`. Sending the same fields again
    returns the sweep and starts nothing.
    """
    outcome, sweep = sweeps.start(fields["sweep_id"], fields["plan"], fields["entry"], by=actor())
    status, message = _MESSAGES[outcome]
    path = quote(sweep.sweep_id, safe="")
    ui_url = f"{request.url_root}ui/sweeps/{path}"
    standing = sweeps.standings([sweep])[sweep.sweep_id]
    response = jsonify({"message": message} | sweep_out(sweep, standing) | {"ui_url": ui_url})
    response.status_code = status
    response.headers["Location"] = address(f"/sweeps/{path}")
    return response


@blueprint.get("/sweeps")
@blueprint.input(SweepListIn, location="query")
@blueprint.output(SweepOut(many=True), description="A page of sweeps")
@blueprint.doc(summary="List sweeps", responses=[422, 503])
def list_sweeps(query_data: dict[str, Any]) -> Response:
    """List sweeps, newest first. A `Link` header leads to the next page, if any."""
    limit = query_data["limit"]
    page = sweeps.page(limit=limit + 1, before=query_data.get("before"))
    shown = page[:limit]
    standings = sweeps.standings(shown)
    response = _json([sweep_out(sweep, standings[sweep.sweep_id]) for sweep in shown])
    if len(page) > limit:
        link = address(f"/sweeps?limit={limit}&before={shown[-1].id}")
        response.headers["Link"] = f'<{link}>; rel="next"'
    return response


@blueprint.get("/sweeps/<sweep_id>")
@blueprint.output(SweepDetailOut)
@blueprint.doc(summary="Show a sweep", responses=[404, 503])
def show_sweep(sweep_id: str) -> Response:
    """Show a sweep with its best trial, the epochs that it took, and an estimate of its end."""
    sweep = sweeps.get(sweep_id)
    return _json(sweep_detail_out(sweep, sweeps.trials(sweep)))


@blueprint.get("/sweeps/<sweep_id>/trials")
@blueprint.input(TrialsIn, location="query")
@blueprint.output(TrialOut(many=True), description="The trials")
@blueprint.doc(summary="List the trials of a sweep", responses=[404, 422, 503])
def list_trials(sweep_id: str, query_data: dict[str, Any]) -> Response:
    """List the trials of a sweep with their parameters and best values."""
    sweep = sweeps.get(sweep_id)
    trials, sort = sweeps.trials(sweep), query_data["sort"]
    if "pruned" in query_data:
        trials = [trial for trial in trials if trial.is_pruned is query_data["pruned"]]
    if sort.endswith("value"):
        trials = by_value(trials, Plan.from_text(sweep.definition).goal)
    if sort.startswith("-"):
        trials.reverse()
    return _json([trial_out(trial) for trial in trials[: query_data["limit"]]])


@blueprint.get("/sweeps/<sweep_id>/curves")
@blueprint.input(TrialCurvesIn, location="query")
@blueprint.output(TrialCurvesOut, description="The curves so far")
@blueprint.doc(summary="Read the curves of a sweep", responses=[404, 422, 503])
def read_curves(sweep_id: str, query_data: dict[str, Any]) -> Response:
    """Read the objective of the trials by epoch, a few points of each.

    `GET /experiments/{experiment_id}/metrics` has every metric and epoch of one.
    """
    sweep = sweeps.get(sweep_id)
    plan = Plan.from_text(sweep.definition)
    return _json(trial_curves_out(plan, list(sweeps.curves(sweep, **query_data))))


@blueprint.get("/sweeps/<sweep_id>/analysis")
@blueprint.output(AnalysisOut)
@blueprint.doc(summary="Analyse a sweep", responses=[404, 503])
def analyse_sweep(sweep_id: str) -> Response:
    """Show the best value so far after each trial, and the importance of each parameter."""
    sweep = sweeps.get(sweep_id)
    return _json(analysis_out(sweep, sweeps.trials(sweep)))


@blueprint.post("/sweeps/<sweep_id>/pause")
@blueprint.output(SweepOut, description="The sweep is paused")
@blueprint.doc(summary="Pause a sweep", responses=[404, 409, 503])
def pause_sweep(sweep_id: str) -> Response:
    """Submit no more trials; those that are live go on."""
    return _changed(sweeps.pause(sweep_id, by=actor()))


@blueprint.post("/sweeps/<sweep_id>/resume")
@blueprint.output(SweepOut, description="The sweep is running")
@blueprint.doc(summary="Resume a sweep", responses=[404, 409, 503])
def resume_sweep(sweep_id: str) -> Response:
    """Submit trials again, of a paused sweep or of one that too many failures have ended."""
    return _changed(sweeps.resume(sweep_id, by=actor()))


@blueprint.post("/sweeps/<sweep_id>/cancel")
@blueprint.output(SweepOut, status_code=202, description="Its live trials are being cancelled")
@blueprint.doc(summary="Cancel a sweep", responses=[404, 409, 503])
def cancel_sweep(sweep_id: str) -> Response:
    """End a sweep, and cancel its live trials."""
    return _changed(sweeps.cancel(sweep_id, by=actor()), 202)


@blueprint.patch("/sweeps/<sweep_id>")
@blueprint.input(SweepChangeIn, location="json_or_form", arg_name="fields")
@blueprint.output(SweepOut, description="The sweep was changed")
@blueprint.doc(summary="Change a sweep", responses=[400, 404, 409, 413, 415, 422, 503])
def change_sweep(sweep_id: str, fields: dict[str, Any]) -> Response:
    """Change how many trials a sweep has. One that has ended runs again if it gets more."""
    return _changed(
        sweeps.extend(sweep_id, trials=fields["trials"], parallel=fields["parallel"], by=actor())
    )


@blueprint.delete("/sweeps/<sweep_id>")
@blueprint.input(DeleteIn, location="query")
@blueprint.output(SweepOut, status_code=202, description="The sweep is being deleted")
@blueprint.doc(summary="Delete a sweep that has ended", responses=[404, 409, 422, 503])
def delete_sweep(sweep_id: str, query_data: dict[str, Any]) -> Response:
    """Delete a sweep and its trials. Their output folders stay unless `outputs=true`."""
    return _changed(sweeps.delete(sweep_id, outputs=query_data["outputs"], by=actor()), 202)


def _changed(sweep: Sweep, status: int = 200) -> Response:
    response = _json(sweep_out(sweep, sweeps.standings([sweep])[sweep.sweep_id]))
    response.status_code = status
    return response


def _json(content: Any) -> Response:
    """Return a response; a list of a thousand trials is written in a third of the usual time."""
    body = orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
    return Response(body, content_type="application/json")
