"""Puts the app together."""

import inspect
import re

from apiflask import APIFlask

from backend import __version__, forms, openapi
from backend.access import register_access
from backend.errors import register_errors
from backend.experiments import Experiments
from backend.inputs import Inputs
from backend.launchers import make_launcher
from backend.launchers.base import Launcher
from backend.outputs import Outputs
from backend.results import Results
from backend.routes import register_routes
from backend.schemas import ProblemOut
from backend.settings import Settings
from backend.streams import Streams
from backend.telemetry import Telemetry


def make_app(settings: Settings, launcher: Launcher | None = None) -> APIFlask:
    """Make the app: settings -> launcher -> experiments -> routes."""
    app = APIFlask(
        "backend",
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
        DESCRIPTION="Submit training runs with a form, and look at what became of them.",
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    register_errors(app)
    counts = lambda: app.extensions["experiments"].counts()  # noqa: E731
    app.extensions["telemetry"] = Telemetry(app, counts)
    register_access(app, settings)
    launcher = launcher or make_launcher(settings)
    app.extensions["experiments"] = Experiments.from_settings(settings, launcher)
    outputs = Outputs(settings.output_dir)
    app.extensions |= {
        "inputs": Inputs(settings.input_dir),
        "outputs": outputs,
        "results": Results(outputs),
    }
    app.extensions["streams"] = Streams(settings.max_streams)
    register_routes(app)
    app.spec_processor(lambda document: openapi.describe(document, _texts(app)))
    return app


def _texts(app: APIFlask) -> dict[tuple[str, str], str]:
    """Give what each operation does: the docstring of its function."""
    return {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)): " ".join(
            (inspect.getdoc(app.view_functions[rule.endpoint]) or "").split()
        )
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
    }
