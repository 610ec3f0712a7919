import json
import re
from html.parser import HTMLParser
from urllib.parse import quote, unquote

import pytest

from backend.domain.attempt import Diagnosis
from backend.launchers.base import Observation, Phase
from backend.web.routes.dashboard import PAGE_ROWS, STATIC_FOLDER

HOSTILE = "<script>alert(1)</script>'\"&"
FORM = {"learning_rate": "0.001", "epoch": "20"}


class Page(HTMLParser):
    """Gathers what a page is made of."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data.strip())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def submit(client):
    def submit(experiment_id="first", **fields):
        form = FORM | {"experiment_id": experiment_id} | fields
        assert client.post("/test", data=form).status_code == 201

    return submit


@pytest.fixture
def get(client):
    def get(path, status=200):
        response = client.get(path)
        assert response.status_code == status
        assert response.content_type == "text/html; charset=utf-8"
        return Page(response.text)

    return get


@pytest.fixture
def end(services, experiments):
    """End a run as the reconciler does."""

    def end(experiment_id, phase=Phase.SUCCEEDED, diagnosis=None):
        one = experiments.get(experiment_id)
        services.recorder.record(one, Observation(one.uid, phase, diagnosis=diagnosis))

    return end


def write_metrics(settings, experiment_id, *rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (settings.output_dir / experiment_id / "metrics.jsonl").write_text(text)


def names(page):
    return [one["value"] for one in page.all("input") if one.get("name") == "id"]


def test_an_empty_list(get):
    page = get("/ui")

    assert "No experiments yet." in page.texts
    assert names(page) == []


def test_the_list(get, submit, settings):
    submit("one")
    submit("two")
    rows = [{"epoch": 1, "loss": 0.5, "seconds": 1}, {"epoch": 5, "loss": 0.25, "seconds": 1}]
    write_metrics(settings, "one", *rows)
    page = get("/ui")

    assert names(page) == ["two", "one"]
    assert "0.25" in page.texts
    assert "5 of 20" in page.texts
    assert [one["points"] for one in page.all("polyline")] == ["2.0,2.0 118.0,26.0"]
    assert page.all("progress")[1] == {"max": "20", "value": "5", "aria-label": "Epochs done"}


def test_filters(get, submit, end):
    submit("Resnet a")
    submit("b")
    end("b", Phase.RUNNING)

    assert names(get("/ui?status=running")) == ["b"]
    assert names(get("/ui?q=resNET")) == ["Resnet a"]
    assert names(get("/ui?q=")) == ["b", "Resnet a"]
    assert any(text.startswith("No experiment matches") for text in get("/ui?q=none").texts)


def test_pages_follow_the_link(get, store, experiments, submit):
    for number in range(PAGE_ROWS + 2):
        submit(f"run-{number}")
    page = get("/ui?q=run")
    (following,) = [one["href"] for one in page.all("a") if one.get("rel") == "next"]

    assert len(names(page)) == PAGE_ROWS
    assert names(get(following)) == ["run-1", "run-0"]
    assert not [one for one in get(following).all("a") if one.get("rel") == "next"]


@pytest.mark.parametrize(
    "query", ["status=done", "after=x", "after=0", "after=99999999999999999999"]
)
def test_a_list_that_cannot_be_shown(get, query):
    page = get(f"/ui?{query}", 422)

    assert any(text.startswith(query.partition("=")[0]) for text in page.texts)


def test_a_run(get, submit, settings, end):
    submit("first", dataset="")
    write_metrics(settings, "first", {"epoch": 20, "loss": 0.125, "note": HOSTILE})
    why = Diagnosis("out_of_memory", "It needed more.", "Give it more.")
    end("first", Phase.FAILED, why)
    page = get("/ui/experiments/first")

    for text in ("first", "failed", "It needed more.", "Give it more.", "0.125", HOSTILE):
        assert text in page.texts
    assert "out of memory" in page.texts
    assert {one.get("data-dialog") for one in page.all("button")} >= {
        "retry-dialog",
        "delete-dialog",
    }
    assert "cancel-dialog" not in {one.get("data-dialog") for one in page.all("button")}


def test_a_live_run_can_be_cancelled_only(get, submit):
    submit()
    dialogs = {one.get("data-dialog") for one in get("/ui/experiments/first").all("button")}

    assert dialogs - {None} == {"cancel-dialog"}


@pytest.mark.parametrize("name", ["실험 1", "a b?c#d%", "x" * 200, "it's & <b>"])
def test_any_id_has_a_page(get, submit, name):
    submit(name)
    page = get(f"/ui/experiments/{quote(name, safe='')}")

    assert name in page.texts
    links = [one["href"] for one in get("/ui").all("a") if "experiments" in one["href"]]
    assert [get(link) for link in links]
    (curve,) = [one["data-url"] for one in page.all("div") if one.get("id") == "chart"]
    assert unquote(curve) == f"/experiments/{name}/metrics"


def test_nothing_of_others_is_markup(client, submit, settings, end):
    hostile = HOSTILE.replace("/", "")
    submit(hostile)
    submit("other")
    write_metrics(settings, hostile, {"epoch": 1, "loss": 1, HOSTILE: HOSTILE})
    (settings.output_dir / hostile / hostile).touch()
    end(hostile, Phase.FAILED, Diagnosis(HOSTILE[:64], HOSTILE, HOSTILE))
    for path in (
        "/ui",
        f"/ui?q={quote(hostile)}",
        f"/ui?status={quote(hostile)}",
        f"/ui/experiments/{quote(hostile)}",
        f"/ui/new?from={quote(hostile)}",
        f"/ui/compare?id=other&id={quote(hostile)}",
        f"/ui/experiments/{quote('no ' + hostile)}",
    ):
        text = client.get(path).text
        assert "alert(1)" not in text or "&lt;script&gt;alert(1)" in text
        assert "<script>alert" not in text


@pytest.mark.parametrize("path", ["/ui", "/ui/new", "/ui/experiments/first", "/ui/none"])
def test_headers_and_nothing_inline(client, submit, path):
    submit()
    response = client.get(path)
    page = Page(response.text)

    assert response.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "same-origin"
    assert response.headers["Cache-Control"] == "no-store"
    assert page.all("style") == []
    for tag, attributes in page.tags:
        assert tag != "script" or "src" in attributes
        assert not {name for name in attributes if name == "style" or name.startswith("on")}
        for name in ("src", "href", "action"):
            assert attributes.get(name, "/").startswith(("/", "#", "http://localhost/")), attributes


def test_new_run_begins_with_usual_values(get):
    page = get("/ui/new")
    values = {one["name"]: one["value"] for one in page.all("input") if "name" in one}

    assert values == {"experiment_id": "run-1", "learning_rate": "0.001", "epoch": "20"}


def test_new_run_takes_the_values_of_another(get, submit, settings):
    (settings.input_dir / "a.npz").touch()
    (settings.input_dir / "b.npz").touch()
    submit("run-1", learning_rate="0.5", dataset="b.npz")
    submit("run-2")
    for path in ("/ui/new?from=run-1", "/ui/new"):
        page = get(path)
        values = {one["name"]: one["value"] for one in page.all("input") if "name" in one}
        assert values["experiment_id"] == "run-3"
    page = get("/ui/new?from=run-1")
    values = {one["name"]: one["value"] for one in page.all("input") if "name" in one}

    assert values["learning_rate"] == "0.5"
    assert [one for one in page.all("option") if "selected" in one] == [{"selected": None}]
    get("/ui/new?from=none", 404)


def test_compare(get, submit, settings):
    submit("one")
    submit("two", learning_rate="0.01")
    write_metrics(settings, "one", {"epoch": 20, "loss": 0.5})
    write_metrics(settings, "two", {"epoch": 20, "loss": 0.25})
    page = get("/ui/compare?id=one&id=two&id=one")

    assert "Compare 2 experiments" in page.texts
    assert page.all("td").count({"class": "best"}) == 1
    assert page.texts.count("best") == 1
    differing = [one for one in page.all("tr") if one.get("class") == "differs"]
    assert len(differing) == 2  # learning rate and loss


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("id=one", 422),
        ("", 422),
        ("&".join(f"id={n}" for n in range(9)), 422),
        ("id=one&id=x", 404),
    ],
)
def test_what_cannot_be_compared(get, submit, query, status):
    submit("one")

    get(f"/ui/compare?{query}", status)


def test_problems_are_pages(client, get, store, monkeypatch):
    assert "There is no experiment 'none'." in get("/ui/experiments/none", 404).texts

    def broken(**_options):
        raise RuntimeError("a secret")

    monkeypatch.setattr(store, "page", broken)
    assert not [text for text in get("/ui", 500).texts if "secret" in text]


def test_static_files_are_kept_by_their_content(client):
    urls = re.findall(r'(?:href|src)="(/static/[^"]+)"', client.get("/ui").text)
    urls += re.findall(r'data-module="([^"]+)"', client.get("/ui").text)

    assert len(urls) == 3
    for url in urls:
        response = client.get(url, buffered=True)
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        etag = response.headers["ETag"]
        assert client.get(url, buffered=True, headers={"If-None-Match": etag}).status_code == 304


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "none.js", ""])
def test_nothing_but_static_files(client, name):
    assert client.get(f"/static/{name}").status_code == 404


def test_scripts_name_no_other_host():
    for path in (*STATIC_FOLDER.glob("*.js"), *STATIC_FOLDER.glob("*.css")):
        found = set(re.findall(r"https?://[^\s\"'`)]+", path.read_text()))
        assert found <= {"http://www.w3.org/2000/svg"}
