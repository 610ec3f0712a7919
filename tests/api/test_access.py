"""Who may ask for what: hosts, other sites' pages, tokens."""

import re
from dataclasses import replace

import pytest

from backend.app import create_app
from backend.launchers.base import Observation, Phase
from tests.api.kit import ALICE, BOB, CHANGES, FORM, bearer, check_problem

OPEN = {"/", "/healthz", "/readyz"}


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
    app = create_app(replace(settings, allowed_hosts=frozenset({"train.example.com"})), launcher)

    assert app.test_client().get("/", headers={"Host": "train.example.com"}).status_code == 200
    app.extensions["services"].close()


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


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost"])
def test_no_other_site_may_read(client, guest, origin):
    asked = {"Origin": origin, "Access-Control-Request-Method": "DELETE"}
    answers = [
        one.open(path, method=method, headers=asked | {"Authorization": "Bearer wrong"})
        for one in (client, guest)
        for method in ("GET", "HEAD", "OPTIONS", "POST", "DELETE")
        for path in ("/", "/model", "/test", "/experiments/first", "/nothing", "/ui")
    ]

    assert len({one.status_code for one in answers}) > 4  # refusals too
    for one in answers:
        assert not [name for name in one.headers.keys() if name.startswith("Access-Control")]  # noqa: SIM118
    assert answers[0].headers["Cross-Origin-Resource-Policy"] == "same-origin"


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
        f"Bearer {ALICE}\u00a0".encode().decode("latin-1"),
        f"Bearer\t{ALICE}",
        f"Bearer {ALICE[:-1]}",
        f"Bearer {ALICE}\u0085".encode().decode("latin-1"),
        "Bearer alice",
        "Bearer token",
    ],
)
def test_a_wrong_token(guest, browser, header):
    for client in (guest, browser):  # nor does a cookie stand in for it
        response = client.get("/model", headers={"Authorization": header})
        check_problem(response, 401)
        assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
        assert ALICE[:-1] not in response.text  # it may be almost right


@pytest.mark.parametrize("name", ["token", "access_token", "api_token", "key", "Authorization"])
def test_an_address_holds_no_token(guest, name):
    """It would stand in logs and histories (RFC 6750, 5.3)."""
    check_problem(guest.get("/model", query_string={name: ALICE}), 401)
    check_problem(guest.get("/model", query_string={name: f"Bearer {ALICE}"}), 401)
    check_problem(guest.post("/test", data=FORM | {name: ALICE}), 401)
    assert guest.post("/ui/login", query_string={name: ALICE}).status_code == 401


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "get"])
def test_no_method_goes_without_a_token(guest, method):
    for path in ("/model", "/nothing", "/inputs", "/static/dashboard.js"):
        assert guest.open(path, method=method).status_code == 401


@pytest.mark.parametrize(
    "header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-Method"]
)
def test_no_header_makes_another_request_of_one(guest, header):
    """What looks like reading must not delete, nor what is open lead elsewhere."""
    alice = bearer(ALICE)
    guest.post("/test", data=FORM, headers=alice)
    path, form = "/experiments/first", {"_method": "DELETE"}
    for method in ("DELETE", "POST"):
        asked = alice | {header: method}
        assert guest.get(path, headers=asked, query_string=form).json["experiment_id"] == "first"
        assert guest.post(path, headers=asked, data=form).status_code == 405
    for name in ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Script-Name"):
        assert guest.get("/", headers={name: "/model"}).text == "Hello Flask!"
        assert guest.get("/model", headers={name: "/healthz"}).status_code == 401


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
    app = create_app(replace(settings, api_token="one\nro:two"), launcher)
    client = app.test_client()

    assert client.get("/model").status_code == 401
    assert client.post("/test", data=FORM, headers=bearer("two")).status_code == 403
    assert client.post("/test", data=FORM, headers=bearer("one")).status_code == 201
    app.extensions["services"].close()


def test_without_tokens_the_server_says_so_once(settings, launcher, caplog):
    settings.data_dir.mkdir()
    app = create_app(settings, launcher)
    for _ in range(3):
        assert app.test_client().get("/model").status_code == 200
    app.extensions["services"].close()

    assert [record for record in caplog.records if "API_TOKEN is not set" in record.message] == [
        caplog.records[0]
    ]


def test_the_history_names_who_made_a_change(services, guest, guarded, caplog):
    experiments = guarded.extensions["services"].experiments
    alice = bearer(ALICE)

    def history():
        shown = guest.get("/experiments/first", headers=bearer(BOB)).json["history"]
        return [(one["to_status"], one["by"]) for one in shown]

    guest.post("/test", data=FORM, headers=alice)
    assert history() == [("submitting", "alice"), ("queued", None)]

    guest.post("/experiments/first/cancel", headers=alice)
    seen = experiments.get("first")
    services.recorder.record(seen, Observation(seen.uid, Phase.RUNNING))
    services.recorder.record_gone(experiments.get("first"))
    guest.post("/experiments/first/retry", headers=alice)
    assert history()[2:] == [
        ("running", None),
        ("cancelled", "alice"),
        ("submitting", "alice"),
        ("queued", None),
    ]

    seen = experiments.get("first")
    services.recorder.record(seen, Observation(seen.uid, Phase.CANCELLED))
    assert history()[-1] == ("cancelled", None)  # nobody asked for that one
    with caplog.at_level("INFO"):
        guest.delete("/experiments/first", headers=alice)
    assert "'first' is deleted, outputs=False, by alice" in caplog.text


def test_no_log_holds_a_token(guest, browser, caplog):
    caplog.set_level("DEBUG")
    guest.get("/model", headers=bearer(ALICE))
    guest.get("/model", headers=bearer("a-wrong-token"))
    guest.post("/ui/login", data={"token": "a-wrong-token"})

    assert ALICE not in caplog.text
    assert "a-wrong-token" not in caplog.text
