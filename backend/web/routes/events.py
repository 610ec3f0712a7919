"""The stream of transitions: every change of an experiment's status, as it happens."""

from collections.abc import Iterator
from typing import Any

from apiflask import APIBlueprint
from flask import Response

from backend.experiments.events import TransitionFeed
from backend.sweeps.changes import SweepChanges
from backend.web.current import services, streams, sweeps
from backend.web.schemas.events import EventsIn
from backend.web.schemas.experiments import transition_out
from backend.web.schemas.sweeps.responses import sweep_event_out
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
    """Follow every change of status. `Last-Event-ID` continues after the transition it names.

    Changes of sweeps are events of the type `sweep`, which have no id; a filter leaves them out.
    """
    seen = last_event_id()
    if seen is None:
        seen = services.events.last_id()
    experiment_id = query_data.get("experiment_id")
    if experiment_id is not None:
        experiment_id = services.experiments.stored_id(experiment_id)
    changes = SweepChanges(sweeps.table) if experiment_id is None else None
    events = _events(services.events, seen, experiment_id, changes)
    return streams.answer(events, EVENT_STREAM)


def _events(
    feed: TransitionFeed, seen: int, experiment_id: str | None, changes: SweepChanges | None
) -> Iterator[bytes | None]:
    while True:
        events = feed.after(seen)
        for sweep in changes.new() if changes else ():
            # Without an id: a client that reconnects continues after the last transition, and
            # reads the sweeps that it shows again.
            yield json_event(sweep_event_out(sweep), name="sweep")
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
