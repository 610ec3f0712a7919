"""The parts of the running app, as the routes see them."""

from typing import cast

from flask import current_app
from werkzeug.local import LocalProxy

from backend.experiments.services import Services
from backend.web.streams import Streams
from backend.web.telemetry import Telemetry

services = cast(Services, LocalProxy(lambda: current_app.extensions["services"]))
streams = cast(Streams, LocalProxy(lambda: current_app.extensions["streams"]))
telemetry = cast(Telemetry, LocalProxy(lambda: current_app.extensions["telemetry"]))
