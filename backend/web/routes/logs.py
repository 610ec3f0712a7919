"""What a run prints: as a text, as a text that goes on, or as server-sent events."""

from collections.abc import Iterable, Iterator
from typing import Any

from apiflask import APIBlueprint
from flask import Response, request
from marshmallow import RAISE

from backend.experiments.logs import Line
from backend.files.log_lines import last, stands_for
from backend.web.current import services, streams
from backend.web.schemas.logs import LogIn
from backend.web.streams import EVENT_STREAM, TEXT, event, json_event, last_event_id, wants_events

PIECE_BYTES = 64 * 1024

blueprint = APIBlueprint("logs", __name__, tag="Experiments")


@blueprint.get("/experiments/<experiment_id>/logs")
@blueprint.input(LogIn, location="query", unknown=RAISE)
@blueprint.doc(
    summary="Read or follow a run's log",
    responses={
        200: "What it has printed so far; if followed, until the attempt is over",
        400: "The Last-Event-ID is no line's number",
        404: "There is no such experiment, or no such attempt of it",
        429: "Too many streams are open; Retry-After says when to ask again",
        503: "The database or Kubernetes is away",
    },
)
def read_log(experiment_id: str, query_data: dict[str, Any]) -> Response:
    """Read what a run has printed, while its pod lives and after.

    With `Accept: text/event-stream` each line is an event whose id is the line's number, and
    `event: end` follows the last one; `Last-Event-ID` goes on after that line.
    """
    experiments = services.experiments
    number, tail = query_data.get("attempt"), query_data.get("tail")
    if not (query_data["follow"] or wants_events(request)):
        experiment = experiments.get(experiment_id)
        lines = services.logs.read(experiment, number or experiment.attempt, last=tail)
        pieces = _pieces(lines if tail is None else last(lines, tail))
        return Response(pieces, content_type=f"{TEXT}; charset=utf-8")

    experiment, attempt = experiments.attempt(experiment_id, number)
    after = last_event_id(request)
    if after is None and tail is not None:
        so_far = services.logs.read(experiment, attempt.number)
        after = max(0, sum(map(stands_for, so_far)) - tail)
    followed = services.logs.follow(experiment, attempt, after=after or 0)
    if wants_events(request):
        return streams.answer(_events(followed, attempt.number), EVENT_STREAM)
    return streams.answer((line and line[1] + b"\n" for line in followed), TEXT)


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Put lines together: one write for each would be slow."""
    piece = bytearray()
    for line in lines:
        piece += line + b"\n"
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _events(lines: Iterable[Line | None], attempt: int) -> Iterator[bytes | None]:
    for line in lines:
        yield line and event(line[1].decode(errors="replace"), number=line[0])
    yield json_event({"attempt": attempt}, name="end")
