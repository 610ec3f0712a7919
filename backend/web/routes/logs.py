"""The log of an experiment: as text, as text that grows, or as server-sent events."""

from collections.abc import Iterable, Iterator
from typing import Any

from apiflask import APIBlueprint
from flask import Response

from backend.experiments.logs import Line
from backend.files.log_lines import last, stands_for
from backend.web.current import services, streams
from backend.web.routes.downloads import PIECE_BYTES
from backend.web.schemas.logs import LogIn
from backend.web.streams import EVENT_STREAM, TEXT, event, json_event, last_event_id, wants_events

blueprint = APIBlueprint("logs", __name__, tag="Experiments")


@blueprint.get("/experiments/<experiment_id>/logs")
@blueprint.input(LogIn, location="query")
@blueprint.doc(
    summary="Read or follow a log",
    responses={
        200: "The output so far; if followed, until the attempt ends",
        400: "Last-Event-ID is not the number of a line",
        404: "There is no such experiment or attempt",
        429: "Too many streams are open; Retry-After says when to try again",
        503: "The database or Kubernetes is unavailable",
    },
)
def read_log(experiment_id: str, query_data: dict[str, Any]) -> Response:
    """Read what the trainer has printed, while its pod exists and afterwards.

    With `Accept: text/event-stream` each line is an event whose id is the line's number, and
    `event: end` follows the last line. `Last-Event-ID` continues after the line it names.
    """
    experiments = services.experiments
    number, tail = query_data.get("attempt"), query_data.get("tail")
    if not (query_data["follow"] or wants_events()):
        experiment = experiments.get(experiment_id)
        lines = services.logs.read(experiment, number or experiment.attempt, last=tail)
        pieces = _pieces(lines if tail is None else last(lines, tail))
        return Response(pieces, content_type=f"{TEXT}; charset=utf-8")

    experiment, attempt = experiments.attempt(experiment_id, number)
    after = last_event_id()
    if after is None and tail is not None:
        so_far = services.logs.read(experiment, attempt.number)
        after = max(0, sum(map(stands_for, so_far)) - tail)
    followed = services.logs.follow(experiment, attempt, after=after or 0)
    if wants_events():
        return streams.answer(_events(followed, attempt.number), EVENT_STREAM)
    return streams.answer(_texts(followed), TEXT)


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines in pieces of about PIECE_BYTES, because one write per line would be slow."""
    piece = bytearray()
    for line in lines:
        piece += line + b"\n"
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _texts(lines: Iterable[Line | None]) -> Iterator[bytes | None]:
    for line in lines:
        if line is None:
            yield None
        else:
            _number, content = line
            yield content + b"\n"


def _events(lines: Iterable[Line | None], attempt: int) -> Iterator[bytes | None]:
    for line in lines:
        if line is None:
            yield None
        else:
            number, content = line
            yield event(content.decode(errors="replace"), number=number)
    yield json_event({"attempt": attempt}, name="end")
