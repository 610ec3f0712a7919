"""What can go wrong, as exceptions. The text of each is one sentence for the user."""

from collections.abc import Mapping
from typing import Any

MAX_SENTENCE = 2000  # characters of an answer that are shown


class HelloFlaskError(Exception):
    """The base of all errors of this package."""


class ServerAway(HelloFlaskError):
    """The server cannot be reached, or its answer broke off.

    Attributes:
        reached: whether the server may have received the request.
    """

    def __init__(self, message: str, *, reached: bool = True) -> None:
        super().__init__(message)
        self.reached = reached


class StillRunning(HelloFlaskError):
    """The experiment has not ended within the timeout of `wait`. It goes on."""


class ExperimentFailed(HelloFlaskError):
    """The experiment that was waited for has failed, was cancelled or was deleted."""


class SweepFailed(HelloFlaskError):
    """The sweep that was waited for has failed, was cancelled or was deleted."""


class Problem(HelloFlaskError):
    """The server refused a request: an answer of application/problem+json (RFC 9457).

    Attributes:
        status: the HTTP status.
        detail: what is wrong, and what to send instead.
        errors: the problem of each field, by its name; often empty.
        reason: a code for programs, if there is one.
    """

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        detail = document.get("detail") or document.get("title") or f"HTTP status {status}"
        self.status = status
        self.detail = str(detail)[:MAX_SENTENCE]
        self.errors = _fields(document.get("errors"))
        self.reason = str(document["reason"]) if document.get("reason") else None
        super().__init__(self.detail)


class InvalidFields(Problem):
    """A value that was sent is not valid (400, 413, 415, 422); `errors` names the fields."""


class Unauthorized(Problem):
    """The server wants a token, or does not know the one that was sent (401)."""


class Forbidden(Problem):
    """The token may not do this (403)."""


class NotFound(Problem):
    """There is no such experiment, sweep, attempt, file, model or data set (404)."""


class Conflict(Problem):
    """The state of the experiment, sweep or data set does not allow this (409, 412)."""


class Unavailable(Problem):
    """The server cannot answer now (429, 502, 503, 504, 507); the same request may work later.

    Attributes:
        retry_after: seconds after which to ask again, as the server says; 0 if it does not.
    """

    retry_after = 0.0


class OlderServer(HelloFlaskError):
    """The server is older than this client and does not know what was asked of it."""


_KINDS: dict[int, type[Problem]] = {
    **dict.fromkeys((400, 413, 415, 422), InvalidFields),
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    **dict.fromkeys((429, 502, 503, 504, 507), Unavailable),
}


def problem(status: int, document: Mapping[str, Any]) -> Problem:
    """Return the exception of an answer with an error status."""
    return _KINDS.get(status, Problem)(status, document)


def _fields(errors: Any) -> dict[str, str]:
    """Return the problem of each field of a problem document; of any other value, nothing."""
    found = errors if isinstance(errors, list) else []
    return {
        str(each.get("field", "")): str(each.get("detail", ""))[:MAX_SENTENCE]
        for each in found
        if isinstance(each, dict)
    }
