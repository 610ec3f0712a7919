import json
import re
from html.parser import HTMLParser
from urllib.parse import quote, unquote

import pytest

from backend.domain.attempt import Diagnosis
from backend.launchers.base import Observation, Phase
from backend.web.routes.pages.dashboard import STATIC_FOLDER
from backend.web.routes.pages.experiments import PAGE_ROWS

HOSTILE = "<script>alert(1)</script>'\"&"
FORM = {"learning_rate": "0.001", "epoch": "20"}


class Page(HTMLParser):
    """Collects the tags and texts of a page."""

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
def get_page(client):
    def get_page(path, status=200):
        response = client.get(path)
        assert response.status_code == status
        assert response.content_type == "text/html; charset=utf-8"
        return Page(response.text)

    return get_page


@pytest.fixture
def end_experiment(services, experiments):
    """Return a function that records an observation as the reconciler does."""

    def end_experiment(experiment_id, phase=Phase.SUCCEEDED, diagnosis=None):
        experiment = experiments.get(experiment_id)
        services.recorder.record(
            experiment, Observation(experiment.uid, phase, diagnosis=diagnosis)
        )

    return end_experiment


def write_metrics(settings, experiment_id, *rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (settings.output_dir / experiment_id / "metrics.jsonl").write_text(text)


def names(page):
    return [field["value"] for field in page.all("input") if field.get("name") == "id"]


def test_empty_list(get_page):
    page = get_page("/ui")

    assert "No experiments yet." in page.texts
    assert names(page) == []


def test_list(get_page, submit, settings):
    submit("one")
    submit("two")
    rows = [{"epoch": 1, "loss": 0.5, "seconds": 1}, {"epoch": 5, "loss": 0.25, "seconds": 1}]
    write_metrics(settings, "one", *rows)
    page = get_page("/ui")

    assert names(page) == ["two", "one"]
    assert "0.25" in page.texts
    assert "5 of 20" in page.texts
    assert [line["points"] for line in page.all("polyline")] == ["2.0,2.0 118.0,26.0"]
    assert page.all("progress")[1] == {"max": "20", "value": "5", "aria-label": "Epochs done"}


def test_filters(get_page, submit, end_experiment):
    submit("Resnet a")
    submit("b")
    end_experiment("b", Phase.RUNNING)

    assert names(get_page("/ui?status=running")) == ["b"]
    assert names(get_page("/ui?q=resNET")) == ["Resnet a"]
    assert names(get_page("/ui?q=")) == ["b", "Resnet a"]
    assert any(text.startswith("No experiment matches") for text in get_page("/ui?q=none").texts)


def test_next_page_link(get_page, store, experiments, submit):
    for number in range(PAGE_ROWS + 2):
        submit(f"run-{number}")
    page = get_page("/ui?q=run")
    (following,) = [link["href"] for link in page.all("a") if link.get("rel") == "next"]

    assert len(names(page)) == PAGE_ROWS
    assert names(get_page(following)) == ["run-1", "run-0"]
    assert not [link for link in get_page(following).all("a") if link.get("rel") == "next"]


@pytest.mark.parametrize(
    "query", ["status=done", "after=x", "after=0", "after=99999999999999999999"]
)
def test_invalid_list_query(get_page, query):
    page = get_page(f"/ui?{query}", 422)

    assert any(text.startswith(query.partition("=")[0]) for text in page.texts)


def test_experiment_page(get_page, submit, settings, end_experiment):
    submit("first", dataset="")
    write_metrics(settings, "first", {"epoch": 20, "loss": 0.125, "note": HOSTILE})
    why = Diagnosis("out_of_memory", "It needed more.", "Give it more.")
    end_experiment("first", Phase.FAILED, why)
    page = get_page("/ui/experiments/first")

    for text in ("first", "failed", "It needed more.", "Give it more.", "0.125", HOSTILE):
        assert text in page.texts
    assert "out of memory" in page.texts
    assert {button.get("data-dialog") for button in page.all("button")} >= {
        "retry-dialog",
        "delete-dialog",
    }
    assert "cancel-dialog" not in {button.get("data-dialog") for button in page.all("button")}


def test_live_experiment_offers_cancel(get_page, submit):
    submit()
    dialogs = {
        button.get("data-dialog") for button in get_page("/ui/experiments/first").all("button")
    }

    assert dialogs - {None} == {"cancel-dialog", "notes-dialog"}


@pytest.mark.parametrize("name", ["실험 1", "a b?c#d%", "x" * 200, "it's & <b>"])
def test_any_id_has_a_page(get_page, submit, name):
    submit(name)
    page = get_page(f"/ui/experiments/{quote(name, safe='')}")

    assert name in page.texts
    links = [
        element["href"]
        for element in get_page("/ui").all("a")
        if "/ui/experiments/" in element["href"]
    ]
    assert [get_page(link) for link in links]
    (curve,) = [element["data-url"] for element in page.all("div") if element.get("id") == "chart"]
    assert unquote(curve) == f"/experiments/{name}/metrics"


def test_foreign_text_is_escaped(client, submit, settings, end_experiment):
    hostile = HOSTILE.replace("/", "")
    submit(hostile)
    submit("other")
    write_metrics(settings, hostile, {"epoch": 1, "loss": 1, HOSTILE: HOSTILE})
    (settings.output_dir / hostile / hostile).touch()
    end_experiment(hostile, Phase.FAILED, Diagnosis(HOSTILE[:64], HOSTILE, HOSTILE))
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
def test_security_headers_no_inline_code(client, submit, path):
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


def test_new_form_defaults(get_page):
    page = get_page("/ui/new")
    values = {field["name"]: field["value"] for field in page.all("input") if "name" in field}

    optional = {"batch_size": "0", "code": "0", "hidden": "0", "seed": "0"}
    assert values == {"experiment_id": "run-1", "learning_rate": "0.001", "epoch": "20"} | {
        "validation_share": "0.1",
        **optional,
    }


def test_new_form_copies_experiment(get_page, submit, settings):
    (settings.input_dir / "a.csv").write_text("1,2\n")
    (settings.input_dir / "b.csv").write_text("1,2\n")
    submit("run-1", learning_rate="0.5", dataset="b.csv")
    submit("run-2")
    for path in ("/ui/new?from=run-1", "/ui/new"):
        page = get_page(path)
        values = {field["name"]: field["value"] for field in page.all("input") if "name" in field}
        assert values["experiment_id"] == "run-3"
    page = get_page("/ui/new?from=run-1")
    values = {field["name"]: field["value"] for field in page.all("input") if "name" in field}

    assert values["learning_rate"] == "0.5"
    chosen = [field for field in page.all("option") if "selected" in field]
    assert len(chosen) == 3  # the model, the priority and the data set
    get_page("/ui/new?from=none", 404)


def test_compare(get_page, submit, settings):
    submit("one")
    submit("two", learning_rate="0.01")
    rows = [{"epoch": 3, "loss": 0.125}, {"epoch": 20, "loss": 0.5}]
    write_metrics(settings, "one", *rows)
    write_metrics(settings, "two", {"epoch": 20, "loss": 0.25})
    page = get_page("/ui/compare?id=one&id=two&id=one")

    assert "Compare 2 experiments" in page.texts
    assert page.all("td").count({"class": "best"}) == 1
    assert page.texts.count("best") == 1
    differing = [cell for cell in page.all("th") if cell.get("class") == "differs"]
    assert len(differing) == 3  # learning rate, best loss and last loss
    shown = [text for text in page.texts if text]
    assert shown[shown.index("best") - 2 :][:3] == ["0.125", "epoch 3", "best"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("id=one", 422),
        ("", 422),
        ("&".join(f"id={n}" for n in range(21)), 422),
        ("id=one&id=x", 404),
    ],
)
def test_invalid_comparison(get_page, submit, query, status):
    submit("one")

    get_page(f"/ui/compare?{query}", status)


