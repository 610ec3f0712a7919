"""Every address in an answer begins with the path that a proxy shows the server under."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from backend.app import create_app
from tests.component.support import ALICE, FORM

PREFIX = "/train"
BEHIND = {"X-Forwarded-Prefix": PREFIX, "X-Forwarded-Proto": "https"}
HTML = {"Accept": "text/html"}
ADDRESS = re.compile(
    r'(?:href|src|action|data-(?:url|post|patch|suggest|module|matching|curve|then))="([^"]*)"'
)
# Not 404. 308: /inputs/, to which a script adds a name; 405: for a POST; 422: nothing is ticked.
EXPECTED = {200, 308, 405, 422}
DIGITS = Path(__file__).parents[4] / "input" / "digits.npz"
SWEEP = {"sweep_id": "many", "model": "autoencoder", "learning_rate": "0.001..0.1 log"} | {
    "epoch": "3",
    "trials": "2",
}


class Behind:
    """A client behind a proxy that removes the prefix and names it."""

    def __init__(self, client, **headers):
        self._client, self._headers = client, BEHIND | headers

    def __call__(self, method, path, **options):
        headers = self._headers | options.pop("headers", {})
        return self._client.open(path, method=method, headers=headers, **options)


@pytest.fixture
def behind(client, settings):
    shutil.copy(DIGITS, settings.input_dir)
    return Behind(client)


def check_all(text):
    """Check that every address of a page of ours has the prefix, and return them without it."""
    found = [one.replace("&amp;", "&") for one in ADDRESS.findall(text)]
    ours = [one for one in found if one.startswith(("/", "http"))]
    assert ours
    for one in ours:
        assert urlsplit(one).path.startswith(f"{PREFIX}/"), one
    assert f'data-root="{PREFIX}"' in text
    return {urlsplit(one)._replace(scheme="", netloc="").geturl()[len(PREFIX) :] for one in ours}


def test_links_of_all_pages(behind):
    """Follow every link from the list on: each leads somewhere, as the proxy would pass it on."""
    assert behind("POST", "/test", data=FORM).status_code == 201
    assert behind("POST", "/sweeps", data=SWEEP).status_code == 201
    todo, done = ["/ui", "/ui/sweeps", "/ui/inputs", "/ui/sweeps/many", "/docs"], set()
    while todo:
        path = todo.pop(0)
        if path in done or len(done) > 150:
            continue
        done.add(path)
        with behind("GET", path, headers=HTML) as response:
            assert response.status_code in EXPECTED, (path, response.status_code)
            if response.mimetype == "text/html" and path.startswith(("/ui", "/docs")):
                todo += check_all(response.text)
    assert {"/ui/new", "/ui/experiments/first", "/ui/inputs/digits.npz"} <= done


def test_location_and_address_of_what_was_made(behind):
    for path, form in (("/test", FORM), ("/sweeps", SWEEP)):
        response = behind("POST", path, data=form)
        kind, name = ("experiments", "first") if path == "/test" else ("sweeps", "many")
        assert response.location == f"{PREFIX}/{kind}/{name}"
        assert response.json["ui_url"] == f"https://localhost{PREFIX}/ui/{kind}/{name}"
    uploaded = behind("PUT", "/inputs/a.csv", data=b"a,b\n1,2\n")
    assert uploaded.location == f"{PREFIX}/inputs/a.csv"


def test_links_to_the_next_page(behind):
    for name in ("first", "second"):
        behind("POST", "/test", data=FORM | {"experiment_id": name})
        behind("POST", "/sweeps", data=SWEEP | {"sweep_id": f"s {name}"})
    for path in ("/experiments", "/model", "/sweeps"):
        link = behind("GET", path, query_string={"limit": 1}).headers["Link"]
        assert link.startswith(f"<{PREFIX}{path}?limit=1&"), link


def test_redirects(behind):
    assert behind("GET", "/ui/?q=a").location == f"{PREFIX}/ui?q=a"
    assert behind("GET", "/ui/login").location == f"{PREFIX}/ui"


def test_greeting_names_the_ways(behind):
    links = behind("GET", "/").headers["Link"]
    assert re.findall("<([^>]*)>", links) == [
        f"{PREFIX}/{one}" for one in ("ui", "openapi.json", "docs")
    ]


def test_address_of_a_preview(behind):
    found = behind("GET", "/inputs/digits.npz/preview").json
    assert found["images"] == f"{PREFIX}/inputs/digits.npz/preview.png"


def test_openapi_names_the_server(behind, client):
    assert behind("GET", "/openapi.json").json["servers"] == [{"url": f"{PREFIX}/"}]
    assert client.get("/openapi.json").json["servers"] == [{"url": "/"}]


def test_command_of_a_page_has_the_whole_address(behind):
    behind("POST", "/test", data=FORM)
    page = behind("GET", "/ui/experiments/first").text
    assert re.search(f"https://localhost{PREFIX}/(test|experiments)<", page)


def test_session_is_kept_below_the_prefix(protected_app):
    """Another program on the same host never sees the cookie."""
    behind = Behind(protected_app.test_client(use_cookies=False), Accept="text/html")
    asked = behind("GET", "/ui/experiments/a?b=c")
    assert f'action="{PREFIX}/ui/login?next=/ui/experiments/a?b%3Dc"' in asked.text

    response = behind("POST", "/ui/login?next=/ui/experiments/a?b%3Dc", data={"token": ALICE})

    assert response.location == f"{PREFIX}/ui/experiments/a?b=c"
    cookie = response.headers["Set-Cookie"]
    assert {f"Path={PREFIX}/", "Secure", "HttpOnly"} <= set(cookie.split("; "))
    session = cookie.partition(";")[0]
    page = behind("GET", "/ui", headers={"Cookie": session})
    assert page.status_code == 200
    form = {"csrf_token": re.search(r'name="csrf_token" value="(\w+)"', page.text)[1]}
    ended = behind("POST", "/ui/logout", data=form, headers={"Cookie": session})
    assert ended.location == f"{PREFIX}/ui/login"
    assert f"Path={PREFIX}/" in ended.headers["Set-Cookie"]


def test_switch_of_the_language(behind):
    page = behind("GET", "/ui?q=a", headers={"Accept-Language": "ko"})
    assert f'action="{PREFIX}/ui/language?next=/ui?q%3Da"' in page.text
    assert f'data-texts="{PREFIX}/ui/language/ko.json?' in page.text

    response = behind("POST", "/ui/language?next=/ui?q%3Da", data={"language": "ko"})

    assert response.location == f"{PREFIX}/ui?q=a"
    assert f"Path={PREFIX}/" in response.headers["Set-Cookie"].split("; ")


def test_stranger_is_not_believed(client):
    client.environ_base["REMOTE_ADDR"] = "192.0.2.1"
    response = client.post("/test", data=FORM, headers=BEHIND)
    assert response.location == "/experiments/first"
    assert response.json["ui_url"] == "http://localhost/ui/experiments/first"


def test_prefix_left_in_the_path(settings, launcher, migrated_sqlite):
    """The same server answers with and without the prefix, each with its own addresses."""
    settings.data_dir.mkdir()
    shutil.copy(migrated_sqlite, settings.sqlite_path)
    app = create_app(replace(settings, script_name=PREFIX), launcher)
    client = app.test_client()

    assert client.get("/train").text == client.get("/").text == "Hello Flask!"
    assert client.post("/train/test", data=FORM).location == f"{PREFIX}/experiments/first"
    assert client.post("/test", data=FORM).location == "/experiments/first"
    assert client.get("/healthz").status_code == 200
    assert client.get("/train/ui/").location == f"{PREFIX}/ui"
    check_all(client.get("/train/ui", headers=HTML).text)
    app.extensions["services"].close()


def test_prefix_does_not_open_paths(protected_app):
    client = protected_app.test_client()
    assert client.get("/model", headers={"X-Forwarded-Prefix": "/healthz"}).status_code == 401
    assert client.get("/model", headers={"X-Forwarded-Prefix": "/ui"}).status_code == 401
