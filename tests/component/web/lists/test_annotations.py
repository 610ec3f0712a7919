"""Tags, notes and favourites: changed by people, in the lists, in run.json."""

import json
import unicodedata

import pytest

from backend.experiments.rebuild import differences, rebuild
from backend.launchers.base import Phase
from tests.component.support import ALICE, BOB, bearer, check_problem, submit

NOTE = "**Good** until epoch 12.\n\n<script>alert(1)</script>"


def run_json(services, experiment_id="first"):
    return json.loads((services.outputs.folder(experiment_id) / "run.json").read_text())


def listed(client, query=""):
    response = client.get(f"/experiments?{query}")
    assert response.status_code == 200, response.text
    return [experiment["experiment_id"] for experiment in response.json]


def test_tags_are_added_and_removed(client, services, experiments):
    submit(experiments)
    before = client.get("/experiments/first").json
    assert (before["tags"], before["favourite"], before["note"]) == ([], False, "")
    assert before["revision"] == 0

    for tag in ("baseline", "%EC%A2%8B%EC%9D%80 seed", "baseline"):
        response = client.put(f"/experiments/first/tags/{tag}")
        assert response.status_code == 200
    assert response.json["tags"] == ["baseline", "좋은 seed"]
    assert response.json["revision"] == 2
    assert run_json(services)["tags"] == ["baseline", "좋은 seed"]

    decomposed = unicodedata.normalize("NFD", "좋은 seed")
    response = client.delete(f"/experiments/first/tags/{decomposed}")
    assert response.json["tags"] == ["baseline"]
    assert client.delete("/experiments/first/tags/none").json["tags"] == ["baseline"]
    assert client.get("/experiments/first").json["tags"] == ["baseline"]


@pytest.mark.parametrize("kind", ["json", "form"])
def test_patch(client, services, experiments, kind):
    submit(experiments)
    tags = ["b", "a"] if kind == "json" else " b , a,"
    sent = {"json": {"note": NOTE, "tags": tags, "favourite": True}}
    if kind == "form":
        sent = {"data": {"note": NOTE.replace("\n", "\r\n"), "tags": tags, "favourite": "true"}}
    response = client.patch("/experiments/first", **sent)

    assert response.status_code == 200
    assert (response.json["tags"], response.json["favourite"]) == (["a", "b"], True)
    shown = client.get("/experiments/first").json
    assert (shown["note"], shown["revision"]) == (NOTE, 1)
    stored = run_json(services)
    assert (stored["note"], stored["tags"], stored["favourite"]) == (NOTE, ["a", "b"], True)

    assert client.patch("/experiments/first", json={"favourite": False}).json["tags"] == ["a", "b"]
    client.patch("/experiments/first", json={"note": "", "tags": []})
    shown = client.get("/experiments/first").json
    assert (shown["note"], shown["tags"], shown["favourite"]) == ("", [], False)


def test_every_wrong_field_is_named_at_once(client, experiments):
    submit(experiments)
    wrong = {"note": "x" * 16_001, "tags": ["a/b"], "favourite": "perhaps", "revision": -1, "x": 1}
    problem = check_problem(client.patch("/experiments/first", json=wrong), 422)

    assert {error["field"] for error in problem["errors"]} == set(wrong)
    assert client.get("/experiments/first").json["revision"] == 0
    check_problem(client.put("/experiments/first/tags/a,b"), 422, "must not contain")
    check_problem(client.put("/experiments/none/tags/a"), 404)
    check_problem(client.patch("/experiments/none", json={"note": "a"}), 404)
    many = [str(number) for number in range(51)]
    check_problem(client.patch("/experiments/first", json={"tags": many}), 422, "at most 50")
    assert client.get("/experiments/first").json["tags"] == []


def test_two_editors(client, experiments):
    submit(experiments)
    assert client.patch("/experiments/first", json={"note": "mine", "revision": 0}).json
    theirs = {"note": "theirs", "revision": 0}
    check_problem(client.patch("/experiments/first", json=theirs), 409, "revision is 1")
    same = {"note": "mine", "revision": 0}  # sent again, because the answer was lost
    assert client.patch("/experiments/first", json=same).status_code == 200
    assert client.get("/experiments/first").json["note"] == "mine"


def test_they_survive_a_retry_and_go_with_the_experiment(client, services, make_experiment):
    make_experiment("first", Phase.FAILED)
    client.patch("/experiments/first", json={"note": NOTE, "tags": ["a"], "favourite": True})
    assert client.post("/experiments/first/retry").status_code == 202
    stored = run_json(services)
    assert (stored["attempt"], stored["note"], stored["tags"]) == (2, NOTE, ["a"])
    assert client.get("/experiments/first").json["favourite"] is True

    make_experiment("second", Phase.FAILED)
    client.patch("/experiments/second", json={"note": NOTE, "tags": ["a"]})
    assert client.delete("/experiments/second?outputs=true").status_code == 204
    assert listed(client, "tag=a") == ["first"]
    submit(services.experiments, "second")
    assert client.get("/experiments/second").json["note"] == ""
    assert client.get("/experiments/second").json["tags"] == []


