"""Experiments: list, submit, show, cancel, retry, delete.

`/model` and `/test` are the original names of the list and of the submission.
"""

from typing import Any
from urllib.parse import quote, urlencode

import orjson
from apiflask import APIBlueprint
from flask import Response, abort, jsonify, request

from backend import __version__
from backend.domain.annotations.changes import AnnotationChange
from backend.domain.annotations.rules import tag_problem
from backend.domain.conditions import Condition
from backend.domain.execution.priority import stored_priority
from backend.domain.experiment import Experiment, Parameters
from backend.domain.identifiers import canonical
from backend.domain.numbers import is_number
from backend.domain.objective import warnings
from backend.domain.selection import Selection
from backend.domain.status import LIVE, Status
from backend.domain.sweeps.sweep import PRUNED
from backend.experiments.submission import Outcome
from backend.web.access import actor
from backend.web.current import services
from backend.web.exports import export, format_of
from backend.web.languages.catalogue import ENGLISH
from backend.web.languages.current import language
from backend.web.proxies import address
from backend.web.schemas.columns import JSON, choose
from backend.web.schemas.experiments import (
    ExperimentDetailOut,
    ExperimentOut,
    ListedExperimentOut,
    SubmissionOut,
    experiment_out,
    inputs_out,
    listed_out,
    transition_out,
    warnings_out,
)
from backend.web.schemas.fields import cursor_text
from backend.web.schemas.lists import ListIn
from backend.web.schemas.submissions import AnnotationsIn, DeleteIn, ExperimentIn

COARSE_POINTS = 40  # of a curve: the extremes, which show whether it has improved, are among them

blueprint = APIBlueprint("experiments", __name__, tag="Experiments")

_MESSAGES = {
    Outcome.CREATED: (201, "Job Created"),
    Outcome.ACCEPTED: (202, "Job Accepted: it is created as soon as that is possible"),
    Outcome.EXISTING: (200, "Job Already Created"),
}


@blueprint.get("/model")
@blueprint.get("/experiments")
@blueprint.input(ListIn, location="query")
@blueprint.output(ListedExperimentOut(many=True), description="A page of experiments")
@blueprint.doc(summary="List experiments", responses=[422, 503])
def list_experiments(query_data: dict[str, Any]) -> Response:
    """List experiments, newest first by default. A `Link` header leads to the next page, if any.

    As CSV or NDJSON, all pages are sent in one answer, or `limit` experiments if that is given.
    An experiment that changes while a client pages by `updated_at` may appear twice or not at all.
    """
    selection = Selection(
        statuses=tuple(query_data["status"]),
        model=query_data.get("model"),
        dataset=canonical(query_data.get("dataset") or "") or None,
        text=query_data.get("q"),
        tags=tuple(query_data["tag"]),
        favourite=query_data.get("favourite"),
        created_after=query_data.get("created_after"),
        conditions=(*query_data["where"], *_pruned(query_data.get("pruned"))),
        sort=query_data["sort"],
    )
    response = _listed(query_data, selection)
    response.vary.add("Accept")
    return response


def _pruned(is_wanted: bool | None) -> list[Condition]:
    """Return the condition of a list with only pruned trials, or without them."""
    return [] if is_wanted is None else [Condition("reason", "=" if is_wanted else "!=", PRUNED)]


def _listed(query_data: dict[str, Any], selection: Selection) -> Response:
    """Return the page of a selection, or all of its pages in another format than JSON."""
    columns: list[str] = query_data["fields_"]
    kind = format_of(request, query_data.get("format"))
    if kind != JSON:
        experiments = services.experiments  # the list is read after the request
        limit = query_data["limit"] if "limit" in request.args else None
        return export(
            lambda limit, after: experiments.listing(limit=limit, after=after, selection=selection),
            kind,
            after=query_data.get("after"),
            limit=limit,
            columns=columns,
        )
    page = {"limit": query_data["limit"], "after": query_data.get("after"), "selection": selection}
    if request.if_none_match:
        tag = _tag(services.experiments.listing_version(**page))
        if request.if_none_match.contains_weak(tag):
            unchanged = Response(status=304)
            unchanged.set_etag(tag)
            return unchanged
    listing = services.experiments.listing(**page)
    content = orjson.dumps(
        [
            choose(experiment, columns) if columns else listed_out(experiment)
            for experiment in listing.experiments
        ],
        option=orjson.OPT_APPEND_NEWLINE,
    )
    response = Response(content, content_type="application/json")
    if listing.following:
        after = cursor_text(listing.following)
        query = request.args.to_dict(flat=False) | {"after": [after]}
        following = f"{address(request.path)}?{urlencode(query, doseq=True)}"
        response.headers["Link"] = f'<{following}>; rel="next"'
    response.set_etag(_tag(listing.version))
    return response


