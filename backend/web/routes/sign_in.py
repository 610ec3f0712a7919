"""Signing in to the dashboard: a token is exchanged for a cookie that scripts cannot read."""

from apiflask import APIBlueprint
from flask import Response, abort, g, make_response, redirect, request

from backend.web.access import (
    COOKIE,
    HOME,
    SESSION_SECONDS,
    SIGN_IN_PATH,
    SIGN_OUT_PATH,
    access,
    is_page,
    is_page_path,
    sign_in_page,
)
from backend.web.proxies import address

blueprint = APIBlueprint("sign_in", __name__, enable_openapi=False)


@blueprint.get(SIGN_IN_PATH)
def form() -> Response:
    """Redirect to the dashboard, which asks for a token if there is no session."""
    return _to(HOME)


@blueprint.post(SIGN_IN_PATH)
def sign_in() -> Response:
    """Sign in with the form field `token`, and redirect to the page `next`."""
    if not access().has_tokens:
        return _to(HOME)
    following = request.args.get("next", HOME)
    if is_page_path(following.partition("?")[0]) and not following.isprintable():
        abort(400, "next must be the path of a page, without line breaks or control characters.")
    session = access().sign_in(request.form.get("token", "").strip())
    if session is None:
        return sign_in_page(following, refused=True)
    response = _to(following if is_page(following) else HOME)
    response.set_cookie(
        COOKIE,
        session,
        max_age=SESSION_SECONDS,
        path=address("/"),
        secure=request.is_secure,
        httponly=True,
        samesite="Strict",
    )
    return response


@blueprint.post(SIGN_OUT_PATH)
def sign_out() -> Response:
    """Delete the cookie, and redirect to the sign-in page."""
    g.token = None
    response = _to(SIGN_IN_PATH)
    response.delete_cookie(
        COOKIE, path=address("/"), secure=request.is_secure, httponly=True, samesite="Strict"
    )
    return response


def _to(path: str) -> Response:
    return make_response(redirect(address(path), 303))
