"""The language of the current request, and texts in it."""

from functools import lru_cache

from apiflask import APIFlask
from flask import Response, g, has_request_context, request
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from backend.web.languages.catalogue import ENGLISH, LANGUAGES, catalogue

COOKIE = "hello_flask_language"
COOKIE_SECONDS = 365 * 24 * 3600
MAX_REMEMBERED = 500  # characters of a sentence that is remembered


def language() -> str:
    """Return the language of the current request: that of its cookie, or of Accept-Language.

    It is English where there is no request, or none of these names a language that we have.
    """
    if not has_request_context():
        return ENGLISH
    found: str | None = g.get("language")
    if found is None:
        found = g.language = asked_for(
            request.cookies.get(COOKIE), request.headers.get("Accept-Language")
        )
    return found


def asked_for(chosen: str | None, accepted: str | None) -> str:
    """Return the language that a request asks for.

    Args:
        chosen: the value of its cookie, which comes first.
        accepted: the value of its Accept-Language (RFC 9110, 12.5.4).
    """
    if chosen in LANGUAGES:
        return str(chosen)
    wanted = parse_accept_header(accepted, LanguageAccept)
    return wanted.best_match(LANGUAGES, ENGLISH) or ENGLISH


def gettext(text: str) -> str:
    """Return a text of a page in the language of the current request."""
    code = language()
    return text if code == ENGLISH else catalogue(code).texts.get(text, text)


def marked(text: str) -> str:
    """Return `text` as it is: a text of the catalogue, which `gettext` is given later."""
    return text


def ngettext(singular: str, plural: str, number: int) -> str:
    """Return the text for a number in the language of the current request."""
    code = language()
    forms = () if code == ENGLISH else catalogue(code).plurals.get(singular, ())
    return forms[0] if forms else singular if number == 1 else plural  # Korean has one form


def translated(sentence: str) -> str:
    """Return a sentence of an error, a diagnosis or a warning in the current language."""
    return translated_to(language(), sentence)


def translated_to(code: str, sentence: str) -> str:
    """Return a sentence of an error, a diagnosis or a warning in the language of that code."""
    if code == ENGLISH or not sentence:
        return sentence
    if len(sentence) > MAX_REMEMBERED:
        return catalogue(code).sentences.translated(sentence)
    return _remembered(code, sentence)


@lru_cache(maxsize=256)
def _remembered(code: str, sentence: str) -> str:
    return catalogue(code).sentences.translated(sentence)


def register_languages(app: APIFlask) -> None:
    """Offer what templates need, and name in Vary what a response in a language depends on."""
    app.jinja_env.install_gettext_callables(  # type: ignore[attr-defined]
        gettext, ngettext, newstyle=True
    )
    app.add_template_filter(translated)
    app.after_request(_add_vary)


def _add_vary(response: Response) -> Response:
    if "language" in g:
        response.vary.update(("Accept-Language", "Cookie"))
    return response
