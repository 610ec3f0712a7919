"""The root: a greeting that shows the server is there."""

from apiflask import APIBlueprint
from flask import Response

blueprint = APIBlueprint("hello", __name__, tag="Server")


@blueprint.get("/")
@blueprint.doc(summary="Say hello")
def hello() -> Response:
    """Answer `Hello Flask!`."""
    return Response("Hello Flask!", content_type="text/plain; charset=utf-8")
