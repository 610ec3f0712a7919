import re

import pytest

from backend import __version__
from backend.domain.attempt import Diagnosis
from backend.launchers.base import Observation, Phase
from tests.component.support import FORM, check_problem

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def submit(client, experiment_id="first", **fields):
    form = {"learning_rate": "0.001", "epoch": "20", "experiment_id": experiment_id} | fields
    assert client.post("/test", data=form).status_code == 201


def test_hello(client):
    response = client.get("/")

    assert response.text == "Hello Flask!"
    assert response.content_type == "text/plain; charset=utf-8"


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    "accept", ["*/*", "", "text/plain", "text/*", "application/json", "text/html;q=0.1, */*"]
)
def test_hello_to_programs(client, accept):
    response = client.get("/", headers={"Accept": accept})

    assert response.text == "Hello Flask!"
    assert response.headers["Vary"] == "Accept"
    assert '</ui>; rel="alternate"' in response.headers["Link"]


def test_hello_to_browsers(client):
    response = client.get("/", headers={"Accept": BROWSER})

    assert response.content_type == "text/html; charset=utf-8"
    assert "<h1>Hello Flask!</h1>" in response.text
    assert 'href="/ui"' in response.text
    assert 'href="/docs"' in response.text
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    varies = {one.strip() for one in response.headers["Vary"].split(",")}
    assert varies == {"Accept", "Accept-Language", "Cookie"}


def test_page_of_a_submission(client):
    form = {"learning_rate": "0.001", "epoch": "20", "experiment_id": "첫 실험"}
    url = client.post("/test", data=form).json["ui_url"]

    assert url.startswith("http://localhost/ui/experiments/")
    assert "첫 실험" in client.get(url).text


def test_empty_list(client):
    assert client.get("/model").json == []


@pytest.mark.parametrize("path", ["/model", "/experiments"])
def test_newest_first(client, path):
    for name in ("one", "two", "three"):
        submit(client, name)
    response = client.get(path)

    assert [experiment["experiment_id"] for experiment in response.json] == ["three", "two", "one"]
    assert "Link" not in response.headers
    assert TIME.fullmatch(response.json[0]["created_at"])


def test_next_page_link(client):
    for number in range(5):
        submit(client, f"run-{number}")
    listed, path = [], "/model?limit=2&q=run"
    while path:
        response = client.get(path)
        listed += [experiment["experiment_id"] for experiment in response.json]
        link = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("Link", ""))
        path = link and link[1]

    assert listed == ["run-4", "run-3", "run-2", "run-1", "run-0"]


def test_filters(services, client, experiments):
    submit(client, "Resnet a")
    submit(client, "b")
    b = experiments.get("b")
    services.recorder.record(b, Observation(b.uid, Phase.RUNNING))

    def ids(query):
        return [
            experiment["experiment_id"] for experiment in client.get(f"/experiments?{query}").json
        ]

    assert ids("status=running") == ["b"]
    assert ids("q=resNET") == ["Resnet a"]
    assert ids("q=%25") == []
    assert ids("model=autoencoder") == ["b", "Resnet a"]
    assert ids("model=other") == []
    assert ids("status=running,queued") == ids("status=running&status=queued") == ["b", "Resnet a"]
    assert ids("status=failed,cancelled") == []
    assert ids("created_after=2000-01-01T00:00:00%2B09:00") == ["b", "Resnet a"]
    assert ids("created_after=9000-01-01") == []
    assert ids("sort=created_at") == ["Resnet a", "b"]
    assert ids("sort=-updated_at") == ["b", "Resnet a"]


