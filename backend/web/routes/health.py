"""Health checks for Kubernetes' probes, and metrics for Prometheus."""

from apiflask import APIBlueprint
from flask import Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST

from backend import __version__
from backend.web.current import services, telemetry
from backend.web.languages.current import translated
from backend.web.schemas.health import HealthOut, StateOut

blueprint = APIBlueprint("health", __name__, tag="Health")


@blueprint.get("/healthz")
@blueprint.output(HealthOut)
@blueprint.doc(summary="Check liveness")
def healthz() -> Response:
    """Answer while the process is alive, with its version.

    The database is not asked: restarting this process would not repair it.
    """
    return jsonify({"status": "ok", "version": __version__})


@blueprint.get("/readyz")
@blueprint.output(StateOut)
@blueprint.doc(summary="Check readiness", responses=[503])
def readyz() -> Response:
    """Answer if the database is available and has the schema that this version needs.

    A database that is read-only or full is named in `detail`, with status 200: reads are answered,
    and a 503 would make Kubernetes send no requests here at all. So is an output folder that is
    missing. Models whose entries are wrong are
    named there, too; the others can be used.
    """
    problem = services.experiments.check_ready()
    unusable = services.models.catalogue().problems
    details = [problem] if problem else []
    if unusable:
        details.append(f"Models that cannot be used (GET /models): {', '.join(unusable)}.")
    state = {"status": "read-only" if problem else "ready"}
    return jsonify(state | ({"detail": " ".join(map(translated, details))} if details else {}))


@blueprint.get("/metrics")
@blueprint.doc(summary="Read metrics for Prometheus", responses={200: "In its text format"})
def metrics() -> Response:
    """Return requests, submissions and open streams of all web workers, and experiments by status.

    The numbers of experiments may be ten seconds old.
    """
    return Response(telemetry.text(), content_type=CONTENT_TYPE_LATEST)
