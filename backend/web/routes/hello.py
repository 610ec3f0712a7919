"""The root: a greeting that shows the server is there, and the way to everything else."""

from apiflask import APIBlueprint
from flask import Response, request

from backend.web.access import plain_page
from backend.web.proxies import address

GREETING = "Hello Flask!"

blueprint = APIBlueprint("hello", __name__, tag="Server")


@blueprint.get("/")
@blueprint.doc(summary="Say hello")
def hello() -> Response:
    """Answer `Hello Flask!`; to a browser, as a page with links to the dashboard and the API."""
    if _prefers_html():
        response = plain_page("hello.html", greeting=GREETING)
    else:
        response = Response(GREETING, content_type="text/plain; charset=utf-8")
    response.headers["Link"] = (
        f'<{address("/ui")}>; rel="alternate"; type="text/html"; title="Dashboard", '
        f'<{address("/openapi.json")}>; rel="service-desc", '
        f'<{address("/docs")}>; rel="service-doc"'  # RFC 8631
    )
    response.headers["Vary"] = "Accept"
    return response


def _prefers_html() -> bool:
    """Return whether the client asks for HTML before plain text, as browsers do."""
    if "text/html" not in request.environ.get("HTTP_ACCEPT", ""):  # spares most clients the parsing
        return False
    return request.accept_mimetypes.best_match(["text/plain", "text/html"]) == "text/html"
