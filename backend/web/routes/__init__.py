"""The routes, one small blueprint per module."""

from urllib.parse import quote

from apiflask import APIFlask
from flask import Response, current_app, request

from backend.web import forms
from backend.web.current import services
from backend.web.current import sweeps as all_sweeps
from backend.web.proxies import address
from backend.web.routes import (
    docs,
    events,
    experiments,
    health,
    hello,
    inputs,
    languages,
    logs,
    models,
    results,
    sign_in,
    sweeps,
)
from backend.web.routes.pages import register_pages


def register_routes(app: APIFlask) -> None:
    """Make the app answer at every address."""
    forms.register_parser()
    app.before_request(_without_trailing_slash)
    for module in (
        hello,
        experiments,
        models,
        logs,
        results,
        inputs,
        events,
        health,
        docs,
        sign_in,
        languages,
        sweeps,
    ):
        app.register_blueprint(module.blueprint)
    register_pages(app)
    app.before_request(_find_stored_id)  # after the check of the token


def _find_stored_id() -> None:
    """Replace the id in the address by the stored one, whose form of Unicode may differ."""
    values = request.view_args
    if values and not values.get("experiment_id", "").isascii():
        values["experiment_id"] = services.experiments.stored_id(values["experiment_id"])
    if values and not values.get("sweep_id", "").isascii():
        values["sweep_id"] = all_sweeps.stored_id(values["sweep_id"])


def _without_trailing_slash() -> Response | None:
    """Return a redirect (308) if only the slash at its end keeps the path from being a route's."""
    if not request.path.endswith("/") or request.path == "/":
        return None
    path = f"/{request.path.strip('/')}"  # never //host, which would lead to another server
    if not current_app.create_url_adapter(request).allowed_methods(path):  # type: ignore[union-attr]
        return None
    query = request.query_string.decode("latin-1")
    location = address(quote(path)) + (f"?{query}" if query else "")
    response = Response(
        f"The address is {address(quote(path))}, without a slash at the end.\n",
        status=308,
        content_type="text/plain; charset=utf-8",
    )
    response.headers["Location"] = location
    return response