def test_refused_comparison_is_explained(get_page, submit):
    page = get_page("/ui/compare?" + "&".join(f"id={n}" for n in range(22)), 422)

    assert "Tick 2 to 20 experiments in the list to compare them; 22 were ticked." in page.texts
    assert "Unprocessable Entity" not in page.texts
    assert "There is nothing here" in get_page("/ui/nothing", 404).texts


def test_error_of_a_form_is_a_page(client, signed_in):
    headers = {"Accept": "text/html", "Sec-Fetch-Site": "cross-site"}
    answer = signed_in.post("/ui/logout", headers=headers)

    assert answer.status_code == 403
    assert answer.content_type == "text/html; charset=utf-8"
    assert client.post("/ui/logout", headers={"Sec-Fetch-Site": "cross-site"}).is_json


def test_warnings_are_shown(client, get_page, submit, settings, end_experiment):
    submit("dead", learning_rate="10")
    submit("fine")
    rows = [{"epoch": epoch, "loss": 1 / epoch, "val_loss": 2} for epoch in range(1, 21)]
    write_metrics(settings, "dead", *rows)
    write_metrics(settings, "fine", *({**row, "val_loss": row["loss"]} for row in rows))
    end_experiment("dead")
    end_experiment("fine")
    sentence = "val_loss has not improved since epoch 1: it was 2, and 2 at epoch 20."
    (warning,) = client.get("/experiments/dead").json["warnings"]
    dead, fine = client.get("/compare?ids=dead,fine").json["experiments"]

    assert warning == {"code": "objective_not_improved", "message": sentence}
    assert (dead["warnings"], fine["warnings"]) == ([warning], [])
    assert client.get("/experiments/fine").json["warnings"] == []
    assert sentence in get_page("/ui/experiments/dead").texts
    for path in ("/ui", "/ui/compare?id=dead&id=fine"):
        titles = [one["title"] for one in get_page(path).all("span") if "title" in one]
        assert titles == [sentence], path


