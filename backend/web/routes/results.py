"""The results of experiments: curves, comparisons, and the files of the output folder."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson
from apiflask import APIBlueprint
from flask import Response, request

from backend.domain.exceptions import TooManyFiles, UnknownAttempt, UnknownFile
from backend.domain.execution.usage import Usage
from backend.domain.experiment import Experiment
from backend.domain.objective import warnings
from backend.domain.status import LIVE
from backend.domain.timestamps import to_text
from backend.experiments.models import Models
from backend.files.comparison import Outcome, compare
from backend.files.outputs import MAX_FILES, Outputs
from backend.web.current import services
from backend.web.routes.downloads import fitting, send, send_zip
from backend.web.schemas.experiments import experiment_out, warnings_out
from backend.web.schemas.results import (
    MAX_DIGEST_BYTES,
    CompareIn,
    ComparisonOut,
    CurveIn,
    CurveOut,
    FilesIn,
    FilesOut,
    ResourcesIn,
    ResourcesOut,
    file_out,
)

blueprint = APIBlueprint("results", __name__, tag="Results")


@blueprint.get("/experiments/<experiment_id>/metrics")
@blueprint.input(CurveIn, location="query")
@blueprint.output(CurveOut, description="The curve so far")
@blueprint.doc(
    summary="Read a curve",
    responses={
        304: "The curve is unchanged (If-None-Match)",
        404: "There is no such experiment",
        503: "The database is unavailable",
    },
)
def read_curve(experiment_id: str, query_data: dict[str, Any]) -> Response:
    """Read the metrics that the trainer has written to `metrics.jsonl`, as columns.

    An incomplete last line is left for the next call, until the trainer has ended. Polling with
    `If-None-Match` is cheap while nothing has changed.
    """
    experiment = services.experiments.get(experiment_id)
    response = Response(content_type="application/json")
    file = services.curves.file(experiment_id)
    version = file.version if file else ""
    response.set_etag(f"{version}-{experiment.attempt}-{experiment.status}")
    if response.make_conditional(request).status_code == 304:
        return response
    ended = experiment.status not in LIVE
    curve = services.curves.read(experiment_id, ended=ended, **query_data)
    if not curve.complete:
        del response.headers["ETag"]  # the next call returns more of the same file
    response.data = orjson.dumps(
        {
            "experiment_id": experiment_id,
            "attempt": experiment.attempt,
            "status": experiment.status,
            "points": curve.points,
            "epoch": curve.epochs,
            "metrics": curve.series,
        }
        | ({"elapsed": curve.elapsed} if curve.elapsed else {})
        | ({"written_at": to_text(file.modified)} if file else {})
        | _limits(curve.left_out, complete=curve.complete)
    )
    return response


@blueprint.get("/experiments/<experiment_id>/resources")
@blueprint.input(ResourcesIn, location="query")
@blueprint.output(ResourcesOut, description="The samples so far")
@blueprint.doc(
    summary="Read what an attempt uses",
    responses={
        304: "There are no more samples (If-None-Match)",
        404: "There is no such experiment or attempt",
        503: "The database is unavailable",
    },
)
def read_resources(experiment_id: str, query_data: dict[str, Any]) -> Response:
    """Read the samples of processors, memory and GPUs, as columns; there may be none.

    On Kubernetes there are samples if the cluster serves `metrics.k8s.io`; they have no GPUs. The
    largest values so far are those of the experiment: `peak_cpu`, `peak_memory`, `peak_gpu` and
    `peak_gpu_memory`.
    """
    experiment = services.experiments.get(experiment_id)
    number = query_data.get("attempt") or experiment.attempt
    if number > experiment.attempt:
        raise UnknownAttempt(experiment_id, number, experiment.attempt)
    response = Response(content_type="application/json")
    file = services.resources.entry(experiment_id, number)
    response.set_etag(f"{file.version if file else ''}-{number}")
    if response.make_conditional(request).status_code == 304:
        return response
    samples = services.resources.read(experiment_id, number)
    columns = {name: [getattr(one.usage, name) for one in samples] for name in Usage._fields}
    known = {name: column for name, column in columns.items() if any(v is not None for v in column)}
    response.data = orjson.dumps(
        {
            "experiment_id": experiment_id,
            "attempt": number,
            "elapsed": [one.elapsed for one in samples],
            "resources": known,
        }
    )
    return response


@blueprint.get("/experiments/<experiment_id>/files")
@blueprint.input(FilesIn, location="query")
@blueprint.output(FilesOut, description="The files so far")
@blueprint.doc(summary="List files", responses=[404, 503])
def list_files(experiment_id: str, query_data: dict[str, Any]) -> Response:
    """List the files in the experiment's output folder and its subfolders.

    Files with a leading `.` (temporary files and locks) and links are left out.
    """
    outputs = _outputs_of(experiment_id)
    entries, complete = outputs.list_files(experiment_id)
    files = [file_out(entry) for entry in entries]
    if query_data["sha256"]:
        bytes_left = MAX_DIGEST_BYTES
        for entry, file in zip(entries, files, strict=True):
            bytes_left -= entry.size
            readable = bytes_left >= 0
            file["sha256"] = outputs.sha256(experiment_id, entry) if readable else None
    content = {"experiment_id": experiment_id, "files": files, "complete": complete}
    return Response(orjson.dumps(content), content_type="application/json")


@blueprint.get("/experiments/<experiment_id>/files/<path:path>")
@blueprint.doc(
    summary="Download a file",
    responses={
        200: "The file. Browsers show PNG and JPEG, and save anything else",
        206: "The requested part of the file (Range)",
        304: "The file is unchanged (If-None-Match, If-Modified-Since)",
        404: "There is no such experiment or file",
        416: "The file is shorter than the requested part (Range)",
        503: "The database is unavailable",
    },
)
def download_file(experiment_id: str, path: str) -> Response:
    """Download a file of the experiment's output folder, as far as it has been written."""
    file = _outputs_of(experiment_id).open_listed(experiment_id, path)
    if file is None:
        raise UnknownFile(path)
    return send(file, path.rpartition("/")[2])


