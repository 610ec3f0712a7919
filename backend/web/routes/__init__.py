"""The routes, one small blueprint per module."""

from apiflask import APIFlask

from backend.web import forms
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
