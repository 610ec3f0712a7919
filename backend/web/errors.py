"""Every error becomes application/problem+json (RFC 9457) here and nowhere else.

An exception carries its own message. This module chooses the status of the response, and the
members that are added to it.
"""

from http import HTTPStatus
from typing import Any

from apiflask import APIFlask
from apiflask.exceptions import HTTPError
from flask import Response, json, render_template, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException

from backend.domain.annotations.changes import AnnotationsChanged, TooManyTags
from backend.domain.data_sets.exceptions import (
    InputInUse,
    InputsUnusable,
    InputUnreadable,
    NoImages,
)
from backend.domain.exceptions import (
    FolderTaken,
    HasEnded,
    InputBusy,
    InputChanged,
    InputEmpty,
    InputExists,
    InputTooLarge,
    InputUnusable,
    InputUnwritable,
    InvalidInputName,
    NotRetriable,
    OtherParameters,
    OutputOfAnother,
    OutputUnwritable,
    SchemaError,
    StillLive,
    StoreUnavailable,
    SubmissionRefused,
    TooManyFiles,
    UnknownAttempt,
    UnknownDataset,
    UnknownExperiment,
    UnknownFile,
    UnknownModel,
    WrongOwner,
)
from backend.domain.execution.exceptions import UnknownWorker
from backend.domain.sweeps.exceptions import (
    OtherSweep,
    TooFewTrials,
    TrialIdTaken,
    UnknownSweep,
    WrongSweepStatus,
)
from backend.launchers.base import LauncherUnavailable
from backend.tokens import TokensError
from backend.web.forms import MAX_BODY_BYTES, MAX_FIELDS
from backend.web.languages.current import gettext, translated
from backend.web.streams import TooManyStreams

RETRY_AFTER_SECONDS = 2

_STATUSES: dict[type[Exception], HTTPStatus] = {
    UnknownExperiment: HTTPStatus.NOT_FOUND,
    UnknownSweep: HTTPStatus.NOT_FOUND,
    OtherSweep: HTTPStatus.CONFLICT,
    TrialIdTaken: HTTPStatus.CONFLICT,
    WrongSweepStatus: HTTPStatus.CONFLICT,
    TooFewTrials: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownAttempt: HTTPStatus.NOT_FOUND,
    UnknownFile: HTTPStatus.NOT_FOUND,
    UnknownWorker: HTTPStatus.NOT_FOUND,
    AnnotationsChanged: HTTPStatus.CONFLICT,
    FolderTaken: HTTPStatus.CONFLICT,
    OutputOfAnother: HTTPStatus.CONFLICT,
    HasEnded: HTTPStatus.CONFLICT,
    InputExists: HTTPStatus.CONFLICT,
    InputInUse: HTTPStatus.CONFLICT,
    NotRetriable: HTTPStatus.CONFLICT,
    OtherParameters: HTTPStatus.CONFLICT,
    StillLive: HTTPStatus.CONFLICT,
    TooManyFiles: HTTPStatus.CONFLICT,
    InputChanged: HTTPStatus.PRECONDITION_FAILED,
    InputTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    InputEmpty: HTTPStatus.UNPROCESSABLE_ENTITY,
    NoImages: HTTPStatus.NOT_FOUND,
    InputUnusable: HTTPStatus.UNPROCESSABLE_ENTITY,
    InputUnreadable: HTTPStatus.UNPROCESSABLE_ENTITY,
    InputsUnusable: HTTPStatus.UNPROCESSABLE_ENTITY,
    InvalidInputName: HTTPStatus.UNPROCESSABLE_ENTITY,
    TooManyTags: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownModel: HTTPStatus.NOT_FOUND,
    UnknownDataset: HTTPStatus.UNPROCESSABLE_ENTITY,
    TooManyStreams: HTTPStatus.TOO_MANY_REQUESTS,
    SubmissionRefused: HTTPStatus.BAD_GATEWAY,
    InputBusy: HTTPStatus.SERVICE_UNAVAILABLE,
    InputUnwritable: HTTPStatus.SERVICE_UNAVAILABLE,  # 507 if the folder is full
    OutputUnwritable: HTTPStatus.SERVICE_UNAVAILABLE,
    LauncherUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    SchemaError: HTTPStatus.SERVICE_UNAVAILABLE,
    WrongOwner: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    TokensError: HTTPStatus.SERVICE_UNAVAILABLE,
}
# Sentences for exceptions whose own message is written for the log: it may name a database user, a
# host or a path, which is no client's business, and does not say whether anything was changed.
_DETAILS: dict[type[Exception], str] = {
    LauncherUnavailable: "{error} Nothing was changed. Send the same again.",
    StoreUnavailable: "The database does not answer. Send the same again: nothing is ever started "
    "twice.",
    WrongOwner: "The database belongs to another server: nothing is read or changed here. The log "
    "of this server says how to move it.",
    TokensError: "The server's token file cannot be used, so every token is refused. The server's "
    "log says why.",
}
DAMAGED = "The database holds text of this experiment that is not UTF-8: nothing was changed."
_HTTP_DETAILS = {
    404: "There is nothing at this address; GET /openapi.json lists every address.",
    413: f"The request is too large: at most {MAX_BODY_BYTES // 1024} KiB and {MAX_FIELDS} fields.",
    500: "The server made a mistake; its log says more.",
}


