"""Who may ask for what: hosts, other sites' pages, tokens, sessions."""

import html
import re
from dataclasses import replace

import pytest

from backend import access
from backend.app import make_app
from backend.launchers.base import Observation, Phase

FORM = {"learning_rate": "0.001", "epoch": "20", "experiment_id": "first"}
OPEN = {"/", "/healthz", "/readyz"}
BROWSER = {"Accept": "text/html,*/*;q=0.8"}
ALICE, BOB = "alice-s-own-token", "bob-only-reads"
CHANGES = [
    ("POST", "/test"),
    ("POST", "/experiments"),
    ("POST", "/experiments/first/cancel"),
    ("POST", "/experiments/first/retry"),
    ("DELETE", "/experiments/first"),
    ("PUT", "/nothing"),
    ("PATCH", "/nothing"),
]


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"alice:{ALICE}\nro:bob:{BOB}\n")
    return path


@pytest.fixture
def guarded(settings, launcher, token_file):
    """The app with tokens set."""
    settings.data_dir.mkdir(exist_ok=True)
    app = make_app(replace(settings, api_token_file=token_file), launcher)
    yield app
    app.extensions["experiments"].close()


@pytest.fixture
def guest(guarded):
    return guarded.test_client()


@pytest.fixture
def browser(guarded):
    """A browser that is signed in as alice."""
    client = guarded.test_client()
    assert client.post("/ui/login", data={"token": ALICE}).status_code == 303
    return client


def check_problem(response, status):
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    assert response.json["detail"]


def requests_of(app):
    """Give every method and address that the app answers."""
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", "healthz", rule.rule)
        for method in sorted(rule.methods):
            yield method, path


# Hosts, and pages of other sites: with tokens or without.


@pytest.mark.parametrize("path", ["/", "/model", "/healthz", "/nothing"])
@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:31112"])
def test_another_host_is_refused(client, path, host):
    response = client.get(path, headers={"Host": host})

    check_problem(response, 421)
    assert "ALLOWED_HOSTS" in response.json["detail"]


def test_a_host_that_is_none_is_refused(client):
    check_problem(client.get("/", headers={"Host": "a/b"}), 400)


@pytest.mark.parametrize("host", ["10.1.2.3:31112", "[::1]", "node-7", "localhost", "a.b.svc"])
def test_the_servers_own_names(client, host):
    assert client.get("/model", headers={"Host": host}).status_code == 200


def test_further_names(settings, launcher):
    settings.data_dir.mkdir()
    app = make_app(replace(settings, allowed_hosts=frozenset({"train.example.com"})), launcher)

    assert app.test_client().get("/", headers={"Host": "train.example.com"}).status_code == 200
    app.extensions["experiments"].close()


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
    ],
)
def test_a_page_of_another_site_changes_nothing(client, launcher, method, path, headers):
    client.post("/test", data=FORM)
    response = client.open(path, method=method, data=FORM | {"experiment_id": "b"}, headers=headers)

    check_problem(response, 403)
    assert launcher.submissions == 1
    assert client.get("/experiments/first").json["cancel_requested_at"] is None


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "http://localhost"}, {"Origin": "http://localhost", "Sec-Fetch-Site": "none"}],
)
def test_curl_and_our_own_pages_may(client, headers):
    assert client.post("/test", data=FORM, headers=headers).status_code == 201


