"""The addresses that are answered, one small blueprint a file."""

from apiflask import APIFlask

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
    """Let the app answer at every address."""
    for module in (hello, experiments, logs, results, inputs, events, health, docs, sign_in):
        app.register_blueprint(module.blueprint)
    dashboard.register_dashboard(app)