def test_next_link_keeps_filters(client):
    for number in range(5):
        submit(client, f"실험 {number}")
    query = (
        "status=queued,running&status=submitting&q=실험&created_after=2000-01-01T00:00:00%2B00:00"
    )
    listed, path = [], f"/experiments?{query}&sort=created_at&limit=2"
    while path:
        response = client.get(path)
        listed += [experiment["experiment_id"] for experiment in response.json]
        link = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("Link", ""))
        path = link and link[1]
        assert not path or "status=submitting" in path

    assert listed == [f"실험 {number}" for number in range(5)]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "status=done",
        "status=",
        "status=queued,",
        "status=queued&status=done",
        "after=-1",
        "after=2024-02-29T00:00:00.000000Z~0",
        "after=2024-02-30T00:00:00.000000Z~1",
        "after=0001-01-01T00:00:00.000000Z~1",
        "sort=name",
        "q=",
        "created_after=yesterday",
        "created_after=0001-01-01T00:00:00%2B14:00",
        "created_after=2024-02-29T12:00:00+09:00",
        "order=up",
    ],
)
def test_invalid_query(client, query):
    response = client.get(f"/experiments?{query}")

    assert response.status_code == 422
    assert response.json["errors"][0]["field"] == query.partition("=")[0]


@pytest.mark.parametrize("query", ["", "?status=queued,failed,cancelled", "?sort=updated_at"])
def test_etag_changes_with_any_change(services, client, experiments, query):
    def tag():
        response = client.get(f"/model{query}")
        unchanged = client.get(
            f"/model{query}", headers={"If-None-Match": response.headers["ETag"]}
        )
        assert (unchanged.status_code, unchanged.data) == (304, b"")
        assert unchanged.headers["ETag"] == response.headers["ETag"]
        return response.headers["ETag"]

    def note():
        services.recorder.update(experiments.get("first"), {"reason": "image_pull"})

    def end():
        experiment = experiments.get("first")
        observed = Observation(experiment.uid, Phase.FAILED, attempt=experiment.current_attempt)
        services.recorder.record(experiment, observed)

    submit(client)
    changes = [
        lambda: submit(client, "second"),
        note,
        end,
        lambda: experiments.retry("first"),
        lambda: experiments.cancel("first"),
        lambda: (end(), experiments.delete("first", outputs=True)),
    ]
    tags = [tag()]
    for change in changes:
        change()
        tags.append(tag())

    assert len(set(tags)) == len(tags)


def test_show(services, client, experiments, settings):
    submit(client)
    first = experiments.get("first")
    (settings.output_dir / "first" / "metrics.jsonl").write_text('{"epoch": 5, "loss": 0.5}\n')
    services.recorder.record(first, Observation(first.uid, Phase.RUNNING))
    shown = client.get("/experiments/first").json

    assert shown["status"] == "running"
    assert shown["progress"] == {"epoch": 5, "epochs": 20}
    assert shown["metrics"] == {"epoch": 5, "loss": 0.5}
    assert shown["diagnosis"] is None
    assert [transition["to_status"] for transition in shown["history"]] == [
        "submitting",
        "queued",
        "running",
    ]
    assert all(TIME.fullmatch(transition["at"]) for transition in shown["history"])


def test_show_diagnosis(services, client, experiments):
    submit(client)
    first = experiments.get("first")
    why = Diagnosis("out_of_memory", "It needed more.", "Give it more.")
    services.recorder.record(first, Observation(first.uid, Phase.FAILED, diagnosis=why))
    shown = client.get("/experiments/first").json

    assert shown["status"] == "failed"
    assert shown["diagnosis"] == {
        "reason": "out_of_memory",
        "message": "It needed more.",
        "remedy": "Give it more.",
    }
    assert shown["history"][-1]["reason"] == "out_of_memory"


def test_korean_is_not_escaped(client):
    submit(client, "실험 1")

    assert "실험 1" in client.get("/model").text


@pytest.mark.parametrize("path", ["/experiments/none", "/nothing", "/experiments/a/b/c"])
def test_not_found(client, path):
    response = client.get(path)

    assert response.status_code == 404
    assert response.content_type == "application/problem+json"
    assert response.json["detail"]


def test_method_not_allowed(client):
    response = client.delete("/test")

    assert response.status_code == 405
    assert response.content_type == "application/problem+json"
    assert "POST" in response.headers["Allow"]


