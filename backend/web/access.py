"""Decides which requests are answered: by Host header, by origin, and by token if any are set."""

import hashlib
import hmac
import logging
import secrets
import socket
from collections.abc import Callable
from typing import Any

from apiflask import APIFlask
from flask import Response, current_app, g, make_response, render_template, request
from itsdangerous import BadSignature, URLSafeTimedSerializer
from werkzeug.datastructures import Headers

from backend.domain.parameter import shown_value
from backend.settings import Settings
from backend.tokens import Token, TokenFile, find, parse
from backend.web.errors import problem
from backend.web.host_headers import host_name, is_allowed, is_cross_origin

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110, 9.2.1
OPEN_PATHS = frozenset({"/", "/healthz", "/readyz"})  # answered without a token
HOME, SIGN_IN_PATH = "/ui", "/ui/login"
LANGUAGE_PATH = "/ui/language"  # what a POST sets is a cookie of the browser that sends it
SIGN_OUT_PATH = "/ui/logout"  # a read-only token may use it, although it is a POST
COOKIE = "hello_flask_session"
CHALLENGE = 'Bearer realm="hello-flask"'  # RFC 6750, 3
SESSION_SECONDS = 12 * 3600
CSRF_HEADER, CSRF_FIELD = "X-CSRF-Token", "csrf_token"

# Added to every response whose route does not set them: what a browser may do with it.
_DEFAULT_HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
]

log = logging.getLogger(__name__)


class Access:
    """Decides before each request whether it is answered."""

    def __init__(self, settings: Settings) -> None:
        """Check requests against the tokens and host names of `settings`."""
        self._hosts = frozenset({*settings.allowed_hosts, socket.gethostname().lower()})
        self._tokens = _tokens_of(settings)
        if not self.has_tokens:
            log.warning(
                "API_TOKEN is not set: everyone who can reach this server may start, cancel and "
                "delete experiments."
            )

    @property
    def has_tokens(self) -> bool:
        """Whether requests need a token."""
        return self._tokens is not None

    def check(self) -> Response | None:
        """Return the refusal of the current request, or None if it may be answered.

        `g.token` is then the token of the request, if tokens are set.

        Raises:
            TokensError: the token file cannot be used, so no request is answered.
        """
        return self._check_host() or self._check_origin() or self._check_token()

    def sign_in(self, presented: str) -> str | None:
        """Return the value of a session cookie for a token, or None if there is no such token.

        Raises:
            TokensError: the token file cannot be used.
        """
        tokens = self._current()
        token = find(tokens, presented)
        return _serializer(tokens).dumps(tokens.index(token)) if token else None

    def csrf_token(self) -> str:
        """Return what a page must send back as X-CSRF-Token; empty without a session."""
        cookie = request.cookies.get(COOKIE)
        return _csrf_token(self._current(), cookie) if cookie and g.get("token") else ""

    def _check_host(self) -> Response | None:
        header = request.environ.get("HTTP_HOST", "")
        # HTTP/1.0 needs no Host header, and load balancers' health checks send none (HAProxy's
        # httpchk). No browser leaves it out.
        if not header and request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
            return None
        name = host_name(header)
        if name is None:
            return problem(400, "The Host header names no host: send the server's own address.")
        if is_allowed(name, self._hosts):
            return None
        return problem(
            421,
            f"This server is not called {name!r}: use its IP address, or add the name to "
            "ALLOWED_HOSTS.",
        )

    def _check_origin(self) -> Response | None:
        if request.method in SAFE_METHODS:
            return None
        headers = request.headers
        origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
        host, forwarded = headers.get("Host", ""), _forwarded_host(headers, self._hosts)
        if not is_cross_origin(host, origin, site):
            return None
        # Only what is not a browser, or a page of the same origin, can set this header.
        if forwarded and site is None and not is_cross_origin(forwarded, origin, site):
            return None
        return problem(
            403,
            f"A page of another site sent this: its origin is {shown_value(origin)}, and this "
            f"server's address is {shown_value(host)}. Send it from a page of this server, or with "
            "curl. If both are this server behind a proxy, make the proxy pass on the Host header "
            "with its port (nginx: proxy_set_header Host $http_host).",
        )

    def _check_token(self) -> Response | None:
        path = request.environ["PATH_INFO"]  # request.path is /healthz for //healthz too
        if self._tokens is None or path in OPEN_PATHS:
            return None
        # The form of the first holds the token; that of the second is on the page that asks for it.
        if path in (SIGN_IN_PATH, LANGUAGE_PATH) and request.method == "POST":
            return None
        tokens = self._current()
        header = request.headers.get("Authorization")
        if header is not None:
            return _authorize(_bearer_token(tokens, header), 'error="invalid_token"')
        cookie = request.cookies.get(COOKIE, "")
        token = _session_token(tokens, cookie)
        if token is None and _wants_page():
            return sign_in_page(request.full_path.rstrip("?"))
        return _authorize(token) or self._check_csrf(tokens, cookie)

    @staticmethod
    def _check_csrf(tokens: tuple[Token, ...], cookie: str) -> Response | None:
        if request.method in SAFE_METHODS:
            return None
        sent = request.headers.get(CSRF_HEADER)
        if sent is None and request.mimetype == "application/x-www-form-urlencoded":
            sent = request.form.get(CSRF_FIELD)
        if hmac.compare_digest((sent or "").encode(), _csrf_token(tokens, cookie).encode()):
            return None
        return problem(403, f"The session's {CSRF_HEADER} is missing or old: load the page again.")

    def _current(self) -> tuple[Token, ...]:
        return self._tokens() if self._tokens else ()


