"""The objects of the current app that routes use; available during a request only."""

from typing import cast

from flask import current_app
from werkzeug.local import LocalProxy

from backend.experiments.services import Services
from backend.sweeps.service import Sweeps
from backend.web.streams import Streams
from backend.web.telemetry import Telemetry

services = cast(Services, LocalProxy(lambda: current_app.extensions["services"]))
sweeps = cast(Sweeps, LocalProxy(lambda: current_app.extensions["sweeps"]))
streams = cast(Streams, LocalProxy(lambda: current_app.extensions["streams"]))
telemetry = cast(Telemetry, LocalProxy(lambda: current_app.extensions["telemetry"]))
