"""Results: the curve of a run, curves side by side, and the files in a run's folder."""

from typing import Any

import orjson
from apiflask import APIBlueprint
from flask import Response, request
from marshmallow import RAISE

from backend.domain.exceptions import TooManyFiles, UnknownFile
from backend.files.comparison import compare
from backend.files.outputs import Outputs
from backend.web.current import services
from backend.web.routes.downloads import send, send_zip
from backend.web.schemas.experiments import experiment_out
from backend.web.schemas.results import (
    MAX_DIGEST_BYTES,
    CompareIn,
    ComparisonOut,
    CurveIn,
    CurveOut,
    FilesIn,
    FilesOut,
    file_out,
)

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
    experiment = services.experiments.get(experiment_id)
    response = Response(content_type="application/json")
    version = services.curves.version(experiment_id)
    response.set_etag(f"{version}-{experiment.attempt}-{experiment.status}")
    if response.make_conditional(request).status_code == 304:
        return response
    curve = services.curves.read(experiment_id, **query_data)
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


@blueprint.get("/experiments/<experiment_id>/files")
@blueprint.input(FilesIn, location="query", unknown=RAISE)
@blueprint.output(FilesOut, description="The files so far")
@blueprint.doc(summary="List a run's files", responses=[404, 503])
def list_files(experiment_id: str, query_data: dict[str, Any]) -> Response:
    """List every file in a run's folder, and in the folders in it.

    Temporaries and locks (a leading `.`) and links are left out.
    """
    outputs = _outputs_of(experiment_id)
    entries, complete = outputs.list_files(experiment_id)
    files, left = [file_out(entry) for entry in entries], MAX_DIGEST_BYTES
    for entry, file in zip(entries, files, strict=True) if query_data["sha256"] else ():
        left -= entry.size
        file["sha256"] = outputs.sha256(experiment_id, entry) if left >= 0 else None
    content = {"experiment_id": experiment_id, "files": files, "complete": complete}
    return Response(orjson.dumps(content), content_type="application/json")


@blueprint.get("/experiments/<experiment_id>/files/<path:path>")
@blueprint.doc(
    summary="Download a file",
    responses={
        200: "The file; PNG and JPEG are shown by a browser, anything else is saved",
        206: "A part of it (Range)",
        304: "It is as it was (If-None-Match, If-Modified-Since)",
        404: "There is no such experiment, or no such file",
        416: "It is shorter than that (Range)",
        503: "The database is away",
    },
)
def download_file(experiment_id: str, path: str) -> Response:
    """Download one file of a run's folder, as far as it is written."""
    file = _outputs_of(experiment_id).open_listed(experiment_id, path)
    if file is None:
        raise UnknownFile(path)
    return send(file, path.rpartition("/")[2])


@blueprint.get("/experiments/<experiment_id>/files.zip")
@blueprint.doc(
    summary="Download a run's folder",
    responses={
        200: "Every file that the list has",
        404: "There is no such experiment",
        409: "There are more files than the list can have",
        503: "The database is away",
    },
)
def download_files(experiment_id: str) -> Response:
    """Download all files of a run's folder in one archive, which is made while it is sent."""
    outputs = _outputs_of(experiment_id)
    entries, complete = outputs.list_files(experiment_id)
    if not complete:
        raise TooManyFiles
    opened = ((entry, outputs.open_listed(experiment_id, entry.path)) for entry in entries)
    there = ((entry, file) for entry, file in opened if file is not None)
    return send_zip(there, f"{experiment_id}.zip")


@blueprint.get("/compare")
@blueprint.input(CompareIn, location="query", unknown=RAISE)
@blueprint.output(ComparisonOut, description="The experiments side by side")
@blueprint.doc(summary="Compare experiments", responses=[404, 422, 503])
def compare_experiments(query_data: dict[str, Any]) -> Response:
    """Show up to 20 experiments with their parameters, what they came to, and their curves."""
    ids = list(dict.fromkeys([*filter(None, query_data["ids"]), *query_data["id"]]))
    experiments = services.experiments.get_all(ids)
    epochs, outcomes = compare(services.curves, ids, query_data["max_points"])
    content = {
        "epoch": epochs,
        "experiments": [
            experiment_out(experiment)
            | {
                "points": outcome.curve.points,
                "final": outcome.final,
                "lowest": outcome.lowest,
                "highest": outcome.highest,
                "metrics": outcome.curve.series,
            }
            for experiment, outcome in zip(experiments, outcomes, strict=True)
        ],
    }
    return Response(orjson.dumps(content), content_type="application/json")


def _outputs_of(experiment_id: str) -> Outputs:
    """Give the folders, once it is sure that there is such an experiment."""
    services.experiments.get(experiment_id)
    return services.outputs