def test_no_other_site_may_read(client):
    response = client.get("/model", headers={"Origin": "http://evil.example"})
    preflight = client.options(
        "/test", headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    )

    for headers in (response.headers, preflight.headers):
        assert not [name for name in headers.keys() if name.startswith("Access-Control")]  # noqa: SIM118
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_no_answer_can_be_a_page(client):
    for path in ("/", "/model", "/openapi.json", "/nothing"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


# Tokens.


def test_every_route_but_three_needs_a_token(guest, guarded):
    asked = list(requests_of(guarded))
    assert len(asked) > 20
    for method, path in asked:
        response = guest.open(path, method=method, headers={"Accept": "text/html"})
        if path in OPEN:
            assert response.status_code in (200, 405), (method, path)
        else:
            assert response.status_code == 401, (method, path)
            assert response.headers["WWW-Authenticate"].startswith("Bearer ")


@pytest.mark.parametrize(
    "path",
    [
        "/experiments/healthz",
        "/experiments/readyz",
        "/healthz/",
        "//healthz",
        "/healthz/..%2fmodel",
        "/model/../healthz",
        "/model;/healthz",
        "/model?/healthz",
        "/model%3f/healthz",
        "/HEALTHZ",
        "/nothing",
        "/ui/login/",
        "/ui/logout",
    ],
)
def test_an_ending_opens_nothing(guest, path):
    assert guest.get(path, headers={"Accept": "*/*"}).status_code == 401


def test_a_run_named_healthz_opens_nothing(guest):
    form = FORM | {"experiment_id": "healthz"}
    assert guest.post("/test", data=form, headers=bearer(ALICE)).status_code == 201

    for path in ("/experiments/healthz", "/experiments/healthz/logs"):
        assert guest.get(path).status_code == 401
    assert guest.delete("/experiments/healthz").status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {ALICE}x",
        f"Bearer {ALICE.upper()}",
        f"Bearer alice:{ALICE}",
        f"Basic {ALICE}",
        ALICE,
        f"Bearer {ALICE}, Bearer {ALICE}",
        "Bearer \xff",
    ],
)
def test_a_wrong_token(guest, browser, header):
    for client in (guest, browser):  # nor does a cookie stand in for it
        response = client.get("/model", headers={"Authorization": header})
        check_problem(response, 401)
        assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_token(guest, scheme):
    assert guest.get("/model", headers={"Authorization": f"{scheme} {ALICE}"}).status_code == 200
    assert guest.post("/test", data=FORM, headers=bearer(ALICE)).status_code == 201


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_a_read_only_token_changes_nothing(guest, launcher, method, path):
    response = guest.open(path, method=method, data=FORM, headers=bearer(BOB))

    check_problem(response, 403)
    assert "'bob'" in response.json["detail"]
    assert not launcher.jobs
    assert guest.get("/model", headers=bearer(BOB)).status_code == 200


def test_tokens_are_rotated_without_a_restart(guest, browser, token_file):
    token_file.write_text("alice:a-new-one\n")

    assert guest.get("/model", headers=bearer(ALICE)).status_code == 401
    assert guest.get("/model", headers=bearer("a-new-one")).status_code == 200
    assert browser.get("/model").status_code == 401


def test_a_lost_file_of_tokens_lets_nobody_in(guest, browser, token_file):
    token_file.unlink()

    for client in (guest, browser):
        response = client.get("/model", headers={} if client is browser else bearer(ALICE))
        check_problem(response, 503)
        assert str(token_file) not in response.text
    check_problem(guest.post("/ui/login", data={"token": ALICE}), 503)
    assert guest.get("/healthz").status_code == 200


def test_tokens_in_the_environment(settings, launcher):
    settings.data_dir.mkdir()
    app = make_app(replace(settings, api_token="one\nro:two"), launcher)
    client = app.test_client()

    assert client.get("/model").status_code == 401
    assert client.post("/test", data=FORM, headers=bearer("two")).status_code == 403
    assert client.post("/test", data=FORM, headers=bearer("one")).status_code == 201
    app.extensions["experiments"].close()


def test_without_tokens_the_server_says_so_once(settings, launcher, caplog):
    settings.data_dir.mkdir()
    app = make_app(settings, launcher)
    for _ in range(3):
        assert app.test_client().get("/model").status_code == 200
    app.extensions["experiments"].close()

    assert [record for record in caplog.records if "API_TOKEN is not set" in record.message] == [
        caplog.records[0]
    ]


def test_the_history_names_who_made_a_change(guest, guarded, caplog):
    experiments = guarded.extensions["experiments"]
    alice = bearer(ALICE)

    def history():
        shown = guest.get("/experiments/first", headers=bearer(BOB)).json["history"]
        return [(one["to_status"], one["by"]) for one in shown]

    guest.post("/test", data=FORM, headers=alice)
    assert history() == [("submitting", "alice"), ("queued", None)]

    guest.post("/experiments/first/cancel", headers=alice)
    seen = experiments.get("first")
    experiments.recorder.record(seen, Observation(seen.uid, Phase.RUNNING))
    experiments.recorder.record_gone(experiments.get("first"))
    guest.post("/experiments/first/retry", headers=alice)
    assert history()[2:] == [
        ("running", None),
        ("cancelled", "alice"),
        ("submitting", "alice"),
        ("queued", None),
    ]

    seen = experiments.get("first")
    experiments.recorder.record(seen, Observation(seen.uid, Phase.CANCELLED))
    assert history()[-1] == ("cancelled", None)  # nobody asked for that one
    with caplog.at_level("INFO"):
        guest.delete("/experiments/first", headers=alice)
    assert "'first' is forgotten, outputs=False, by alice" in caplog.text


def test_no_log_holds_a_token(guest, browser, caplog):
    caplog.set_level("DEBUG")
    guest.get("/model", headers=bearer(ALICE))
    guest.get("/model", headers=bearer("a-wrong-token"))
    guest.post("/ui/login", data={"token": "a-wrong-token"})

    assert ALICE not in caplog.text
    assert "a-wrong-token" not in caplog.text


