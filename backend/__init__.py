"""A training-run backend for Kubernetes that fits in one pod."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apiflask import APIFlask

    from backend.settings import Settings

__version__ = "0.1.0"


def create_app(settings: "Settings | None" = None) -> "APIFlask":
    """Make the Flask app.

    Flask is imported here, so that the parts that serve no HTTP start without it.

    Raises:
        SettingsError: without `settings`, if the environment cannot be used.
    """
    from backend.app import make_app
    from backend.settings import Settings

    return make_app(settings or Settings.from_environment())
