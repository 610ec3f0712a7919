"""Who may ask for what: the right Host, no other site's page, a token where tokens are set."""

import hashlib
import hmac
import logging
import secrets
import socket
from collections.abc import Callable

from apiflask import APIFlask
from flask import Request, Response, current_app, g, make_response, render_template, request
from itsdangerous import BadSignature, URLSafeTimedSerializer

from backend.settings import Settings
from backend.tokens import Token, TokenFile, find, parse
from backend.web.errors import problem
from backend.web.host_headers import host_name, is_allowed, is_foreign

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110, 9.2.1
OPEN_PATHS = frozenset({"/", "/healthz", "/readyz"})
HOME, SIGN_IN_PATH = "/ui", "/ui/login"
SIGN_OUT_PATH = "/ui/logout"  # changes nothing of anybody else's
COOKIE = "hello_flask_session"
CHALLENGE = 'Bearer realm="hello-flask"'  # RFC 6750, 3
SESSION_SECONDS = 12 * 3600
CSRF_HEADER, CSRF_FIELD = "X-CSRF-Token", "csrf_token"

# What an answer is to a browser unless its route says otherwise: no page, and nobody else's.
_HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
]

log = logging.getLogger(__name__)


class Access:
    """Decides before each request whether it may go on."""

    def __init__(self, settings: Settings) -> None:
        """Read who may; a file of tokens is looked at again at every request."""
        self._hosts = frozenset({*settings.allowed_hosts, socket.gethostname().lower()})
        self._tokens = _tokens_of(settings)
        if not self.has_tokens:
            log.warning(
                "API_TOKEN is not set: everyone who reaches this server may start, cancel and "
                "delete runs."
            )

    @property
    def has_tokens(self) -> bool:
        """Tell whether requests need a token."""
        return self._tokens is not None

    def check(self) -> Response | None:
        """Refuse the request that is at hand, or let it go on with `g.token` set.

        Returns:
            The refusal, or None.

        Raises:
            TokensError: the file of tokens cannot be used; nobody is let in.
        """
        # The proxy `request` takes 2 us at each look.
        asked: Request = request._get_current_object()  # type: ignore[attr-defined]
        return self._wrong_host(asked) or self._other_site(asked) or self._no_token(asked)

    def sign_in(self, presented: str) -> str | None:
        """Give the value of a session cookie for a token, or None if nobody has that token.

        Raises:
            TokensError: the file of tokens cannot be used.
        """
        tokens = self._current()
        token = find(tokens, presented)
        return _serializer(tokens).dumps(tokens.index(token)) if token else None

    def csrf_token(self) -> str:
        """Give what a page of ours sends back as X-CSRF-Token; empty without a session."""
        cookie = request.cookies.get(COOKIE)
        return _csrf_token(self._current(), cookie) if cookie and g.get("token") else ""

    def _wrong_host(self, asked: Request) -> Response | None:
        header = asked.environ.get("HTTP_HOST", "")
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

    def _other_site(self, asked: Request) -> Response | None:
        if asked.method in SAFE_METHODS:
            return None
        headers = asked.headers
        origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
        if not is_foreign(headers["Host"], origin, site):
            return None
        return problem(
            403, "A page of another site sent this: send it from a page of this server, or curl."
        )

    def _no_token(self, asked: Request) -> Response | None:
        path = asked.environ["PATH_INFO"]  # its path would take //healthz for /healthz
        if self._tokens is None or path in OPEN_PATHS:
            return None
        if path == SIGN_IN_PATH and asked.method == "POST":  # it brings its token in the form
            return None
        tokens = self._current()
        presented = asked.headers.get("Authorization")
        if presented is not None:
            return _judge(_bearer(tokens, presented), 'error="invalid_token"')
        cookie = asked.cookies.get(COOKIE, "")
        token = _signed_in(tokens, cookie)
        if token is None and _is_page(asked):
            return sign_in_page(asked.full_path.rstrip("?"))
        return _judge(token) or self._forged(tokens, cookie)

    @staticmethod
    def _forged(tokens: tuple[Token, ...], cookie: str) -> Response | None:
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
    """Let nobody past who may not, and tell browsers how little each answer may do."""
    access = app.extensions["access"] = Access(settings)
    app.before_request(access.check)
    app.context_processor(lambda: {"csrf_token": access.csrf_token, "signs_in": access.has_tokens})


def protected(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Add to an answer's headers how little a browser may do with it, unless its route says it."""
    said = {name for name, _ in headers}
    return headers + [header for header in _HEADERS if header[0] not in said]


def access() -> Access:
    """Give the running app's."""
    found: Access = current_app.extensions["access"]
    return found


def sign_in_page(following: str, *, refused: bool = False) -> Response:
    """Ask a person for a token, who then gets to the page `following`; 401."""
    nonce = secrets.token_urlsafe(16)
    inside = following if is_page_path(following.partition("?")[0]) else HOME
    page = render_template("login.html", nonce=nonce, following=inside, refused=refused)
    response = make_response(page, 401)
    response.headers["WWW-Authenticate"] = CHALLENGE
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    response.headers["Cache-Control"] = "no-store"
    return response


def is_page_path(path: str) -> bool:
    """Tell whether a page for people lies there."""
    return path in ("/ui", "/docs") or path.startswith("/ui/")


def actor() -> str | None:
    """Name the token that the request at hand was let in with; None where no tokens are set."""
    token: Token | None = g.get("token")
    return token.name if token else None


def _tokens_of(settings: Settings) -> Callable[[], tuple[Token, ...]] | None:
    if settings.api_token_file:
        return TokenFile(settings.api_token_file).current
    if settings.api_token:
        tokens = parse(settings.api_token)
        return lambda: tokens
    return None


def _bearer(tokens: tuple[Token, ...], header: str) -> Token | None:
    """Find the token of an Authorization header, RFC 6750."""
    scheme, _, presented = header.partition(" ")
    return find(tokens, presented.strip()) if scheme.lower() == "bearer" else None


def _signed_in(tokens: tuple[Token, ...], cookie: str) -> Token | None:
    try:
        index: int = _serializer(tokens).loads(cookie, max_age=SESSION_SECONDS)
    except BadSignature:
        return None
    return tokens[index]


def _judge(token: Token | None, error: str = "") -> Response | None:
    """Refuse what a token is missing for; without a token, say how to send one (RFC 6750, 3)."""
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


def _is_page(asked: Request) -> bool:
    """Tell whether a person looks at a page."""
    shown = asked.method in ("GET", "HEAD") and "text/html" in asked.headers.get("Accept", "")
    return shown and is_page_path(asked.path)


def _key(tokens: tuple[Token, ...], purpose: bytes) -> bytes:
    """Derive a key from all tokens: whoever changes one signs everybody out."""
    return hmac.digest(b"".join(token.digest for token in tokens), purpose, hashlib.sha256)


def _serializer(tokens: tuple[Token, ...]) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(_key(tokens, b"session"), salt="session")


def _csrf_token(tokens: tuple[Token, ...], cookie: str) -> str:
    return hmac.new(_key(tokens, b"csrf"), cookie.encode(), hashlib.sha256).hexdigest()
