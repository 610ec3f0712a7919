"""The API documentation for people: Swagger UI, served from our own files."""

from apiflask import APIBlueprint
from flask import Response, make_response, render_template

blueprint = APIBlueprint("docs", __name__, enable_openapi=False)

# Swagger UI draws its icons from data: URLs, and images of answers from blob: URLs. It sets styles
# through the CSSOM, which style-src does not forbid.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


@blueprint.get("/docs")
def docs() -> Response:
    """Show every route, with a form to try it."""
    response = make_response(render_template("docs.html"))
    response.headers["Content-Security-Policy"] = _POLICY
    return response
