"""Requests of the logs and of the events."""

from apiflask import Schema
from apiflask.fields import Boolean, Integer, String
from apiflask.validators import Range
from marshmallow import RAISE

MAX_TAIL = 1_000_000


class LogIn(Schema):
    """Which log."""

    class Meta:
        """A parameter that is not known is named in the answer, not passed over."""

        unknown = RAISE

    error_messages = {"unknown": "is not known: there are attempt, tail and follow."}  # noqa: RUF012

    attempt = Integer(
        validate=Range(min=1),
        metadata={"description": "Which attempt's; the current one's if it is left out."},
    )
    tail = Integer(
        validate=Range(min=0, max=MAX_TAIL),
        metadata={
            "description": "Only so many lines of what is there, the last ones; at most 16 MiB."
        },
    )
    follow = Boolean(
        load_default=False,
        metadata={"description": "Go on until the attempt is over, as server-sent events always."},
    )


class EventsIn(Schema):
    """Which changes to follow."""

    class Meta:
        """A parameter that is not known is named in the answer, not passed over."""

        unknown = RAISE

    error_messages = {"unknown": "is not known: there is experiment_id."}  # noqa: RUF012  (as above)

    experiment_id = String(metadata={"description": "Only those of this experiment."})
