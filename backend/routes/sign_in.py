"""Signing in to the dashboard: a token becomes a cookie out of every script's reach."""

import secrets

from apiflask import APIBlueprint
from flask import Response, g, make_response, redirect, render_template, request

from backend.access import (
    COOKIE,
    SESSION_SECONDS,
    SIGN_IN_PATH,
    SIGN_OUT_PATH,
    access,
    is_page_path,
)

HOME = "/ui"

blueprint = APIBlueprint("sign_in", __name__, enable_openapi=False)


@blueprint.get(SIGN_IN_PATH)
def form() -> Response:
    """Ask for a token."""
    return _page(200) if access().has_tokens else _to(HOME)


@blueprint.post(SIGN_IN_PATH)
def sign_in() -> Response:
    """Sign in with `token`, and go on to the page that was asked for first."""
    if not access().has_tokens:
        return _to(HOME)
    session = access().sign_in(request.form.get("token", "").strip())
    if session is None:
        return _page(401)
    response = _to(_inside(request.args.get("next", HOME)))
    response.set_cookie(
        COOKIE,
        session,
        max_age=SESSION_SECONDS,
        secure=request.is_secure,
        httponly=True,
        samesite="Strict",
    )
    return response


@blueprint.post(SIGN_OUT_PATH)
def sign_out() -> Response:
    """Forget the cookie."""
    g.token = None
    response = _to(SIGN_IN_PATH)
    response.delete_cookie(COOKIE, secure=request.is_secure, httponly=True, samesite="Strict")
    return response


def _page(status: int) -> Response:
    nonce = secrets.token_urlsafe(16)
    page = render_template("login.html", nonce=nonce, refused=status != 200)
    response = make_response(page, status)
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    response.headers["Cache-Control"] = "no-store"
    return response


def _to(path: str) -> Response:
    return make_response(redirect(path, 303))


def _inside(path: str) -> str:
    """Keep to our own pages: a link could name any other address."""
    return path if is_page_path(path.partition("?")[0]) else HOME
