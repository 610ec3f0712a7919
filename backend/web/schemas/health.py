"""Responses of the health routes."""

from apiflask import Schema
from apiflask.fields import String

from backend import __version__


class StateOut(Schema):
    """Whether the server can answer requests."""

    status = String(
        metadata={
            "description": "`ready`, or `read-only` if the database cannot be written or the "
            "output folder is missing.",
            "example": "ready",
        }
    )
    detail = String(
        metadata={
            "description": "Why experiments cannot be changed, and models that cannot be used, "
            "if so."
        }
    )


class HealthOut(Schema):
    """Whether the process is alive, and its version."""

    status = String(metadata={"example": "ok"})
    version = String(
        metadata={"description": "The version of hello-flask.", "example": __version__}
    )
