"""Requests for the stream of events."""

from backend.web.schemas.fields import Text
from backend.web.schemas.strict import StrictSchema


class EventsIn(StrictSchema):
    """Which transitions to stream."""

    experiment_id = Text(metadata={"description": "Only transitions of this experiment."})
