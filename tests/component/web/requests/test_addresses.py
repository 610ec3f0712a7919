"""Addresses to listen at, paths with a slash at the end, and requests of HTTP/1.0."""

import socket

import pytest

from backend.addresses import socket_address
from tests.component.support import FORM, check_problem


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/experiments/", "/experiments"),
        ("/experiments/?limit=2&q=a%20b", "/experiments?limit=2&q=a%20b"),
        ("/experiments/%EC%8B%A4%ED%97%98%201/", "/experiments/%EC%8B%A4%ED%97%98%201"),
        ("/experiments/first/logs/", "/experiments/first/logs"),
        ("/experiments/first/files/run.json/", "/experiments/first/files/run.json"),
        ("/inputs/digits.npz/", "/inputs/digits.npz"),
        ("/healthz/", "/healthz"),
        ("/model/", "/model"),
        ("/ui/", "/ui"),
        ("/ui/new/", "/ui/new"),
        ("/docs/", "/docs"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_trailing_slash_redirects(client, method, path, location):
    response = client.open(path, method=method)

    assert (response.status_code, response.location) == (308, location)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/test/"),
        ("POST", "/experiments/"),
        ("POST", "/experiments/first/cancel/"),
        ("DELETE", "/experiments/first/"),
        ("PUT", "/inputs/a.csv/"),
        ("POST", "/ui/login/"),
    ],
)
def test_trailing_slash_keeps_the_method(client, method, path):
    response = client.open(path, method=method, data=b"a,b\n1,2\n")

    assert (response.status_code, response.location) == (308, path[:-1])


def test_form_follows_the_redirect(client):
    response = client.post("/test/", data=FORM, follow_redirects=True)

    assert (response.status_code, response.json["message"]) == (201, "Job Created")


@pytest.mark.parametrize(
    "path", ["/nothing/", "/evil.example/", "/%5Cevil.example/", "/experiments/a/b/c/"]
)
def test_slash_does_not_make_an_address(client, path):
    check_problem(client.get(path), 404)


@pytest.mark.parametrize("path", ["//evil.example/", "///evil.example//", "//healthz//"])
def test_redirect_never_leaves_the_server(client, path):
    response = client.get("/", environ_overrides={"PATH_INFO": path})

    location = response.headers.get("Location", "/")
    assert location.startswith("/")
    assert not location.startswith("//")


def http_1_0(client, path, **environ):
    overrides = {"SERVER_PROTOCOL": "HTTP/1.0", "HTTP_HOST": ""} | environ
    return client.get(path, environ_overrides=overrides)


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/model", "/ui", "/healthz/"])
def test_http_1_0_needs_no_host(client, path):
    assert http_1_0(client, path).status_code in (200, 308)


def test_http_1_0_with_a_foreign_host(client):
    check_problem(http_1_0(client, "/healthz", HTTP_HOST="evil.example"), 421)


def test_http_1_1_needs_a_host(client):
    check_problem(client.get("/healthz", environ_overrides={"HTTP_HOST": ""}), 400)


def test_http_1_0_change_of_another_origin(client):
    response = client.post(
        "/test",
        data=FORM,
        headers={"Origin": "http://evil.example"},
        environ_overrides={"SERVER_PROTOCOL": "HTTP/1.0", "HTTP_HOST": ""},
    )
    check_problem(response, 403)


@pytest.mark.parametrize(
    ("address", "family", "target"),
    [
        ("127.0.0.1:80", socket.AF_INET, ("127.0.0.1", 80)),
        ("0.0.0.0:80", socket.AF_INET, ("0.0.0.0", 80)),
        ("[::1]:80", socket.AF_INET6, ("::1", 80)),
        ("[::]:80", socket.AF_INET6, ("::", 80)),
    ],
)
def test_socket_address(address, family, target):
    assert socket_address(address) == (family, target)
