"""The stream of transitions: every change of an experiment's status, as it happens."""

from collections.abc import Iterator
from typing import Any

from apiflask import APIBlueprint
from flask import Response

from backend.experiments.events import TransitionFeed
from backend.web.current import services, streams
from backend.web.schemas.events import EventsIn
from backend.web.schemas.experiments import transition_out
from backend.web.streams import EVENT_STREAM, json_event, last_event_id

WAIT_SECONDS = 1.0  # between looks at whether the stream has to end

blueprint = APIBlueprint("events", __name__, tag="Experiments")


@blueprint.get("/events")
@blueprint.input(EventsIn, location="query")
@blueprint.doc(
    summary="Follow transitions",
    responses={
        200: "Transitions from now on, as server-sent events",
        400: "Last-Event-ID is not the id of a transition",
        429: "Too many streams are open; Retry-After says when to try again",
        503: "The database is unavailable",
    },
)
def follow_transitions(query_data: dict[str, Any]) -> Response:
    """Follow every change of status. `Last-Event-ID` continues after the transition it names."""
    seen = last_event_id()
    if seen is None:
        seen = services.events.last_id()
    experiment_id = query_data.get("experiment_id")
    if experiment_id is not None:
        experiment_id = services.experiments.stored_id(experiment_id)
    events = _events(services.events, seen, experiment_id)
    return streams.answer(events, EVENT_STREAM)


def _events(feed: TransitionFeed, seen: int, experiment_id: str | None) -> Iterator[bytes | None]:
    while True:
        events = feed.after(seen)
        for event in events:
            seen = event.id
            if experiment_id in (None, event.experiment_id):
                content = {"experiment_id": event.experiment_id}
                yield json_event(
                    content | transition_out(event.transition), name="transition", number=seen
                )
        if not events:
            yield None
            feed.wait(WAIT_SECONDS)
