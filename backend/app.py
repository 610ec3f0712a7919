"""The app factory."""

import inspect
import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from apiflask import APIFlask
from flask import has_request_context

from backend import __version__
from backend.domain.catalogue import Catalogue
from backend.experiments.services import build
from backend.launchers.base import Launcher
from backend.settings import Settings
from backend.sweeps.service import make_sweeps
from backend.web import forms, openapi
from backend.web.access import protected, register_access
from backend.web.errors import register_errors
from backend.web.proxies import Mount, address
from backend.web.routes import register_routes
from backend.web.schemas.problems import ProblemOut
from backend.web.streams import Streams
from backend.web.telemetry import Telemetry

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class App(APIFlask):
    """APIFlask that counts every request and adds security headers to every response."""

    _described: Catalogue | None = None

    def _get_spec(
        self, spec_format: str | None = None, force_update: bool = False
    ) -> dict[Any, Any] | str:
        """Return the OpenAPI document; make it again if the catalogue has changed since."""
        catalogue: Catalogue = self.extensions["services"].models.catalogue()
        is_changed, self._described = catalogue is not self._described, catalogue
        document = super()._get_spec(spec_format, force_update=force_update or is_changed)
        if has_request_context() and isinstance(document, dict):
            return document | {"servers": [{"url": address("/")}]}
        return document

    def wsgi_app(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer one request.

        Counting and headers are done here because in hooks of Flask they doubled the instructions
        of `GET /`.
        """
        begun = time.perf_counter()
        telemetry: Telemetry = self.extensions["telemetry"]
        self.extensions["mount"].apply(environ)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            telemetry.count(environ, int(status[:3]), time.perf_counter() - begun)
            return start_response(status, protected(headers), exc_info)

        return super().wsgi_app(environ, start)


def create_app(settings: Settings | None = None, launcher: Launcher | None = None) -> APIFlask:
    """Return the Flask app; its parts are in `app.extensions`, the services in "services".

    Args:
        settings: read from the environment if omitted.
        launcher: used instead of the one that `settings` name.

    Raises:
        SettingsError: the settings are read from the environment, and are invalid.
    """
    settings = settings or Settings.from_environment()
    services = build(settings, launcher)
    app = App(
        "backend.web",  # the package that holds the templates and static files
        title="hello-flask",
        version=__version__,
        docs_path=None,
    )
    app.config.update(
        MAX_CONTENT_LENGTH=forms.MAX_BODY_BYTES,
        INPUT_MAX_BYTES=settings.input_max_bytes,
        MAX_FORM_MEMORY_SIZE=forms.MAX_BODY_BYTES,
        MAX_FORM_PARTS=forms.MAX_FIELDS,
        OPENAPI_VERSION=openapi.VERSION,
        SERVERS=[{"url": "/"}],
        HTTP_ERROR_SCHEMA=ProblemOut,
        VALIDATION_ERROR_SCHEMA=ProblemOut,
        DESCRIPTION="Submit experiments with a form, and follow their training.",
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    register_errors(app)
    telemetry = Telemetry(app, services.experiments.counts)
    app.extensions["telemetry"] = telemetry
    app.extensions["mount"] = Mount(settings.trusted_proxies, settings.script_name)
    services.logs.on_lost_end = telemetry.log_end_lost
    register_access(app, settings)
    app.extensions["services"] = services
    app.extensions["sweeps"] = make_sweeps(services, settings)
    app.extensions["streams"] = Streams(settings.max_streams)
    register_routes(app)
    app.spec_processor(lambda document: _described(app, document))
    return app


def _described(app: APIFlask, document: Any) -> Any:
    entries = list(app.extensions["services"].models.catalogue().entries.values())
    return openapi.describe(document, _descriptions(app), entries)


def _descriptions(app: APIFlask) -> dict[tuple[str, str], tuple[str, str]]:
    """Return the name and the docstring of each operation's function, by method and path."""
    return {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)): (
            rule.endpoint.rpartition(".")[2],
            " ".join((inspect.getdoc(app.view_functions[rule.endpoint]) or "").split()),
        )
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
    }
