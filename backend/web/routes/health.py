"""Whether the server is well, for Kubernetes' probes and for Prometheus."""

from apiflask import APIBlueprint
from flask import Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST

from backend.web.current import services, telemetry
from backend.web.schemas.problems import StateOut

blueprint = APIBlueprint("health", __name__, tag="Health")


@blueprint.get("/healthz")
@blueprint.output(StateOut)
@blueprint.doc(summary="Liveness")
def healthz() -> Response:
    """Answer: the process is alive. Says nothing of the database, a restart would not mend it."""
    return jsonify({"status": "ok"})


@blueprint.get("/readyz")
@blueprint.output(StateOut)
@blueprint.doc(summary="Readiness", responses=[503])
def readyz() -> Response:
    """Answer once the database answers and has the schema that this version needs."""
    services.experiments.check_ready()
    return jsonify({"status": "ready"})


@blueprint.get("/metrics")
@blueprint.doc(summary="Numbers for Prometheus", responses={200: "In its text format"})
def metrics() -> Response:
    """Count requests, submissions and open streams of all web workers, and runs by status."""
    return Response(telemetry.text(), content_type=CONTENT_TYPE_LATEST)
