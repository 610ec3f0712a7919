"""Access: Host headers, cross-site requests and tokens."""

import re
from dataclasses import replace

import pytest

from backend.app import create_app
from backend.launchers.base import Observation, Phase
from backend.web.access import LANGUAGE_PATH
from tests.component.support import ALICE, BOB, CHANGES, FORM, bearer, check_problem

OPEN = {"/", "/healthz", "/readyz"}


def every_request(app):
    """Yield every method and path of the app's routes."""
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", "healthz", rule.rule)
        for method in sorted(rule.methods):
            yield method, path


# Host headers and cross-site requests, with or without tokens.


@pytest.mark.parametrize("path", ["/", "/model", "/healthz", "/nothing"])
@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:31112"])
def test_foreign_host_is_misdirected(client, path, host):
    response = client.get(path, headers={"Host": host})

    check_problem(response, 421)
    assert "ALLOWED_HOSTS" in response.json["detail"]


def test_malformed_host_refused(client):
    check_problem(client.get("/", headers={"Host": "a/b"}), 400)


@pytest.mark.parametrize("host", ["10.1.2.3:31112", "[::1]", "node-7", "localhost", "a.b.svc"])
def test_own_host_names_allowed(client, host):
    assert client.get("/model", headers={"Host": host}).status_code == 200


def test_allowed_hosts_setting(settings, launcher):
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
def test_cross_site_change_refused(client, launcher, method, path, headers):
    client.post("/test", data=FORM)
    response = client.open(path, method=method, data=FORM | {"experiment_id": "b"}, headers=headers)

    check_problem(response, 403)
    assert launcher.submissions == 1
    assert client.get("/experiments/first").json["cancel_requested_at"] is None


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "http://localhost"}, {"Origin": "http://localhost", "Sec-Fetch-Site": "none"}],
)
def test_same_site_change_allowed(client, headers):
    assert client.post("/test", data=FORM, headers=headers).status_code == 201


PROXIED = {"Host": "127.0.0.1:31112", "Origin": "http://gpu1:8080"}  # nginx: proxy_pass alone


@pytest.mark.parametrize("host", ["127.0.0.1:31112", "gpu1", "gpu1:31112"])
def test_proxy_that_changes_the_host(client, host):
    """Without Sec-Fetch-Site, which browsers send over https only, the remedy is named."""
    response = client.post("/test", data=FORM, headers=PROXIED | {"Host": host})

    check_problem(response, 403, "'http://gpu1:8080'", f"'{host}'", "Host $http_host")


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin"},
        {"X-Forwarded-Host": "gpu1:8080"},
        {"X-Forwarded-Host": "gpu1:8080, inner"},
        {"Host": "gpu1:8080"},
    ],
)
def test_page_behind_a_proxy(client, headers):
    assert client.post("/test", data=FORM, headers=PROXIED | headers).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example", "X-Forwarded-Host": "evil.example"},  # DNS rebinding
        {"Origin": "http://evil.example", "X-Forwarded-Host": "gpu1:8080"},
        {"X-Forwarded-Host": "gpu1"},
        {"X-Forwarded-Host": "gpu1:9999"},
        {"X-Forwarded-Host": "gpu1:8080", "Sec-Fetch-Site": "cross-site"},
        {"X-Forwarded-Host": "gpu1:8080", "Sec-Fetch-Site": "same-site"},
        {"Origin": "null", "X-Forwarded-Host": "gpu1:8080"},
    ],
)
def test_other_site_behind_a_proxy(client, launcher, headers):
    check_problem(client.post("/test", data=FORM, headers=PROXIED | headers), 403)
    assert not launcher.jobs


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost"])
def test_no_cors_headers(client, anonymous, origin):
    headers = {"Origin": origin, "Access-Control-Request-Method": "DELETE"}
    answers = [
        requester.open(path, method=method, headers=headers | {"Authorization": "Bearer wrong"})
        for requester in (client, anonymous)
        for method in ("GET", "HEAD", "OPTIONS", "POST", "DELETE")
        for path in ("/", "/model", "/test", "/experiments/first", "/nothing", "/ui")
    ]

    assert len({answer.status_code for answer in answers}) > 4  # including refusals
    for answer in answers:
        assert not [name for name in answer.headers.keys() if name.startswith("Access-Control")]  # noqa: SIM118
    assert answers[0].headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_answers_are_never_pages(client):
    for path in ("/", "/model", "/openapi.json", "/nothing"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


# Tokens.


def test_every_route_needs_a_token(anonymous, protected_app):
    requests = list(every_request(protected_app))
    assert len(requests) > 20
    for method, path in requests:
        response = anonymous.open(path, method=method, headers={"Accept": "text/html"})
        if path in OPEN:
            assert response.status_code in (200, 405), (method, path)
        elif (method, path) == ("POST", LANGUAGE_PATH):  # sets a cookie of the caller's, no more
            assert response.status_code == 400
        else:
            assert response.status_code == 401, (method, path)
            assert response.headers["WWW-Authenticate"].startswith("Bearer ")


@pytest.mark.parametrize(
    "path",
    [
        "/experiments/reconciling/healthz",
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
def test_open_path_matched_whole(anonymous, path):
    assert anonymous.get(path, headers={"Accept": "*/*"}).status_code == 401


def test_experiment_named_healthz(anonymous):
    form = FORM | {"experiment_id": "healthz"}
    assert anonymous.post("/test", data=form, headers=bearer(ALICE)).status_code == 201

    for path in ("/experiments/reconciling/healthz", "/experiments/reconciling/healthz/logs"):
        assert anonymous.get(path).status_code == 401
    assert anonymous.delete("/experiments/reconciling/healthz").status_code == 401


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
def test_wrong_token_refused(anonymous, signed_in, header):
    for client in (anonymous, signed_in):  # a valid cookie does not replace it
        response = client.get("/model", headers={"Authorization": header})
        check_problem(response, 401)
        assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
        assert ALICE[:-1] not in response.text  # the answer must not echo an almost correct token


@pytest.mark.parametrize("name", ["token", "access_token", "api_token", "key", "Authorization"])
def test_token_in_query_refused(anonymous, name):
    """A URL would end up in logs and histories (RFC 6750, 5.3)."""
    check_problem(anonymous.get("/model", query_string={name: ALICE}), 401)
    check_problem(anonymous.get("/model", query_string={name: f"Bearer {ALICE}"}), 401)
    check_problem(anonymous.post("/test", data=FORM | {name: ALICE}), 401)
    assert anonymous.post("/ui/login", query_string={name: ALICE}).status_code == 401


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "get"])
def test_every_method_needs_a_token(anonymous, method):
    for path in ("/model", "/nothing", "/inputs", "/static/dashboard.js"):
        assert anonymous.open(path, method=method).status_code == 401


@pytest.mark.parametrize(
    "header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-Method"]
)
def test_override_headers_ignored(anonymous, header):
    """A read must not become a delete, nor an open path lead elsewhere."""
    alice = bearer(ALICE)
    anonymous.post("/test", data=FORM, headers=alice)
    path, form = "/experiments/first", {"_method": "DELETE"}
    for method in ("DELETE", "POST"):
        headers = alice | {header: method}
        assert (
            anonymous.get(path, headers=headers, query_string=form).json["experiment_id"] == "first"
        )
        assert anonymous.post(path, headers=headers, data=form).status_code == 405
    for name in ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Script-Name"):
        assert anonymous.get("/", headers={name: "/model"}).text == "Hello Flask!"
        assert anonymous.get("/model", headers={name: "/healthz"}).status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_valid_token_accepted(anonymous, scheme):
    assert (
        anonymous.get("/model", headers={"Authorization": f"{scheme} {ALICE}"}).status_code == 200
    )
    assert anonymous.post("/test", data=FORM, headers=bearer(ALICE)).status_code == 201


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_read_only_token_cannot_change(anonymous, launcher, method, path):
    response = anonymous.open(path, method=method, data=FORM, headers=bearer(BOB))

    check_problem(response, 403)
    assert "'bob'" in response.json["detail"]
    assert not launcher.jobs
    assert anonymous.get("/model", headers=bearer(BOB)).status_code == 200


