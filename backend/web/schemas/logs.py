"""Requests for logs."""

from apiflask.fields import Boolean
from apiflask.validators import Range

from backend.domain.execution.gang import MAX_NODES
from backend.web.schemas.fields import WholeNumber
from backend.web.schemas.strict import StrictSchema

MAX_TAIL = 1_000_000  # lines


class LogIn(StrictSchema):
    """Which log, and which part of it."""

    attempt = WholeNumber(
        validate=Range(min=1),
        metadata={"description": "The number of the attempt; the current one by default."},
    )
    worker = WholeNumber(
        load_default=0,
        validate=Range(min=0, max=MAX_NODES - 1),
        metadata={
            "description": "The rank of the worker whose log it is, if several nodes train the "
            "experiment; 0 by default, whose log is the experiment's."
        },
    )
    tail = WholeNumber(
        validate=Range(min=0, max=MAX_TAIL),
        metadata={
            "description": "Begin this many lines before the end of the log; at most 16 MiB."
        },
    )
    follow = Boolean(
        load_default=False,
        metadata={
            "description": "Keep sending new lines until the attempt ends. Server-sent events "
            "always do."
        },
    )
    ansi = Boolean(
        load_default=False,
        metadata={
            "description": "Keep colours, as escape sequences of a terminal with 16 of them. Each "
            "line begins without colour."
        },
    )
