"""Results: the curve of a run."""

from typing import Any

import orjson
from apiflask import APIBlueprint
from flask import Response, current_app, request
from marshmallow import RAISE

from backend.experiments import Experiments
from backend.result_schemas import CurveIn, CurveOut
from backend.results import Results

blueprint = APIBlueprint("results", __name__, tag="Results")


@blueprint.get("/experiments/<experiment_id>/metrics")
@blueprint.input(CurveIn, location="query", unknown=RAISE)
@blueprint.output(CurveOut, description="The curve so far")
@blueprint.doc(
    summary="Read a run's curve",
    responses={
        304: "It is as it was (If-None-Match)",
        404: "There is no such experiment",
        503: "The database is away",
    },
)
def read_curve(experiment_id: str, query_data: dict[str, Any]) -> Response:
    """Read what a run's trainer has written to `metrics.jsonl`, line by line, as columns.

    A line that is not finished comes with the next call. With an `ETag`, a poll that finds nothing
    new costs next to nothing.
    """
    experiments: Experiments = current_app.extensions["experiments"]
    results: Results = current_app.extensions["results"]
    experiment = experiments.get(experiment_id)
    response = Response(content_type="application/json")
    version = results.version(experiment_id)
    response.set_etag(f"{version}-{experiment.attempt}-{experiment.status}")
    if response.make_conditional(request).status_code == 304:
        return response
    curve = results.curve(experiment_id, **query_data)
    response.data = orjson.dumps(
        {
            "experiment_id": experiment_id,
            "attempt": experiment.attempt,
            "status": experiment.status,
            "points": curve.points,
            "epoch": curve.epochs,
            "metrics": curve.series,
        }
    )
    return response
