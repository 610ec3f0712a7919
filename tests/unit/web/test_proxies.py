"""Where the server stands in a client's address: what proxies say, and which are believed."""

import pytest

from backend.addresses import is_network, is_path_prefix
from backend.web.proxies import Mount

PROXY = "10.42.0.7"


def applied(path="/ui", script_name="", trusted=("10.42.0.0/16",), remote=PROXY, **headers):
    """Return scheme, SCRIPT_NAME and PATH_INFO of a request after the mount is applied."""
    environ = {"PATH_INFO": path, "REMOTE_ADDR": remote, "wsgi.url_scheme": "http"} | headers
    Mount(trusted, script_name).apply(environ)
    return environ["wsgi.url_scheme"], environ.get("SCRIPT_NAME", ""), environ["PATH_INFO"]


def prefix(text):
    return {"HTTP_X_FORWARDED_PREFIX": text}


@pytest.mark.parametrize("sent", ["/train", "/train/"])
def test_prefix_of_a_trusted_proxy(sent):
    assert applied(**prefix(sent)) == ("http", "/train", "/ui")
    assert applied(path="/", **prefix(sent)) == ("http", "/train", "/")


@pytest.mark.parametrize("remote", ["10.43.0.1", "192.0.2.1", "::1", "", "unix:"])
def test_others_are_not_believed(remote):
    headers = prefix("/train") | {"HTTP_X_FORWARDED_PROTO": "https"}
    assert applied(remote=remote, **headers) == ("http", "", "/ui")


def test_address_of_both_families_is_found():
    assert applied(remote=f"::ffff:{PROXY}", **prefix("/train"))[1] == "/train"
    assert applied(remote="fd00::7", trusted=("fd00::/8",), **prefix("/train"))[1] == "/train"


@pytest.mark.parametrize(
    "sent",
    [
        *("", "/", "//evil.example", "train", "/a/../b", "/.", "/..", "/a//b", "/a b", "/a, /b"),
        *(
            "/a\r\nX: y",
            "/%2e%2e",
            "/a?b",
            "/a#b",
            '/"><script>',
            "/기차",
            "/a\\b",
            f"/{'a' * 200}",
        ),
    ],
)
def test_what_is_no_prefix_is_ignored(sent):
    assert not is_path_prefix(sent)
    assert applied(**prefix(sent)) == ("http", "", "/ui")


@pytest.mark.parametrize(
    ("sent", "scheme"),
    [("https", "https"), ("http", "http"), ("HTTPS", "http"), ("javascript", "http")],
)
def test_scheme_of_a_trusted_proxy(sent, scheme):
    assert applied(HTTP_X_FORWARDED_PROTO=sent) == (scheme, "", "/ui")


@pytest.mark.parametrize(
    ("path", "script_name", "left"),
    [
        ("/train/ui", "/train", "/ui"),
        ("/train", "/train", "/"),
        ("/train/", "/train", "/"),
        ("/healthz", "", "/healthz"),  # the kubelet asks without the proxy
        ("/trainer", "", "/trainer"),
        ("/train/train/x", "/train", "/train/x"),
    ],
)
def test_prefix_that_a_proxy_leaves_in_the_path(path, script_name, left):
    assert applied(path, script_name="/train") == ("http", script_name, left)


def test_prefixes_of_two_proxies_are_joined():
    assert applied("/b/ui", script_name="/b", **prefix("/a")) == ("http", "/a/b", "/ui")


def test_networks():
    assert all(map(is_network, ["127.0.0.1", "::1", "10.42.0.0/16", "fd00::/8"]))
    assert not any(map(is_network, ["", "proxy.example.com", "10.42.0.1/16", "*"]))
