"""Answers to requests that never reach the app, as problem documents (RFC 9457)."""

import json
from http import HTTPStatus

from gunicorn.http import errors

from backend.web.languages.current import translated_to

TOO_MANY_UPLOADS = "Too many uploads; try again later."
_MALFORMED_CHUNKS = "The body's chunks are malformed: nothing was changed. Send it again."
_MALFORMED_FIELD = "A header field is malformed: send each as NAME: VALUE on a line of its own."
_DETAILS: dict[type[Exception], str] = {
    errors.InvalidRequestLine: "The request line is malformed: send a method, an address and "
    "HTTP/1.1, with one space between them.",
    errors.InvalidRequestMethod: "The method is malformed: send GET, HEAD, POST, PUT, PATCH or "
    "DELETE.",
    errors.InvalidHTTPVersion: "This version of HTTP is not supported: send HTTP/1.1.",
    errors.LimitRequestLine: "The address is too long: send one of less than 4 KiB.",
    errors.LimitRequestHeaders: "The header fields are too long or too many: send at most 100, of "
    "less than 8 KiB each.",
    errors.InvalidHeader: _MALFORMED_FIELD,
    errors.InvalidHeaderName: _MALFORMED_FIELD,
    errors.ObsoleteFolding: _MALFORMED_FIELD,
    errors.InvalidSchemeHeaders: "Header fields contradict each other about http and https.",
    errors.UnsupportedTransferCoding: "This transfer coding is not supported: send chunked, or a "
    "Content-Length.",
    errors.ExpectationFailed: "This expectation is not supported: send Expect: 100-continue or "
    "none.",
    errors.InvalidChunkSize: _MALFORMED_CHUNKS,
    errors.ChunkMissingTerminator: _MALFORMED_CHUNKS,
    errors.InvalidChunkExtension: _MALFORMED_CHUNKS,
}
_OTHER = {500: "The server made a mistake; its log says more."}


class Refused:
    """A socket that keeps the answer of gunicorn, whose status is the only part that is used."""

    def __init__(self) -> None:
        self._written = b""

    def gettimeout(self) -> float:
        """Return that of a socket that does not block."""
        return 0.0

    def sendall(self, content: bytes) -> None:
        """Keep `content`."""
        self._written += content

    @property
    def status(self) -> int:
        """The status of the answer."""
        return int(self._written.split(None, 2)[1])


def refusal(status: int, error: Exception, language: str) -> bytes:
    """Return the answer, in a language, to a request whose reading has failed with `error`."""
    kinds = (_DETAILS[kind] for kind in type(error).__mro__ if kind in _DETAILS)
    other = _OTHER.get(status, "The request is malformed (RFC 9112).")
    return answer(status, next(kinds, other) if status != 500 else other, language)


def answer(status: int, detail: str, language: str, *, retry_after: int | None = None) -> bytes:
    """Return a whole answer in a language, after which the connection is closed."""
    title = HTTPStatus(status).phrase
    content = {
        "type": "about:blank",
        "title": translated_to(language, title),
        "status": status,
        "detail": translated_to(language, detail),
    }
    body = json.dumps(content).encode() + b"\n"
    later = f"Retry-After: {retry_after}\r\n" if retry_after else ""
    head = (
        f"HTTP/1.1 {status} {title}\r\nContent-Type: application/problem+json\r\n{later}"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