@blueprint.post("/test")
@blueprint.post("/experiments")
@blueprint.input(ExperimentIn, location="json_or_form", arg_name="fields")
@blueprint.output(SubmissionOut, status_code=201, description="The Job was created")
@blueprint.doc(
    summary="Submit an experiment",
    responses={
        200: "The same experiment exists; nothing was started",
        202: "The experiment is recorded, and starts as soon as Kubernetes answers",
        400: "The body is not JSON",
        409: "The experiment_id belongs to another experiment or folder",
        413: "The body is too large",
        415: "The content type is not supported",
        502: "Kubernetes refused the Job for good; the experiment has failed",
        503: "The database is unavailable; send the same again, nothing is started twice",
        507: "The output folder is full; nothing was started",
    },
)
def submit_experiment(fields: dict[str, Any]) -> Response:
    """Submit an experiment. Sending the same fields again returns it and starts nothing."""
    values, choice = fields["values"], fields["choice"]
    learning_rate, epoch = values["learning_rate"], values["epoch"]
    dataset, size = fields["dataset"] or None, fields["size"] or None
    priority = stored_priority(fields["priority"])
    parameters = Parameters(
        choice.entry.name, learning_rate, epoch, dataset, size=size, priority=priority
    )
    outcome, experiment = services.experiments.submit(
        fields["experiment_id"], parameters.with_values(values), choice=choice, by=actor()
    )
    status, message = _MESSAGES[outcome]
    path = quote(experiment.experiment_id, safe="")
    ui_url = f"{request.url_root}ui/experiments/{path}"
    response = jsonify(
        {"message": message}
        | experiment_out(experiment)
        | {"inputs": inputs_out(experiment), "ui_url": ui_url}
    )
    response.status_code = status
    response.headers["Location"] = address(f"/experiments/{path}")
    return response


@blueprint.get("/experiments/<experiment_id>")
@blueprint.output(ExperimentDetailOut)
@blueprint.doc(summary="Show an experiment", responses=[404, 503])
def show_experiment(experiment_id: str) -> Response:
    """Show an experiment with its progress, last metrics, warnings, diagnosis and history."""
    experiments = services.experiments
    experiment = experiments.get(experiment_id)
    ended = experiment.status not in LIVE
    metrics = services.outputs.read_last_metrics(experiment_id, ended=ended)
    history = [transition_out(one) for one in experiments.history(experiment)]
    curve = services.curves.read(experiment_id, max_points=COARSE_POINTS, ended=ended)
    goals = services.models.goals([experiment.model])
    found = warnings(curve, metrics or {}, is_live=not ended, goals=goals)
    place = services.overview.place(experiment)
    progress = {"epoch": _epochs_done(experiment, metrics), "epochs": experiment.epoch}
    return jsonify(
        experiment_out(experiment)
        | {
            "inputs": inputs_out(experiment),
            "progress": progress,
            "queue": place and place._asdict(),
            "metrics": metrics,
            "warnings": warnings_out(found if curve.complete else []),
            "note": services.annotations.note(experiment),
            "history": history,
        }
    )