def test_warning_of_a_loss_that_is_not_finite(client, submit, settings, end_experiment):
    submit()
    write_metrics(settings, "first", {"epoch": 1, "loss": 1}, {"epoch": 2, "loss": float("nan")})

    (warning,) = client.get("/experiments/first").json["warnings"]  # of a live experiment, too
    assert warning["code"] == "objective_not_finite"


def test_new_form_proposes_a_free_id(get_page, submit, settings):
    def proposed(experiment_id):
        (field,) = [
            one
            for one in get_page(f"/ui/new?from={experiment_id}").all("input")
            if one.get("name") == "experiment_id"
        ]
        return field["value"]

    submit("lr-0.1", learning_rate="0.1")
    assert proposed("lr-0.1") == "lr-0.1-2"
    submit("lr-0.1-2", learning_rate="0.1")
    (settings.output_dir / "lr-0.1-3").mkdir()
    (settings.output_dir / "lr-0.1-3" / "model.pt").touch()  # a folder that an experiment left
    assert proposed("lr-0.1") == "lr-0.1-4"


def test_proposed_id_is_free_in_a_long_series(client, get_page, submit, monkeypatch):
    monkeypatch.setattr("backend.web.routes.pages.dashboard.MAX_SUGGESTIONS", 3)
    for number in range(1, 6):
        submit(f"run-{number}")
    (field,) = [
        one
        for one in get_page("/ui/new?from=run-1").all("input")
        if one.get("name") == "experiment_id"
    ]

    submit(field["value"])


def test_curl_line_starts_a_new_experiment(client, get_page, submit, signed_in):
    submit()
    page = get_page("/ui/experiments/first")
    (line,) = [text for text in page.texts if text.startswith("curl")]
    assert "experiment_id=first-2" in line
    assert "Authorization" not in line

    form = FORM | {"experiment_id": "guarded"}
    headers = {"X-CSRF-Token": Page(signed_in.get("/ui").text).all("meta")[3]["content"]}
    assert signed_in.post("/test", data=form, headers=headers).status_code == 201
    text = signed_in.get("/ui/experiments/guarded").text
    assert "-H &#34;Authorization: Bearer $TOKEN&#34;" in text


def test_long_ids_have_a_title(get_page, submit):
    long = "아주 긴 이름 " * 12 + "끝"
    submit(long)
    (link,) = [one for one in get_page("/ui").all("a") if one.get("title")]

    assert link["title"] == long


def test_problems_are_pages(client, get_page, store, monkeypatch):
    assert "There is no experiment 'none'." in get_page("/ui/experiments/none", 404).texts

    def broken(**_options):
        raise RuntimeError("a secret")

    monkeypatch.setattr(store, "page", broken)
    assert not [text for text in get_page("/ui", 500).texts if "secret" in text]


def test_static_files_cached_by_content(client):
    urls = re.findall(r'(?:href|src)="(/static/[^"]+)"', client.get("/ui").text)
    urls += re.findall(r'data-module="([^"]+)"', client.get("/ui").text)

    assert len(urls) == 4
    for url in urls:
        response = client.get(url, buffered=True)
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        etag = response.headers["ETag"]
        assert client.get(url, buffered=True, headers={"If-None-Match": etag}).status_code == 304


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "none.js", ""])
def test_other_static_paths_not_found(client, name):
    assert client.get(f"/static/{name}").status_code == 404


def test_scripts_name_no_other_host():
    for path in (*STATIC_FOLDER.glob("*.js"), *STATIC_FOLDER.glob("*.css")):
        urls = set(re.findall(r"https?://[^\s\"'`)]+", path.read_text()))
        assert urls <= {"http://www.w3.org/2000/svg"}
