"""Whole lists as CSV (RFC 4180) or as lines of JSON, which are made while they are sent.

A list is read in pages, of which one is in memory at a time. If the database fails on the way, the
connection is closed without the last chunk, so that no client takes the list for complete.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import orjson
from flask import Request, Response

from backend.domain.experiment import read_tags
from backend.domain.selection import Cursor, ListedExperiment, Listing
from backend.web.schemas.columns import CSV, FORMATS, JSON, choose, default_columns
from backend.web.schemas.experiments import listed_out

PAGE = 100  # experiments read at once
PIECE_BYTES = 64 * 1024  # sent at once, at least
BYTE_ORDER_MARK = "\ufeff"  # without it, Excel does not read UTF-8
# A cell that begins with one of these is a formula to a spreadsheet, in Japanese editions also with
# the full-width ones: https://owasp.org/www-community/attacks/CSV_Injection.
FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

# Returns the page of at most `limit` experiments that follow a cursor.
ReadPage = Callable[[int, Cursor | None], Listing]


def format_of(request: Request, chosen: str | None) -> str:
    """Return the format of a list: the chosen one, or else the one that the client prefers.

    Without `chosen`, JSON is replaced only if the Accept header names another format: `*/*` and
    `text/*` do not.
    """
    accepted = [kind for kind, quality in request.accept_mimetypes if quality > 0]
    named = (name for kind in accepted for name, known in FORMATS.items() if kind == known)
    return chosen or next(named, JSON)


def export(
    read: ReadPage, kind: str, *, after: Cursor | None, limit: int | None, columns: Sequence[str]
) -> Response:
    """Return a response with a whole list.

    Args:
        read: reads a page; the first one is read now.
        kind: CSV or NDJSON.
        after: where the list begins.
        limit: at most this many experiments; None sends all.
        columns: which members to send; if empty, every one.
    """
    experiments = _experiments(read, read(_page(limit), after), limit)
    if kind == CSV:
        lines: Iterable[str | bytes] = _csv_lines(experiments, columns)
    else:
        lines = _json_lines(experiments, columns)
    response = Response(_pieces(lines), content_type=FORMATS[kind])
    if kind == CSV:
        response.content_type = "text/csv; charset=utf-8"
        response.headers["Content-Disposition"] = 'attachment; filename="experiments.csv"'
    response.headers["Cache-Control"] = "no-store"
    return response


def harmless(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula; numbers stay numbers."""
    if isinstance(value, str) and value.startswith(FORMULA_BEGINS):
        return f"'{value}"
    return value


def _page(limit: int | None) -> int:
    return PAGE if limit is None else min(limit, PAGE)


def _experiments(
    read: ReadPage, page: Listing, limit: int | None
) -> Iterator[Sequence[ListedExperiment]]:
    """Yield the experiments page by page, beginning with `page`."""
    yield page.experiments
    while page.following and limit != len(page.experiments):
        limit = None if limit is None else limit - len(page.experiments)
        page = read(_page(limit), page.following)
        yield page.experiments


def _csv_lines(
    pages: Iterator[Sequence[ListedExperiment]], columns: Sequence[str]
) -> Iterator[str]:
    line = io.StringIO(newline="")
    writer = csv.writer(line)
    for number, page in enumerate(pages):
        if number == 0:
            columns = columns or default_columns(page)
            line.write(BYTE_ORDER_MARK)
            writer.writerow(map(harmless, columns))
        for experiment in page:
            members = choose(experiment, columns)
            if "tags" in members:
                members["tags"] = ",".join(read_tags(experiment.tags))
            writer.writerow([harmless(_cell(value)) for value in members.values()])
            yield line.getvalue()
            line.seek(0)
            line.truncate()
    yield line.getvalue()  # the header of an empty list


def _json_lines(
    pages: Iterator[Sequence[ListedExperiment]], columns: Sequence[str]
) -> Iterator[bytes]:
    for page in pages:
        for experiment in page:
            members = choose(experiment, columns) if columns else listed_out(experiment)
            yield orjson.dumps(members, option=orjson.OPT_APPEND_NEWLINE)


def _cell(value: Any) -> Any:
    """Return a value that is a number, text or None; a boolean, an object or a list as JSON."""
    is_json = isinstance(value, bool | dict | list | orjson.Fragment)
    return orjson.dumps(value).decode() if is_json else value


def _pieces(lines: Iterable[str | bytes]) -> Iterator[bytes]:
    """Yield the lines as UTF-8, joined into pieces of about PIECE_BYTES."""
    piece = bytearray()
    for line in lines:
        piece += line.encode() if isinstance(line, str) else line
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