def test_health(client):
    assert client.get("/healthz").json == {"status": "ok", "version": __version__}
    assert client.get("/readyz").json == {"status": "ready"}


def test_database_unavailable(client, outage, settings, launcher):
    outage.begin()
    form = {"learning_rate": "0.001", "epoch": "20", "experiment_id": "first"}
    answers = [client.get(path) for path in ("/readyz", "/model", "/experiments/first")]
    answers.append(client.post("/test", data=form))

    for answer in answers:
        assert answer.status_code == 503
        assert answer.content_type == "application/problem+json"
        assert int(answer.headers["Retry-After"]) > 0
        assert "secret" not in answer.text
    assert client.get("/healthz").status_code == 200
    assert not launcher.jobs
    assert list(settings.output_dir.iterdir()) == []


def test_internal_error_hides_details(client, experiments, monkeypatch):
    def broken(**_options):
        raise RuntimeError("a secret")

    monkeypatch.setattr(experiments, "listing", broken)
    response = client.get("/model")

    assert response.status_code == 500
    assert response.content_type == "application/problem+json"
    assert "a secret" not in response.text


def test_openapi_has_every_route(client, app):
    document = client.get("/openapi.json").json
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith(("/openapi.json", "/docs", "/static", "/ui")):  # pages, no API
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            assert path in document["paths"], path
    assert "multipart/form-data" in document["paths"]["/test"]["post"]["requestBody"]["content"]


NOON = "2026-01-31T12:00:00.000000Z"


@pytest.mark.parametrize(
    "query",
    [
        "q=%00",
        "q=a%00b",
        "model=%00",
        "status=%00",
        f"after={NOON}~{2**63}",
        f"after={NOON}~9999999999999999999",
        "after=2026-01-31T12:00:00.000000~1",
        "limit=1_0",
        "limit=%D9%A1",
        "limit=9" + "9" * 5000,
    ],
)
@pytest.mark.parametrize("path", ["/model", "/experiments"])
def test_hostile_query(client, path, query):
    check_problem(client.get(f"{path}?{query}"), 422)


def test_last_row_of_all(client):
    assert client.get(f"/model?after={NOON}~{2**63 - 1}").status_code == 200


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/experiments/a%00b", {404}),
        ("/experiments/a%00b/logs", {404}),
        ("/experiments/first/logs?attempt=1_0", {422}),
        ("/experiments/first/logs?attempt=99999999999999999999", {422}),
        ("/experiments/first/logs?attempt=9223372036854775807", {404}),
        ("/experiments/first/logs?tail=1_0", {422}),
        ("/experiments/first/metrics?since_epoch=1_0", {422}),
        ("/compare?ids=%00", {422}),
        ("/compare?id=%00", {422}),
        ("/events?experiment_id=%00", {422}),
        ("/experiments/first/files/%00", {404}),
        ("/inputs/%00.csv", {404}),
    ],
)
def test_hostile_address(client, path, statuses):
    client.post("/test", data=FORM)

    check_problem(client.get(path), *statuses)


def test_nul_in_the_search_of_the_page(client):
    assert client.get("/ui?q=%00").status_code == 422


def test_queue(client, launcher, experiments):
    for name in ("first", "둘째", "third"):
        client.post("/test", data=FORM | {"experiment_id": name})
    launcher.queue = [experiments.get(name).job for name in ("둘째", "third")]

    assert client.get("/experiments/third").json["queue"] == {"position": 2, "ahead": ["둘째"]}
    assert client.get("/experiments/둘째").json["queue"] == {"position": 1, "ahead": []}
    assert client.get("/experiments/first").json["queue"] is None


def test_queue_names_the_next_ones(client, launcher, experiments):
    names = [f"run-{number}" for number in range(25)]
    for name in names:
        client.post("/test", data=FORM | {"experiment_id": name})
    launcher.queue = [experiments.get(name).job for name in names]

    assert client.get("/experiments/run-24").json["queue"] == {"position": 25, "ahead": names[:20]}
