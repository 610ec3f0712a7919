"""The addresses that are answered, one small blueprint a file."""

from apiflask import APIFlask

from backend.routes import experiments, health, hello, results


def register_routes(app: APIFlask) -> None:
    """Let the app answer at every address."""
    for module in (hello, experiments, results, health):
        app.register_blueprint(module.blueprint)