# For people, who do not know the phrases of HTTP.
_PAGE_TITLES = {
    400: "The server cannot read this request",
    403: "This is not allowed",
    404: "There is nothing here",
    421: "This is not the server's name",
    422: "This cannot be shown",
    429: "The server is busy",
    500: "The server made a mistake",
    503: "The server cannot answer now",
}
_PAGE_DETAILS = {
    _HTTP_DETAILS[404]: "There is no page at this address. The list leads to every experiment."
}


def problem(status: int, detail: str, **members: Any) -> Response:
    """Return an error response: a problem document, or a page for a request of a dashboard page.

    Args:
        status: the HTTP status, 400 or above.
        detail: what is wrong, and what to send instead.
        members: added to the members that RFC 9457 defines.
    """
    if f"{request.path}/".startswith("/ui/") and _wants_page():
        page = render_template(
            "problem.html",
            title=translated(_PAGE_TITLES.get(status, "The server did not do this")),
            detail=translated(_PAGE_DETAILS.get(detail, detail)),
        )
        response = Response(page, status=status)
    else:
        content = {
            "type": "about:blank",
            "title": translated(HTTPStatus(status).phrase),
            "status": status,
            "detail": translated(detail),
        }
        response = Response(
            json.dumps(content | members) + "\n",
            status=status,
            content_type="application/problem+json",
        )
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _wants_page() -> bool:
    """Return whether the current request is for a page, or the form of a page that sent it."""
    accepts_html = "text/html" in request.headers.get("Accept", "")
    return request.method in ("GET", "HEAD") or accepts_html


def register_errors(app: APIFlask) -> None:
    """Make the app answer every error with a problem document."""
    app.error_processor(_invalid_fields)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(ParseException, _broken_body)
    for kind in _STATUSES:
        app.register_error_handler(kind, _known_error)


def _known_error(error: Exception) -> Response:
    kind = next(kind for kind in type(error).__mro__ if kind in _STATUSES)
    status = _STATUSES[kind]
    if isinstance(error, InputUnwritable | OutputUnwritable) and error.full:
        status = HTTPStatus.INSUFFICIENT_STORAGE
    detail = _DETAILS.get(kind, "{error}").format(error=error)
    if isinstance(error, StoreUnavailable):
        detail = error.cause or (DAMAGED if error.undecodable else detail)
    return problem(status, detail, **_members(error))


def _broken_body(_error: Exception) -> Response:
    """Return the answer to a chunked body that breaks the syntax of RFC 9112 (7.1)."""
    response = problem(400, "The body's chunks are malformed: nothing was changed. Send it again.")
    response.headers["Connection"] = "close"  # where the next request begins is unknown
    return response


def _members(error: Exception) -> dict[str, Any]:
    match error:
        case LauncherUnavailable() | SubmissionRefused():
            return {"reason": error.diagnosis.reason}
        case InputInUse():
            return {"experiments": list(error.experiments)}
        case InputUnreadable():
            return {"line": error.fault.line, "column": error.fault.column}
        case TooFewTrials():
            return {"errors": [{"field": "trials", "detail": translated(error.problem)}]}
        case UnknownDataset() | InputsUnusable():
            return {"errors": [{"field": "dataset", "detail": translated(error.problem)}]}
        case _:
            return {}


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    response = problem(status, _HTTP_DETAILS.get(status) or error.description or "")
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _invalid_fields(error: HTTPError) -> Response:
    """Return the problems that APIFlask found in a body or a query string, field by field."""
    found: dict[str, dict[str, Any]] = error.detail
    errors = [
        {"field": "" if field == "_schema" else field, "detail": " ".join(_texts(messages))}
        for fields in found.values()
        for field, messages in fields.items()
    ]
    detail = " ".join(_sentence(**one) for one in errors)
    return problem(error.status_code, detail, errors=errors)


def _sentence(field: str, detail: str) -> str:
    return gettext("{field} {detail}").format(field=field, detail=detail) if field else detail


def _texts(messages: Any) -> list[str]:
    """Return the messages about one field; marshmallow nests those about the items of a list."""
    if isinstance(messages, dict):
        return [text for inner in messages.values() for text in _texts(inner)]
    return [translated(text) for text in messages]