# Sessions.


def csrf(browser, guarded):
    """Read what a page would hold in `<meta name="csrf-token">`."""
    cookie = browser.get_cookie(access.COOKIE).value
    headers = {"Cookie": f"{access.COOKIE}={cookie}"}
    with guarded.test_request_context("/model", headers=headers):
        guarded.preprocess_request()
        return guarded.jinja_env.from_string("{{ csrf_token() }}").render(
            csrf_token=guarded.extensions["access"].csrf_token
        )


def test_signing_in(guest):
    page = guest.get("/ui/login", headers=BROWSER)
    assert page.status_code == 401
    assert "<form" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"

    answer = guest.post("/ui/login", data={"token": ALICE})
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/ui"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Path=/" in cookie
    assert "Secure" not in cookie
    assert ALICE not in cookie
    assert guest.get("/model").status_code == 200


def test_a_cookie_given_by_https_comes_back_by_https_alone(guest):
    answer = guest.post("/ui/login", data={"token": ALICE}, base_url="https://localhost")

    assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("token", ["", "wrong", f"alice:{ALICE}"])
def test_signing_in_with_a_wrong_token(guest, token):
    answer = guest.post("/ui/login", data={"token": token})

    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers
    assert guest.get("/model").status_code == 401


def test_another_site_signs_nobody_in(guest):
    headers = {"Origin": "http://evil.example"}

    check_problem(guest.post("/ui/login", data={"token": ALICE}, headers=headers), 403)


def test_a_page_leads_to_the_sign_in_and_back(guest):
    page = guest.get("/ui/experiments/a%2Fb?x=1&y=2", headers=BROWSER)
    assert page.status_code == 401
    action = html.unescape(re.search('action="(.*?)"', page.text)[1])
    refused = guest.post(action, data={"token": "wrong"})
    assert action in html.unescape(refused.text)
    back = guest.post(action, data={"token": ALICE})

    assert back.headers["Location"] == "/ui/experiments/a/b?x=1&y=2"


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/uievil", "/\\evil.example", "ui", ""]
)
def test_the_sign_in_leads_nowhere_else(guest, path):
    answer = guest.post("/ui/login", query_string={"next": path}, data={"token": ALICE})

    assert answer.headers["Location"] == "/ui"


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize("headers", [{}, {"X-CSRF-Token": "wrong"}, {"X-CSRF-Token": ""}])
def test_a_session_changes_nothing_without_the_pages_own_token(
    browser, launcher, method, path, headers
):
    check_problem(browser.open(path, method=method, data=FORM, headers=headers), 403)
    assert not launcher.jobs


def test_a_session_changes_with_the_pages_own_token(browser, guarded):
    headers = {"X-CSRF-Token": csrf(browser, guarded)}

    assert browser.post("/test", data=FORM, headers=headers).status_code == 201
    assert browser.get("/experiments/first").json["history"][0]["by"] == "alice"


def test_a_csrf_token_is_of_one_session(browser, guarded):
    other = guarded.test_client()
    other.post("/ui/login", data={"token": BOB})
    headers = {"X-CSRF-Token": csrf(other, guarded)}

    check_problem(browser.post("/test", data=FORM, headers=headers), 403)


def test_a_read_only_session(guarded, launcher):
    browser = guarded.test_client()
    browser.post("/ui/login", data={"token": BOB})
    headers = {"X-CSRF-Token": csrf(browser, guarded)}

    assert browser.get("/model").status_code == 200
    check_problem(browser.post("/test", data=FORM, headers=headers), 403)
    assert browser.post("/ui/logout", headers=headers).status_code == 303
    assert not launcher.jobs


def test_signing_out(browser, guarded):
    assert browser.post("/ui/logout").status_code == 403
    answer = browser.post("/ui/logout", data={"csrf_token": csrf(browser, guarded)})

    assert answer.headers["Location"] == "/ui/login"
    assert browser.get_cookie(access.COOKIE) is None


@pytest.mark.parametrize("change", [lambda text: text[:-1], lambda text: "x" + text, lambda _: "0"])
def test_a_forged_cookie(guarded, browser, change):
    cookie = browser.get_cookie(access.COOKIE).value
    forger = guarded.test_client()
    forger.set_cookie(access.COOKIE, change(cookie))

    assert forger.get("/model").status_code == 401


def test_a_session_ends(browser, monkeypatch):
    monkeypatch.setattr(access, "SESSION_SECONDS", -1)

    assert browser.get("/model").status_code == 401


def test_without_tokens_nobody_signs_in(client):
    assert client.get("/ui/login").headers["Location"] == "/ui"
    assert "Set-Cookie" not in client.post("/ui/login", data={"token": "x"}).headers