def test_a_change_while_the_job_is_submitted(client, services, experiments, launcher, monkeypatch):
    """run.json is not written from what was read before the change."""
    submit_job = launcher.submit

    def submit_slowly(job):
        client.patch("/experiments/first", json={"note": NOTE, "tags": ["a"]})
        submit_job(job)

    monkeypatch.setattr(launcher, "submit", submit_slowly)
    submit(experiments)

    stored = run_json(services)
    assert (stored["status"], stored["note"], stored["tags"]) == ("queued", NOTE, ["a"])


def test_rebuild_restores_them(client, services, make_experiment, launcher, delete_rows):
    make_experiment("first", Phase.SUCCEEDED)
    client.patch("/experiments/first", json={"note": NOTE, "tags": ["b", "a"], "favourite": True})
    before = client.get("/experiments/first").json
    delete_rows()
    assert listed(client) == []

    assert rebuild(services.archive, launcher).restored == 1
    assert list(differences(services.archive, launcher)) == []
    assert client.get("/experiments/first").json == before
    assert listed(client, "tag=a&tag=b&favourite=true") == ["first"]


def test_rebuild_writes_a_file_that_misses_a_change(client, services, make_experiment, launcher):
    make_experiment("first", Phase.SUCCEEDED)
    path = services.outputs.folder("first") / "run.json"
    stale = path.read_text()
    client.put("/experiments/first/tags/a")
    path.write_text(stale)

    (difference,) = differences(services.archive, launcher)
    assert "revision is 1 in the database, None in run.json" in difference
    rebuild(services.archive, launcher)
    assert run_json(services)["tags"] == ["a"]


def test_lists(client, experiments):
    for name in ("first", "second", "third"):
        submit(experiments, name)
    for tag in ("baseline", "good seed"):
        client.put(f"/experiments/first/tags/{tag}")
    client.put("/experiments/second/tags/baseline")
    client.patch("/experiments/third", json={"favourite": True})

    assert listed(client, "tag=baseline") == ["second", "first"]
    assert listed(client, "tag=baseline&tag=good%20seed") == ["first"]
    assert listed(client, "tag=baseline,good%20seed") == ["first"]
    assert listed(client, "tag=Baseline") == []
    assert listed(client, "favourite=true") == ["third"]
    assert listed(client, "favourite=false&sort=created_at") == ["first", "second"]
    check_problem(client.get("/experiments?tag=a%2Fb"), 422)
    check_problem(client.get("/experiments?favourite=perhaps"), 422)

    first = client.get("/experiments?tag=good%20seed").json[0]
    assert (first["tags"], first["favourite"]) == (["baseline", "good seed"], False)
    table = client.get("/experiments?format=csv&fields=experiment_id,tags,favourite").text
    assert table.splitlines()[1:] == [
        "third,,true",
        "second,baseline,false",
        'first,"baseline,good seed",false',
    ]
    lines = client.get("/experiments?format=ndjson&tag=baseline&sort=created_at").text.splitlines()
    assert json.loads(lines[0])["tags"] == ["baseline", "good seed"]


def test_the_version_of_a_page_changes(client, experiments):
    submit(experiments)
    tag = client.get("/experiments").headers["ETag"]
    assert client.get("/experiments", headers={"If-None-Match": tag}).status_code == 304
    client.put("/experiments/first/tags/a")
    assert client.get("/experiments", headers={"If-None-Match": tag}).status_code == 200


def test_who_may_change_them(anonymous):
    form = {"learning_rate": "0.001", "epoch": "20", "experiment_id": "first"}
    assert anonymous.post("/test", data=form, headers=bearer(ALICE)).json["by"] == "alice"
    reading, writing = bearer(BOB), bearer(ALICE)
    assert anonymous.put("/experiments/first/tags/a").status_code == 401
    assert anonymous.put("/experiments/first/tags/a", headers=reading).status_code == 403
    assert anonymous.patch("/experiments/first", json={}, headers=reading).status_code == 403
    assert anonymous.delete("/experiments/first/tags/a", headers=reading).status_code == 403
    assert anonymous.put("/experiments/first/tags/a", headers=writing).status_code == 200
    first = anonymous.get("/experiments?where=by=alice", headers=reading).json[0]
    assert (first["tags"], first["by"]) == (["a"], "alice")