def register_access(app: APIFlask, settings: Settings) -> None:
    """Make the app check every request, and offer what templates need to know."""
    access = app.extensions["access"] = Access(settings)
    app.before_request(access.check)
    app.context_processor(
        lambda: {
            "csrf_token": access.csrf_token,
            "signs_in": access.has_tokens,
            "may_change": not is_read_only(),
        }
    )


def protected(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return `headers` with the security headers that they lack."""
    present = {name for name, _ in headers}
    return headers + [header for header in _DEFAULT_HEADERS if header[0] not in present]


def access() -> Access:
    """Return the access check of the current app."""
    found: Access = current_app.extensions["access"]
    return found


def sign_in_page(following: str, *, refused: bool = False) -> Response:
    """Return the page that asks for a token (401), and then leads to `following`."""
    inside = following if is_page(following) else HOME
    response = plain_page("login.html", following=inside, refused=refused)
    response.status_code = 401
    response.headers["WWW-Authenticate"] = CHALLENGE
    response.headers["Cache-Control"] = "no-store"
    return response


def plain_page(template: str, **values: Any) -> Response:
    """Return a page made from parts/plain.html, which loads nothing else."""
    nonce = secrets.token_urlsafe(16)
    response = make_response(render_template(template, nonce=nonce, **values))
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    return response


def is_page(address: str) -> bool:
    """Return whether `address` (a path with its query) is a page's, and can stand in a header."""
    return is_page_path(address.partition("?")[0]) and address.isprintable()


def is_page_path(path: str) -> bool:
    """Return whether `path` is that of a page for people, as opposed to the API."""
    return path in ("/ui", "/docs") or path.startswith("/ui/")


def is_read_only() -> bool:
    """Return whether the token of the current request may only read."""
    token: Token | None = g.get("token")
    return bool(token and token.read_only)


def actor() -> str | None:
    """Return the name of the current request's token; None if no tokens are set."""
    token: Token | None = g.get("token")
    return token.name if token else None


def _forwarded_host(headers: Headers, allowed: frozenset[str]) -> str | None:
    """Return the Host header that a proxy received, if it sends it on and the name is ours."""
    forwarded = headers.get("X-Forwarded-Host", "").partition(",")[0].strip()
    name = host_name(forwarded)
    return forwarded if name and is_allowed(name, allowed) else None


def _tokens_of(settings: Settings) -> Callable[[], tuple[Token, ...]] | None:
    if settings.api_token_file:
        return TokenFile(settings.api_token_file).current
    if settings.api_token:
        tokens = parse(settings.api_token)
        return lambda: tokens
    return None


def _bearer_token(tokens: tuple[Token, ...], header: str) -> Token | None:
    """Return the token of an Authorization header (RFC 6750), or None if there is no such token."""
    scheme, _, presented = header.partition(" ")
    return find(tokens, presented.strip()) if scheme.lower() == "bearer" else None


def _session_token(tokens: tuple[Token, ...], cookie: str) -> Token | None:
    """Return the token that a session cookie was made for, or None if the cookie is not valid."""
    try:
        index: int = _serializer(tokens).loads(cookie, max_age=SESSION_SECONDS)
    except BadSignature:
        return None
    return tokens[index]


def _authorize(token: Token | None, error: str = "") -> Response | None:
    """Return the refusal of a request without a token, or with one that may not do this.

    `error` is added to the challenge of a 401 (RFC 6750, 3).
    """
    if token is None:
        refusal = problem(401, "Send a token of this server: Authorization: Bearer TOKEN.")
        refusal.headers["WWW-Authenticate"] = ", ".join(filter(None, (CHALLENGE, error)))
        return refusal
    changes = request.method not in SAFE_METHODS and request.path != SIGN_OUT_PATH
    if token.read_only and changes:
        refusal = problem(403, f"The token {token.name!r} may only read: send another one.")
        refusal.headers["WWW-Authenticate"] = f'{CHALLENGE}, error="insufficient_scope"'
        return refusal
    g.token = token
    return None


def _wants_page() -> bool:
    """Return whether the current request is a browser's, for a page."""
    accepts_html = "text/html" in request.headers.get("Accept", "")
    return request.method in ("GET", "HEAD") and accepts_html and is_page_path(request.path)


def _key(tokens: tuple[Token, ...], purpose: bytes) -> bytes:
    """Derive a key from all tokens: changing one ends every session."""
    return hmac.digest(b"".join(token.digest for token in tokens), purpose, hashlib.sha256)


def _serializer(tokens: tuple[Token, ...]) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(_key(tokens, b"session"), salt="session")


def _csrf_token(tokens: tuple[Token, ...], cookie: str) -> str:
    return hmac.new(_key(tokens, b"csrf"), cookie.encode(), hashlib.sha256).hexdigest()
