"""Responses of the health routes."""

from apiflask import Schema
from apiflask.fields import String

from backend import __version__


class StateOut(Schema):
    """Whether the server can answer requests."""

    status = String(metadata={"example": "ready"})


class HealthOut(Schema):
    """Whether the process is alive, and its version."""

    status = String(metadata={"example": "ok"})
    version = String(
        metadata={"description": "The version of hello-flask.", "example": __version__}
    )
