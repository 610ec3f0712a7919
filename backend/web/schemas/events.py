"""Requests for the stream of events."""

from apiflask.fields import String

from backend.web.schemas.strict import StrictSchema


class EventsIn(StrictSchema):
    """Which transitions to stream."""

    experiment_id = String(metadata={"description": "Only transitions of this experiment."})
