"""The routes, one small blueprint per module."""

from apiflask import APIFlask
from flask import request

from backend.web import forms
from backend.web.current import services
from backend.web.routes import (
    dashboard,
    docs,
    events,
    experiments,
    health,
    hello,
    inputs,
    logs,
    results,
    sign_in,
)


def register_routes(app: APIFlask) -> None:
    """Make the app answer at every address."""
    forms.register_parser()
    for module in (hello, experiments, logs, results, inputs, events, health, docs, sign_in):
        app.register_blueprint(module.blueprint)
    dashboard.register_dashboard(app)
    app.before_request(_find_experiment_id)  # after the check of the token


def _find_experiment_id() -> None:
    """Replace the id in the address by that of the experiment, whose form of Unicode may differ."""
    values = request.view_args
    if values and not values.get("experiment_id", "").isascii():
        values["experiment_id"] = services.experiments.stored_id(values["experiment_id"])