@blueprint.post("/experiments/<experiment_id>/cancel")
@blueprint.output(ExperimentOut, status_code=202, description="The experiment is being cancelled")
@blueprint.doc(
    summary="Cancel an experiment",
    responses={
        200: "The experiment was cancelled before",
        404: "There is no such experiment",
        409: "The experiment has succeeded or failed",
        503: "The database is unavailable",
    },
)
def cancel_experiment(experiment_id: str) -> Response:
    """Cancel an experiment. Its status becomes `cancelled`, or `succeeded` if it finished first."""
    experiment = services.experiments.cancel(experiment_id, by=actor())
    response = jsonify(experiment_out(experiment))
    response.status_code = 200 if experiment.status is Status.CANCELLED else 202
    return response


@blueprint.post("/experiments/<experiment_id>/retry")
@blueprint.output(ExperimentOut, status_code=202, description="The next attempt starts")
@blueprint.doc(summary="Retry an experiment", responses=[404, 409, 502, 503, 507])
def retry_experiment(experiment_id: str) -> Response:
    """Start the next attempt of a failed or cancelled experiment, from its last checkpoint."""
    response = jsonify(experiment_out(services.experiments.retry(experiment_id, by=actor())))
    response.status_code = 202
    return response


@blueprint.delete("/experiments/<experiment_id>")
@blueprint.input(DeleteIn, location="query")
@blueprint.output({}, status_code=204, description="The experiment was deleted")
@blueprint.doc(summary="Delete an experiment that has ended", responses=[404, 409, 503])
def delete_experiment(experiment_id: str, query_data: dict[str, Any]) -> tuple[str, int]:
    """Delete an experiment. Its output folder stays unless `outputs=true`."""
    services.experiments.delete(experiment_id, outputs=query_data["outputs"], by=actor())
    return "", 204


@blueprint.patch("/experiments/<experiment_id>")
@blueprint.input(AnnotationsIn, location="json_or_form", arg_name="fields")
@blueprint.output(ExperimentOut, description="The experiment, with its new annotations")
@blueprint.doc(
    summary="Change the tags, the note or the favourite of an experiment",
    responses=[400, 404, 409, 413, 415, 422, 503],
)
def annotate_experiment(experiment_id: str, fields: dict[str, Any]) -> Response:
    """Change what people add to an experiment, whatever its status. It stays in run.json, too."""
    tags = fields.get("tags")
    change = AnnotationChange(
        tags=None if tags is None else tuple(tags),
        note=fields.get("note"),
        favourite=fields.get("favourite"),
        revision=fields.get("revision"),
    )
    return _annotated(experiment_id, change)


@blueprint.put("/experiments/<experiment_id>/tags/<tag>")
@blueprint.output(ExperimentOut, description="The experiment, with that tag")
@blueprint.doc(summary="Add a tag to an experiment", responses=[404, 422, 503])
def add_tag(experiment_id: str, tag: str) -> Response:
    """Add a tag. It is no error if the experiment has it."""
    return _annotated(experiment_id, AnnotationChange(added=(_checked(tag),)))


@blueprint.delete("/experiments/<experiment_id>/tags/<tag>")
@blueprint.output(ExperimentOut, description="The experiment, without that tag")
@blueprint.doc(summary="Remove a tag from an experiment", responses=[404, 503])
def remove_tag(experiment_id: str, tag: str) -> Response:
    """Remove a tag. It is no error if the experiment does not have it."""
    return _annotated(experiment_id, AnnotationChange(removed=(canonical(tag),)))


def _annotated(experiment_id: str, change: AnnotationChange) -> Response:
    return jsonify(experiment_out(services.annotations.change(experiment_id, change)))


def _checked(tag: str) -> str:
    """Return a tag of an address in the form in which it is stored; answer 422 if it is none."""
    tag = canonical(tag)
    if problem := tag_problem(tag):
        abort(422, f"The tag {problem}.")
    return tag


def _tag(version: str) -> str:
    """Return the ETag of a page: another version of the program may write it differently.

    So do other languages.
    """
    code = language()
    return f"{__version__}-{version}" if code == ENGLISH else f"{__version__}-{version}-{code}"


def _epochs_done(experiment: Experiment, metrics: dict[str, Any] | None) -> int:
    """Return the number of completed epochs; 0 if the trainer has not written a valid one."""
    epoch = (metrics or {}).get("epoch")
    return min(int(epoch), experiment.epoch) if is_number(epoch, 0) else 0
