"""Sign-in exchanges a token for a session cookie; what a session may do."""

import html
import re

import pytest

from backend.web import access
from tests.component.support import ALICE, BOB, BROWSER, CHANGES, FORM, check_problem


def csrf(signed_in, protected_app):
    """Return the CSRF token that a page of this session contains."""
    cookie = signed_in.get_cookie(access.COOKIE).value
    headers = {"Cookie": f"{access.COOKIE}={cookie}"}
    with protected_app.test_request_context("/model", headers=headers):
        protected_app.preprocess_request()
        return protected_app.jinja_env.from_string("{{ csrf_token() }}").render(
            csrf_token=protected_app.extensions["access"].csrf_token
        )


def test_sign_in(anonymous):
    page = anonymous.get("/ui/login", headers=BROWSER)
    assert page.status_code == 401
    assert "<form" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"

    answer = anonymous.post("/ui/login", data={"token": ALICE})
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/ui"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Path=/" in cookie
    assert "Secure" not in cookie
    assert ALICE not in cookie
    assert anonymous.get("/model").status_code == 200


def test_cookie_over_https_is_secure(anonymous):
    answer = anonymous.post("/ui/login", data={"token": ALICE}, base_url="https://localhost")

    assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("token", ["", "wrong", f"alice:{ALICE}"])
def test_sign_in_with_wrong_token(anonymous, token):
    answer = anonymous.post("/ui/login", data={"token": token})

    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers
    assert anonymous.get("/model").status_code == 401


def test_cross_site_sign_in_refused(anonymous):
    headers = {"Origin": "http://evil.example"}

    check_problem(anonymous.post("/ui/login", data={"token": ALICE}, headers=headers), 403)


def test_sign_in_returns_to_page(anonymous):
    page = anonymous.get("/ui/experiments/a%2Fb?x=1&y=2", headers=BROWSER)
    assert page.status_code == 401
    action = html.unescape(re.search('action="(.*?)"', page.text)[1])
    refused = anonymous.post(action, data={"token": "wrong"})
    assert action in html.unescape(refused.text)
    back = anonymous.post(action, data={"token": ALICE})

    assert back.headers["Location"] == "/ui/experiments/a/b?x=1&y=2"


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "https://evil.example",
        "/uievil",
        "/\\evil.example",
        "ui",
        "",
        "/ui@evil.example",
        "/ui.evil.example",
        "\t//evil.example",
        " /ui/",
        "javascript:alert(1)//ui/",
        "/model",
    ],
)
def test_no_open_redirect(anonymous, path):
    answer = anonymous.post("/ui/login", query_string={"next": path}, data={"token": ALICE})

    assert answer.headers["Location"] == "/ui"


@pytest.mark.parametrize("path", ["/ui/\r\nSet-Cookie: a=b", "/ui?q=\n", "/ui/\0", "/ui/\u2028"])
@pytest.mark.parametrize("token", [ALICE, "wrong"])
def test_line_break_in_next(anonymous, path, token):
    answer = anonymous.post("/ui/login", query_string={"next": path}, data={"token": token})

    check_problem(answer, 400, "next must be the path of a page")
    assert "Set-Cookie" not in answer.headers


def test_line_break_in_the_address_of_a_page(anonymous):
    """The sign-in page leads to the list instead: its own `next` is always accepted."""
    page = anonymous.get("/ui/%0d%0aa", headers={"Accept": "text/html"})

    assert page.status_code == 401
    assert 'action="/ui/login?next=/ui"' in page.text


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize("headers", [{}, {"X-CSRF-Token": "wrong"}, {"X-CSRF-Token": ""}])
def test_change_needs_csrf_token(signed_in, launcher, method, path, headers):
    check_problem(signed_in.open(path, method=method, data=FORM, headers=headers), 403)
    assert not launcher.jobs


def test_change_with_csrf_token(signed_in, protected_app):
    headers = {"X-CSRF-Token": csrf(signed_in, protected_app)}

    assert signed_in.post("/test", data=FORM, headers=headers).status_code == 201
    assert signed_in.get("/experiments/first").json["history"][0]["by"] == "alice"


def test_csrf_token_of_other_session(signed_in, protected_app):
    other = protected_app.test_client()
    other.post("/ui/login", data={"token": BOB})
    headers = {"X-CSRF-Token": csrf(other, protected_app)}

    check_problem(signed_in.post("/test", data=FORM, headers=headers), 403)


def test_read_only_session(protected_app, launcher):
    signed_in = protected_app.test_client()
    signed_in.post("/ui/login", data={"token": BOB})
    headers = {"X-CSRF-Token": csrf(signed_in, protected_app)}

    assert signed_in.get("/model").status_code == 200
    check_problem(signed_in.post("/test", data=FORM, headers=headers), 403)
    page = signed_in.get("/ui/new", headers=BROWSER)
    assert (page.status_code, page.mimetype) == (403, "text/html")
    assert "<form id" not in page.text
    assert signed_in.post("/ui/logout", headers=headers).status_code == 303
    assert not launcher.jobs


def test_sign_out(signed_in, protected_app):
    assert signed_in.post("/ui/logout").status_code == 403
    answer = signed_in.post("/ui/logout", data={"csrf_token": csrf(signed_in, protected_app)})

    assert answer.headers["Location"] == "/ui/login"
    assert signed_in.get_cookie(access.COOKIE) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: "x" + text,
        lambda text: "MQ" + text[text.index(".") :],  # another token's number
        lambda text: text.partition(".")[0],
        lambda text: text.rpartition(".")[0] + ".",
        lambda _: "0",
        lambda _: "",
        lambda _: "x" * 4000,
    ],
)
def test_forged_cookie_refused(protected_app, signed_in, change):
    cookie = signed_in.get_cookie(access.COOKIE).value
    forger = protected_app.test_client()
    forger.set_cookie(access.COOKIE, change(cookie))

    assert forger.get("/model").status_code == 401


def test_no_session_fixation(protected_app, signed_in):
    """A cookie planted before a person signs in does not share the session."""
    planted = protected_app.test_client()
    planted.set_cookie(access.COOKIE, "planted")
    planted.post("/ui/login", data={"token": BOB})

    assert planted.get_cookie(access.COOKIE).value not in (
        "planted",
        signed_in.get_cookie(access.COOKIE).value,
    )
    assert planted.post("/test", data=FORM).status_code == 403


def test_session_expires(signed_in, monkeypatch):
    monkeypatch.setattr(access, "SESSION_SECONDS", -1)

    assert signed_in.get("/model").status_code == 401


def test_sign_in_without_tokens(client):
    assert client.get("/ui/login").headers["Location"] == "/ui"
    assert "Set-Cookie" not in client.post("/ui/login", data={"token": "x"}).headers
