"""The language of the dashboard: its switch, and the texts of its scripts."""

from functools import cache
from hashlib import sha256
from typing import Any

from apiflask import APIBlueprint
from flask import Response, abort, jsonify, make_response, redirect, request, url_for

from backend.web.access import HOME, LANGUAGE_PATH, is_page
from backend.web.languages.catalogue import ENGLISH, LANGUAGES, catalogue, path_of
from backend.web.languages.current import COOKIE, COOKIE_SECONDS, language
from backend.web.proxies import address

blueprint = APIBlueprint("languages", __name__, enable_openapi=False)


@blueprint.post(LANGUAGE_PATH)
def choose_language() -> Response:
    """Remember the language of the form in a cookie, and redirect to the page `next`."""
    chosen = request.form.get("language")
    if chosen not in LANGUAGES:
        abort(400, f"language must be one of {', '.join(LANGUAGES)}.")
    following = request.args.get("next", HOME)
    response = make_response(redirect(address(following if is_page(following) else HOME), 303))
    response.set_cookie(
        COOKIE,
        chosen,
        max_age=COOKIE_SECONDS,
        path=address("/"),
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",
    )
    return response


@blueprint.get(f"{LANGUAGE_PATH}/<code>.json")
def read_texts(code: str) -> Response:
    """Return the texts of the scripts in a language, by their English."""
    if code not in LANGUAGES:
        abort(404)
    response = jsonify(dict(catalogue(code).scripts))
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response


@blueprint.app_context_processor
def _language_of_page() -> dict[str, Any]:
    code = language()
    return {
        "language": code,
        "other_languages": [(one, name) for one, name in LANGUAGES.items() if one != code],
        "texts_url": _texts_url(code),
        "this_page": request.full_path.rstrip("?"),
    }


def _texts_url(code: str) -> str:
    """Return the address of a language's texts; empty if there are none to be read."""
    if code == ENGLISH:
        return ""
    return url_for("languages.read_texts", code=code, v=_version(code))


@cache
def _version(code: str) -> str:
    return sha256(path_of(code).read_bytes()).hexdigest()[:12]
