"""Every error becomes application/problem+json (RFC 9457) here and nowhere else."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from apiflask import APIFlask
from apiflask.exceptions import HTTPError
from flask import Response, json, render_template, request
from werkzeug.exceptions import HTTPException

from backend.domain.exceptions import (
    FolderTaken,
    HasEnded,
    InputChanged,
    InputEmpty,
    InputExists,
    InputTooLarge,
    InputUnwritable,
    InvalidInputName,
    NotRetriable,
    OtherParameters,
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
)
from backend.files.inputs import DATA_SUFFIXES
from backend.files.outputs import MAX_FILES
from backend.launchers.base import LauncherUnavailable
from backend.tokens import TokensError
from backend.web.streams import TooManyStreams

RETRY_AFTER_SECONDS = 2

log = logging.getLogger(__name__)

Answer = tuple[int, str, dict[str, Any]]  # status, detail, further members


def problem(status: int, detail: str, **members: Any) -> Response:
    """Make an answer of an error. `members` are added to the standard ones.

    Whoever asked for a page of the dashboard gets a page.
    """
    title = HTTPStatus(status).phrase
    if request.method in ("GET", "HEAD") and f"{request.path}/".startswith("/ui/"):
        page = render_template("problem.html", title=title, detail=detail)
        response = Response(page, status=status)
    else:
        content = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        response = Response(
            json.dumps(content | members) + "\n",
            status=status,
            content_type="application/problem+json",
        )
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def register_errors(app: APIFlask) -> None:
    """Let the app answer every error as a problem."""
    app.error_processor(_invalid_fields)
    app.register_error_handler(HTTPException, _http_error)
    for kind, answer in _ANSWERS.items():
        app.register_error_handler(kind, _handler(answer))


def _handler(answer: Callable[[Any], Answer]) -> Callable[[Exception], Response]:
    def handle(error: Exception) -> Response:
        status, detail, members = answer(error)
        return problem(status, detail, **members)

    return handle


def _unknown_dataset(error: UnknownDataset) -> Answer:
    there = ", ".join(error.names[:20]) or "none"
    detail = f"is not a file of the input folder; there is {there}."
    return 422, f"dataset {detail}", {"errors": [{"field": "dataset", "detail": detail}]}


def _other_parameters(error: OtherParameters) -> Answer:
    there = error.parameters
    return (
        409,
        f"experiment_id {error.experiment_id!r} was submitted before with learning_rate "
        f"{there.learning_rate}, epoch {there.epoch} and dataset {there.dataset or 'all'}: "
        "send those again to get that experiment, or choose another experiment_id.",
        {},
    )


def _folder_taken(_error: FolderTaken) -> Answer:
    return (
        409,
        "The output folder of that experiment_id holds files of something else, which a new run "
        "would overwrite: choose another experiment_id, or move the folder away.",
        {},
    )


def _output_unwritable(error: OutputUnwritable) -> Answer:
    status = HTTPStatus.INSUFFICIENT_STORAGE if error.full else HTTPStatus.SERVICE_UNAVAILABLE
    return status, f"The output folder cannot be written ({error}); nothing was started.", {}


def _input_unwritable(error: InputUnwritable) -> Answer:
    status = HTTPStatus.INSUFFICIENT_STORAGE if error.full else HTTPStatus.SERVICE_UNAVAILABLE
    return status, f"The input folder cannot be written ({error}); nothing was changed.", {}


_ANSWERS: dict[type[Exception], Callable[[Any], Answer]] = {
    UnknownDataset: _unknown_dataset,
    UnknownExperiment: lambda error: (
        404,
        f"There is no experiment {', '.join(map(repr, error.args))}.",
        {},
    ),
    UnknownFile: lambda error: (
        404,
        f"There is no file {str(error)!r} here; the address above it lists what there is.",
        {},
    ),
    TooManyFiles: lambda _error: (
        409,
        f"The folder holds more than {MAX_FILES} files: download those you need one by one.",
        {},
    ),
    UnknownAttempt: lambda error: (
        404,
        f"{error.experiment_id!r} has had no attempt {error.number}; its last one is {error.last}.",
        {},
    ),
    TooManyStreams: lambda error: (
        429,
        f"{error.limit} streams are open already (MAX_STREAMS): close one that is not needed, or "
        "ask again later. Without follow=true and text/event-stream a log can always be read.",
        {},
    ),
    InputUnwritable: _input_unwritable,
    InvalidInputName: lambda error: (
        422,
        f"{str(error)!r} cannot be a data set's name: send a plain file name of at most 255 bytes "
        f"that ends in {', '.join(DATA_SUFFIXES)} and does not begin with '.'.",
        {},
    ),
    InputTooLarge: lambda error: (
        413,
        f"A data set may have {error.limit} bytes at the most (INPUT_MAX_BYTES).",
        {},
    ),
    InputEmpty: lambda _error: (422, "The body is empty: send the file as the body.", {}),
    InputExists: lambda error: (
        409,
        f"There is a data set {str(error)!r}: send If-Match with its ETag, or ?overwrite=true, to "
        "replace it, or choose another name.",
        {},
    ),
    InputChanged: lambda error: (
        412,
        f"{str(error)!r} is not as If-Match says: GET /inputs says how it is now.",
        {},
    ),
    OtherParameters: _other_parameters,
    HasEnded: lambda error: (409, f"{error.experiment_id!r} has {error.status} already.", {}),
    StillLive: lambda error: (
        409,
        f"{error.experiment_id!r} is {error.status}: cancel it first, or wait for its end.",
        {},
    ),
    NotRetriable: lambda error: (
        409,
        f"{error.experiment_id!r} is {error.status}: only what failed or was cancelled can be "
        "tried again.",
        {},
    ),
    LauncherUnavailable: lambda error: (
        503,
        f"{error.diagnosis.message} Nothing was changed. Send the same again.",
        {"reason": error.diagnosis.reason},
    ),
    FolderTaken: _folder_taken,
    OutputUnwritable: _output_unwritable,
    SubmissionRefused: lambda error: (
        502,
        f"{error.diagnosis.message} {error.diagnosis.remedy}",
        {"reason": error.diagnosis.reason},
    ),
    TokensError: lambda _error: (
        503,
        "The server's file of tokens cannot be used: nobody is let in. Its log says why.",
        {},
    ),
    SchemaError: lambda error: (503, str(error), {}),
    StoreUnavailable: lambda _error: (
        503,
        "The database does not answer. Send the same again: nothing is ever started twice.",
        {},
    ),
}


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    response = problem(status, _DETAILS.get(status) or error.description or "")
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _invalid_fields(error: HTTPError) -> Response:
    """Say what APIFlask found wrong with a body or a query string, field by field."""
    found: dict[str, dict[str, list[str]]] = error.detail
    errors = [
        {"field": "" if field == "_schema" else field, "detail": " ".join(messages)}
        for fields in found.values()
        for field, messages in fields.items()
    ]
    detail = " ".join(f"{one['field']} {one['detail']}".strip() for one in errors)
    return problem(error.status_code, detail, errors=errors)


_DETAILS = {
    500: "The server made a mistake; its log says more.",
    404: "There is nothing at this address; GET /openapi.json lists what there is.",
    413: "The request is too large: at most 64 KiB and 100 fields.",
}
