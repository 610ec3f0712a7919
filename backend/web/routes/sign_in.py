"""Signing in to the dashboard: a token becomes a cookie out of every script's reach."""

from apiflask import APIBlueprint
from flask import Response, g, make_response, redirect, request

from backend.web.access import (
    COOKIE,
    HOME,
    SESSION_SECONDS,
    SIGN_IN_PATH,
    SIGN_OUT_PATH,
    access,
    is_page_path,
    sign_in_page,
)

blueprint = APIBlueprint("sign_in", __name__, enable_openapi=False)


@blueprint.get(SIGN_IN_PATH)
def form() -> Response:
    """Go on: who is not signed in is asked for a token before any page."""
    return _to(HOME)


@blueprint.post(SIGN_IN_PATH)
def sign_in() -> Response:
    """Sign in with `token`, and go on to the page that was asked for first."""
    if not access().has_tokens:
        return _to(HOME)
    session = access().sign_in(request.form.get("token", "").strip())
    following = request.args.get("next", HOME)
    if session is None:
        return sign_in_page(following, refused=True)
    response = _to(following if is_page_path(following.partition("?")[0]) else HOME)
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


def _to(path: str) -> Response:
    return make_response(redirect(path, 303))
