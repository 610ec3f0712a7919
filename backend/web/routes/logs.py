"""The log of an experiment: as text, as text that grows, or as server-sent events."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

from apiflask import APIBlueprint
from flask import Response, abort

from backend.experiments.logs import Line
from backend.files.log_lines import Unfinished, batches, last
from backend.files.terminal import screen
from backend.web.current import services, streams
from backend.web.processor_time import STREAM_SHARE, ProcessorTime
from backend.web.schemas.logs import LogIn
from backend.web.streams import (
    EVENT_STREAM,
    TEXT,
    event,
    joined,
    json_event,
    last_event_id,
    wants_events,
)

MAX_PROGRESS_CHARACTERS = 2000  # the last ones of an unfinished line
TOO_COSTLY = (
    b"... the rest is left out: showing it takes too much processor time. tail shows the last "
    b"lines, and the file of the log has what was printed ...\n"
)
RECONNECT = b": more follows after Last-Event-ID: this answer took too much processor time\n\n"

T = TypeVar("T")

blueprint = APIBlueprint("logs", __name__, tag="Experiments")


@blueprint.get("/experiments/<experiment_id>/logs")
@blueprint.input(LogIn, location="query")
@blueprint.doc(
    summary="Read or follow a log",
    responses={
        200: "The output so far; if followed, until the attempt ends",
        400: "Last-Event-ID is not the number of a line",
        404: "There is no such experiment, attempt or worker",
        409: "The log is too long to be followed from a line near its end",
        429: "Too many streams are open; Retry-After says when to try again",
        503: "The database or Kubernetes is unavailable",
    },
)
def read_log(experiment_id: str, query_data: dict[str, Any]) -> Response:
    """Read what the trainer has printed, while its pod exists and afterwards.

    An experiment that several nodes train has a log for each worker; that of rank 0 is the
    experiment's, and `worker` chooses another one (`logs/{attempt}-worker-{worker}.log`).

    Lines are as a terminal shows them: without escape sequences (with `ansi=true`, colours are
    kept), and of a progress bar its last state. The file `logs/{attempt}.log` has what was printed.

    With `Accept: text/event-stream` each line is an event whose id is the line's number, and
    `event: end` follows the last line. `event: progress` has the text so far of a line that has not
    ended yet, at most twice a second. `Last-Event-ID` continues after the line it names.

    One answer takes a limited processor time, which is enough for millions of lines or about a
    megabyte of escape sequences. A text that is cut off for that says so in its last line. A stream
    of events ends without `event: end`, and its client continues.
    """
    experiments = services.experiments
    number, tail = query_data.get("attempt"), query_data.get("tail")
    worker = query_data["worker"]
    shown = partial(screen.shown, colours=query_data["ansi"])
    if not (query_data["follow"] or wants_events()):
        experiment = experiments.get(experiment_id)
        logs = services.logs.of_worker(experiment, worker)
        lines = logs.read(experiment, number or experiment.attempt, last=tail)
        budget = ProcessorTime()
        read = batches(lines)
        chosen = read if tail is None else last(budget.metered(read), tail)
        shown_together = partial(screen.shown_together, colours=query_data["ansi"])
        pieces = _limited(budget, map(shown_together, chosen), TOO_COSTLY)
        return Response(pieces, content_type=f"{TEXT}; charset=utf-8")

    experiment, attempt = experiments.attempt(experiment_id, number)
    logs = services.logs.of_worker(experiment, worker)
    after = last_event_id()
    if after is None and tail is not None:
        counting = ProcessorTime()
        lines_so_far = sum(counting.metered(logs.counts(experiment, attempt.number)))
        if counting.was_cut:
            abort(409, "The log is too long to be followed from its end: read it without follow.")
        after = max(0, lines_so_far - tail)
    budget = ProcessorTime(STREAM_SHARE)
    followed = logs.follow(experiment, attempt, after=after or 0)
    if wants_events():
        events = _limited(budget, _events(followed, attempt.number, shown), RECONNECT)
        return streams.answer(joined(events), EVENT_STREAM)
    texts = _limited(budget, _texts(followed, shown), b"\n" + TOO_COSTLY)
    return streams.answer(joined(texts), TEXT)


def _limited(budget: ProcessorTime, pieces: Iterable[T], end: bytes) -> Iterator[T | bytes]:
    """Yield pieces as long as the budget lasts, and `end` if it has cut them off."""
    yield from budget.metered(pieces)
    if budget.was_cut:
        yield end


def _texts(lines: Iterable[Line | None], shown: Callable[[bytes], bytes]) -> Iterator[bytes | None]:
    """Yield lines as text. The next state of an unfinished line is written over the last one."""
    on_screen = b""
    for line in lines:
        if line is None:
            yield None
            continue
        is_finished = not isinstance(line[1], Unfinished)
        content = shown(line[1])
        if is_finished or content != on_screen:
            yield _over(on_screen, content) + (b"\n" if is_finished else b"")
        if not is_finished:
            yield None
        on_screen = b"" if is_finished else content


def _over(on_screen: bytes, content: bytes) -> bytes:
    """Return what to write so that a line on the screen becomes `content`."""
    if content.startswith(on_screen):
        return content[len(on_screen) :]
    return b"\r" + content + b" " * (len(on_screen) - len(content))


def _events(
    lines: Iterable[Line | None], attempt: int, shown: Callable[[bytes], bytes]
) -> Iterator[bytes | None]:
    for line in lines:
        if line is None:
            yield None
            continue
        number, content = line
        text = shown(content).decode(errors="replace")
        if isinstance(content, Unfinished):
            if len(text) > MAX_PROGRESS_CHARACTERS:  # without colours, which might be cut in two
                plain = screen.shown(content).decode(errors="replace")
                text = plain[-MAX_PROGRESS_CHARACTERS:]
            yield event(text, name="progress")
            yield None
        else:
            yield event(text, number=number)
    yield json_event({"attempt": attempt}, name="end")
