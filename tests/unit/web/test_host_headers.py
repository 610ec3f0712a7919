import pytest

from backend.web.host_headers import host_name, is_allowed, is_cross_origin

OWN = frozenset({"train.example.com", ".lab.example"})


@pytest.mark.parametrize(
    "header",
    [
        "10.0.0.5:31112",
        "10.0.0.5",
        "[::1]:5000",
        "[fe80::1]",
        "localhost:31112",
        "LOCALHOST",
        "localhost.",
        "app.localhost",
        "hello-flask",
        "node-7:31112",
        "hello-flask.default.svc",
        "hello-flask.default.svc.cluster.local:80",
        "train.example.com:443",
        "TRAIN.example.com.",
        "a.lab.example",
        "a.b.lab.example",
    ],
)
def test_own_names(header):
    assert is_allowed(host_name(header), OWN)


@pytest.mark.parametrize(
    "header",
    [
        "evil.example",
        "evil.example:31112",
        "10.0.0.5.evil.example",
        "localhost.evil.example",
        "svc.evil.example",
        "evilsvc.cluster.local.example",
        "xtrain.example.com",
        "lab.example",
        "evillab.example",
        "train.example.com.evil.example",
        "evilsvc.cluster.local",
        "a.evillocalhost",
        "127.1",
        "10.0.0.5.nip.io",
    ],
)
def test_foreign_names(header):
    assert not is_allowed(host_name(header), OWN)


@pytest.mark.parametrize(
    "header",
    [
        "",
        ":80",
        ".",
        "a b",
        "a/b",
        "a@b",
        "user@localhost",
        "localhost:x",
        "a,b",
        "[::1",
        "é",
        "a\0",
    ],
)
def test_malformed_host(header):
    assert host_name(header) is None


@pytest.mark.parametrize(
    ("origin", "site", "foreign"),
    [
        (None, None, False),
        ("http://node:31112", None, False),
        ("HTTP://NODE:31112", None, False),
        ("http://node:31112", "same-origin", False),
        (None, "none", False),
        ("http://node:1", None, True),
        ("http://node", None, True),
        ("https://node:31112", "cross-site", True),
        ("http://evil.example", None, True),
        ("http://evil.example", "cross-site", True),
        ("http://evil.example", "same-site", True),
        (None, "cross-site", True),
        (None, "", True),
        ("null", None, True),
        ("", None, True),
        ("http://node:31112.evil.example", None, True),
        ("http://[", None, True),
        ("file://node:31112", None, True),
    ],
)
def test_foreign_origins(origin, site, foreign):
    assert is_cross_origin("node:31112", origin, site) is foreign


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("train.example.com", "https://train.example.com"),
        ("train.example.com:443", "https://train.example.com"),
        ("train.example.com:80", "http://train.example.com"),
    ],
)
def test_default_port_may_be_omitted(host, origin):
    assert not is_cross_origin(host, origin, None)