@blueprint.get("/experiments/<experiment_id>/files.zip")
@blueprint.doc(
    summary="Download all files",
    responses={
        200: "A zip archive of every listed file, or of the smaller ones",
        404: "There is no such experiment",
        409: "The folder holds more files than can be listed",
        503: "The database is unavailable",
    },
)
def download_files(experiment_id: str) -> Response:
    """Download all files of the experiment's output folder as one zip archive.

    An archive holds at most 16 GiB of files; a file LEFT-OUT.txt in it then names the larger ones
    that do not fit.
    """
    outputs = _outputs_of(experiment_id)
    entries, complete = outputs.list_files(experiment_id)
    if not complete:
        raise TooManyFiles(MAX_FILES)
    entries, left_out = fitting(entries)
    opened = ((entry, outputs.open_listed(experiment_id, entry.path)) for entry in entries)
    readable = ((entry, file) for entry, file in opened if file is not None)
    return send_zip(readable, f"{experiment_id}.zip", left_out)


@blueprint.get("/compare")
@blueprint.input(CompareIn, location="query")
@blueprint.output(ComparisonOut, description="The experiments side by side")
@blueprint.doc(summary="Compare experiments", responses=[404, 422, 503])
def compare_experiments(query_data: dict[str, Any]) -> Response:
    """Compare up to 100 experiments: their parameters, results and curves."""
    asked = [*filter(None, query_data["ids"]), *query_data["id"]]
    ids = list(dict.fromkeys(map(services.experiments.stored_id, asked)))
    experiments = services.experiments.get_all(ids)
    epochs, outcomes = compare(services.curves, ids, query_data["max_points"])
    parts = _compared(
        services.outputs, services.models, epochs, zip(experiments, outcomes, strict=True)
    )
    return Response(parts, content_type="application/json")


def _compared(
    outputs: Outputs,
    models: Models,
    epochs: list[float],
    compared: Iterable[tuple[Experiment, Outcome]],
) -> Iterator[bytes]:
    """Yield a ComparisonOut as JSON, one experiment after the other."""
    yield b'{"epoch":' + orjson.dumps(epochs) + b',"experiments":['
    for number, (experiment, outcome) in enumerate(compared):
        yield b"," if number else b""
        yield orjson.dumps(
            experiment_out(experiment)
            | {
                "points": outcome.curve.points,
                "final": outcome.final,
                "lowest": outcome.lowest,
                "highest": outcome.highest,
                "warnings": _warnings(outputs, models, experiment, outcome),
                "metrics": outcome.curve.series,
            }
            | _limits(outcome.curve.left_out, complete=outcome.complete)
        )
    yield b"]}"


def _warnings(
    outputs: Outputs, models: Models, experiment: Experiment, outcome: Outcome
) -> list[dict[str, Any]]:
    """Return the warnings about an experiment, if its whole curve was read."""
    if not outcome.complete:
        return []
    ended = experiment.status not in LIVE
    last = outputs.read_last_metrics(experiment.experiment_id, ended=ended)
    goals = models.goals([experiment.model])
    return warnings_out(warnings(outcome.sample, last or {}, is_live=not ended, goals=goals))


def _limits(left_out: Sequence[str], *, complete: bool) -> dict[str, Any]:
    """Return the members that say what is missing from a curve; none if nothing is."""
    missing: dict[str, Any] = {"left_out": left_out} if left_out else {}
    return missing if complete else missing | {"complete": False}


def _outputs_of(experiment_id: str) -> Outputs:
    """Return the output folders.

    Raises:
        UnknownExperiment: there is no such experiment.
    """
    services.experiments.get(experiment_id)
    return services.outputs