def test_tokens_rotate_without_restart(anonymous, signed_in, token_file):
    token_file.write_text("alice:a-new-one\n")

    assert anonymous.get("/model", headers=bearer(ALICE)).status_code == 401
    assert anonymous.get("/model", headers=bearer("a-new-one")).status_code == 200
    assert signed_in.get("/model").status_code == 401


def test_lost_token_file_locks_out(anonymous, signed_in, token_file):
    token_file.unlink()

    for client in (anonymous, signed_in):
        response = client.get("/model", headers={} if client is signed_in else bearer(ALICE))
        check_problem(response, 503)
        assert str(token_file) not in response.text
    check_problem(anonymous.post("/ui/login", data={"token": ALICE}), 503)
    assert anonymous.get("/healthz").status_code == 200


def test_tokens_from_environment(settings, launcher):
    settings.data_dir.mkdir()
    app = create_app(replace(settings, api_token="one\nro:two"), launcher)
    client = app.test_client()

    assert client.get("/model").status_code == 401
    assert client.post("/test", data=FORM, headers=bearer("two")).status_code == 403
    assert client.post("/test", data=FORM, headers=bearer("one")).status_code == 201
    app.extensions["services"].close()


def test_no_tokens_logged_once(settings, launcher, caplog):
    settings.data_dir.mkdir()
    app = create_app(settings, launcher)
    for _ in range(3):
        assert app.test_client().get("/model").status_code == 200
    app.extensions["services"].close()

    assert [record for record in caplog.records if "API_TOKEN is not set" in record.message] == [
        caplog.records[0]
    ]


def test_history_names_the_actor(services, anonymous, protected_app, caplog):
    experiments = protected_app.extensions["services"].experiments
    alice = bearer(ALICE)

    def history():
        shown = anonymous.get("/experiments/first", headers=bearer(BOB)).json["history"]
        return [(transition["to_status"], transition["by"]) for transition in shown]

    anonymous.post("/test", data=FORM, headers=alice)
    assert history() == [("submitting", "alice"), ("queued", None)]

    anonymous.post("/experiments/first/cancel", headers=alice)
    experiment = experiments.get("first")
    services.recorder.record(experiment, Observation(experiment.uid, Phase.RUNNING))
    services.recorder.record_gone(experiments.get("first"))
    anonymous.post("/experiments/first/retry", headers=alice)
    assert history()[2:] == [
        ("running", None),
        ("cancelled", "alice"),
        ("submitting", "alice"),
        ("queued", None),
    ]

    experiment = experiments.get("first")
    services.recorder.record(experiment, Observation(experiment.uid, Phase.CANCELLED))
    assert history()[-1] == ("cancelled", None)  # not requested by anyone
    with caplog.at_level("INFO"):
        anonymous.delete("/experiments/first", headers=alice)
    assert "'first' is deleted, outputs=False, by alice" in caplog.text


def test_tokens_never_logged(anonymous, signed_in, caplog):
    caplog.set_level("DEBUG")
    anonymous.get("/model", headers=bearer(ALICE))
    anonymous.get("/model", headers=bearer("a-wrong-token"))
    anonymous.post("/ui/login", data={"token": "a-wrong-token"})

    assert ALICE not in caplog.text
    assert "a-wrong-token" not in caplog.text
