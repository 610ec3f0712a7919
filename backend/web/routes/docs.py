"""The API for people: Swagger UI, from our own files."""

from apiflask import APIBlueprint
from flask import Response, make_response, render_template

blueprint = APIBlueprint("docs", __name__, enable_openapi=False)

# Swagger UI draws its icons from data: URLs, and sets styles by script (CSSOM), which is no inline
# style to a browser.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


@blueprint.get("/docs")
def docs() -> Response:
    """Show every route, and let a person try it."""
    response = make_response(render_template("docs.html"))
    response.headers["Content-Security-Policy"] = _POLICY
    return response
