"""What is known of data sets, and the files that experiments use."""

import hashlib
import io
import json
import threading
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest

from backend.experiments.data_sets import knowledge
from backend.experiments.rebuild import rebuild
from backend.launchers.base import Phase
from tests.component.support import ALICE, BOB, FORM, bearer, check_problem

GOOD = b"a,b\n1,2\n3,4\n"
BAD = b"a,b\n1,2\n3,x\n"
DIGITS = (Path(__file__).parents[4] / "input" / "digits.npz").read_bytes()


@pytest.fixture
def folder(settings):
    return settings.input_dir


def put(client, name, content, query="", **headers):
    return client.put(f"/inputs/{name}{query}", data=content, headers=headers)


def post(client, experiment_id="first", **fields):
    return client.post("/test", data=FORM | {"experiment_id": experiment_id} | fields)


def shown(client, name):
    return next(one for one in client.get("/inputs").json if one["name"] == name)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def examine_all(services):
    services.data_sets.step(threading.Event(), quiet=timedelta(0))


# Uploads


def test_facts_of_an_upload(client):
    put(client, "table.csv", GOOD)
    put(client, "digits.npz", DIGITS)

    table, digits = shown(client, "table.csv"), shown(client, "digits.npz")
    assert table["sha256"] == sha256(GOOD)
    assert (table["rows"], table["columns"], table["dtype"]) == (2, 2, None)
    assert (digits["rows"], digits["columns"]) == (1797, None)
    assert (digits["shape"], digits["dtype"]) == ([1797, 8, 8], "uint8")
    assert table["examined"]
    assert table["uploaded_at"] is not None
    assert (table["by"], table["used_by"], table["used_by_count"]) == (None, [], 0)
    assert table["fault"] is None


def test_unreadable_upload(client, folder):
    problem = check_problem(put(client, "a.csv", BAD), 422, "line 3", "column b", "validate=false")

    assert (problem["line"], problem["column"]) == (3, "b")
    assert list(folder.iterdir()) == []
    assert client.get("/inputs").json == []
    assert put(client, "a.csv", BAD, "?validate=false").status_code == 201
    assert shown(client, "a.csv")["fault"]["line"] == 3


def test_unreadable_upload_replaces_nothing(client, folder):
    put(client, "a.csv", GOOD)
    check_problem(put(client, "a.csv", BAD, "?overwrite=true"), 422)
    assert (folder / "a.csv").read_bytes() == GOOD
    assert shown(client, "a.csv")["sha256"] == sha256(GOOD)


def test_begin_of_a_large_upload_is_judged(client, monkeypatch, services):
    monkeypatch.setattr("backend.experiments.data_sets.service.MAX_EXAMINED_BYTES", 10)
    check_problem(put(client, "bad.csv", BAD), 422, "line 3")
    later = b"a,b\n" + b"1,2\n" * 100 + b"3,x\n"
    assert put(client, "later.csv", later).status_code == 201
    found = shown(client, "later.csv")
    assert (found["examined"], found["sha256"]) == (False, sha256(later))
    examine_all(services)
    assert shown(client, "later.csv")["fault"]["line"] == 102


def test_uploader_is_named(anonymous):
    put(anonymous, "a.csv", GOOD, Authorization=f"Bearer {ALICE}")
    found = anonymous.get("/inputs", headers=bearer(BOB)).json
    assert found[0]["by"] == "alice"
    refused = anonymous.delete("/inputs/a.csv", headers=bearer(BOB))
    check_problem(refused, 403)


def test_uploads_without_a_database(client, outage, folder, services):
    outage.begin()
    assert put(client, "a.csv", GOOD).status_code == 201
    assert [one["name"] for one in client.get("/inputs").json] == ["a.csv"]
    assert shown(client, "a.csv")["used_by"] is None
    check_problem(client.delete("/inputs/a.csv"), 503)
    outage.end()
    assert (folder / "a.csv").exists()
    examine_all(services)
    assert shown(client, "a.csv")["sha256"] == sha256(GOOD)


# Files that others have put into the folder


def test_other_files_become_known(client, folder, services):
    (folder / "a.csv").write_bytes(GOOD)
    assert (shown(client, "a.csv")["sha256"], shown(client, "a.csv")["examined"]) == (None, False)
    examine_all(services)
    assert shown(client, "a.csv")["sha256"] == sha256(GOOD)
    assert shown(client, "a.csv")["rows"] == 2


def test_file_is_read_once_for_each_version(client, folder, services, monkeypatch):
    (folder / "a.csv").write_bytes(GOOD)
    read = []
    true_digest = knowledge.digest

    def count(file, *arguments):
        read.append(file)
        return true_digest(file, *arguments)

    monkeypatch.setattr(knowledge, "digest", count)
    examine_all(services)
    for number in range(3):
        assert post(client, f"run-{number}").status_code == 201
        examine_all(services)
    assert len(read) == 1
    (folder / "a.csv").write_bytes(GOOD + b"5,6\n")
    assert shown(client, "a.csv")["sha256"] is None
    examine_all(services)
    assert len(read) == 2
    assert shown(client, "a.csv")["rows"] == 3


def test_file_that_is_being_written_is_left_alone(client, folder, services):
    (folder / "a.csv").write_bytes(GOOD)
    services.data_sets.step(threading.Event(), quiet=timedelta(hours=1))
    assert shown(client, "a.csv")["sha256"] is None


# Previews


def test_preview_of_a_table(client):
    put(client, "a.csv", b"a,b,target\n-1,2.5,x\n3,4,y\n")
    preview = client.get("/inputs/a.csv/preview").json

    assert preview["header"]
    assert preview["column_details"] == [
        {"name": "a", "type": "number", "minimum": -1, "maximum": 3, "missing": 0},
        {"name": "b", "type": "number", "minimum": 2.5, "maximum": 4, "missing": 0},
        {"name": "target", "type": "text", "minimum": None, "maximum": None, "missing": 0},
    ]
    assert preview["first_rows"] == [["-1", "2.5", "x"], ["3", "4", "y"]]
    assert preview["images"] is None
    check_problem(client.get("/inputs/a.csv/preview.png"), 404, "no images")
    check_problem(client.get("/inputs/none.csv/preview"), 404)


def test_preview_of_images(client, folder):
    (folder / "digits.npz").write_bytes(DIGITS)  # not known yet
    preview = client.get("/inputs/digits.npz/preview").json
    assert (preview["minimum"], preview["maximum"]) == (0, 16)
    assert preview["arrays"] == [{"name": "x", "shape": [1797, 8, 8], "dtype": "uint8"}]
    picture = client.get(preview["images"])
    assert picture.content_type == "image/png"
    assert picture.data.startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize("content", [b"", b"PK\5\6", b"\x93NUMPY", b"\xff\xfe", b'"', BAD])
@pytest.mark.parametrize("name", ["a.csv", "a.npy", "a.npz"])
def test_preview_of_damaged_files(client, folder, name, content):
    (folder / name).write_bytes(content)
    preview = client.get(f"/inputs/{name}/preview")
    assert preview.status_code == 200
    assert preview.json["fault"] is not None
    assert client.get(f"/inputs/{name}/preview.png").status_code == 404
    assert client.get(f"/ui/inputs/{name}").status_code == 200


def test_markup_in_a_file_stays_text(client, folder):
    text = "<script>alert(1)</script>"
    (folder / "a.csv").write_text(f"{text},b\n1,2\n")
    assert text not in client.get("/ui/inputs/a.csv").text


# Deletion


def test_delete(client, folder):
    put(client, "a.csv", GOOD)
    assert client.delete("/inputs/a.csv").status_code == 204
    assert list(folder.iterdir()) == []
    assert client.get("/inputs").json == []
    check_problem(client.delete("/inputs/a.csv"), 404)
    for name in ("..", "%2e%2e%2fa.csv", ".hidden.csv"):
        assert client.delete(f"/inputs/{name}").status_code in (404, 405)


@pytest.mark.parametrize("dataset", ["a.csv", ""])
def test_delete_what_is_used(client, folder, dataset, experiments):
    put(client, "a.csv", GOOD)
    post(client, dataset=dataset)
    problem = check_problem(client.delete("/inputs/a.csv"), 409, "first", "force=true")
    assert problem["experiments"] == ["first"]
    assert (folder / "a.csv").exists()
    assert client.delete("/inputs/a.csv?force=true").status_code == 204


def test_delete_what_was_used(client, make_experiment):
    put(client, "a.csv", GOOD)
    make_experiment("first", Phase.RUNNING, Phase.SUCCEEDED)
    assert shown(client, "a.csv")["used_by"] == ["first"]
    assert client.delete("/inputs/a.csv").status_code == 204


def test_delete_beside_an_experiment_whose_files_are_unknown(client, folder):
    post(client)  # the folder is empty: it will use what it finds
    put(client, "a.csv", GOOD)
    check_problem(client.delete("/inputs/a.csv"), 409, "first")


# What an experiment uses


def test_pins(client, settings):
    put(client, "b.csv", GOOD)
    put(client, "a.csv", GOOD + b"5,6\n")
    submitted = post(client)

    expected = [
        {"name": "a.csv", "size": 16, "sha256": sha256(GOOD + b"5,6\n")},
        {"name": "b.csv", "size": 12, "sha256": sha256(GOOD)},
    ]
    assert submitted.json["inputs"] == expected
    assert submitted.json["dataset"] is None
    assert client.get("/experiments/first").json["inputs"] == expected
    output = settings.output_dir / "first"
    assert json.loads((output / "run.json").read_text())["inputs"] == expected
    pinned = json.loads((output / "inputs.json").read_text())
    assert pinned["pinned"] is True
    assert [(one["name"], one["bytes"]) for one in pinned["files"]] == [
        ("a.csv", 16),
        ("b.csv", 12),
    ]
    assert "every file (2)" in client.get("/ui").text
    assert "every file (2)" in client.get("/ui/experiments/first").text


def test_retry_keeps_the_pins(client, settings, make_experiment, experiments):
    put(client, "a.csv", GOOD)
    make_experiment("first", Phase.FAILED)
    before = client.get("/experiments/first").json["inputs"]
    put(client, "b.csv", GOOD)
    put(client, "a.csv", GOOD + b"5,6\n", "?overwrite=true")
    (settings.output_dir / "first" / "inputs.json").unlink()
    assert client.post("/experiments/first/retry").status_code == 202
    assert client.get("/experiments/first").json["inputs"] == before
    pinned = json.loads((settings.output_dir / "first" / "inputs.json").read_text())
    assert [one["sha256"] for one in pinned["files"]] == [sha256(GOOD)]


@pytest.mark.parametrize("kind", ["form", "repeated", "json"])
def test_several_files(client, kind):
    for name in ("a.csv", "b.csv", "c.csv"):
        put(client, name, GOOD)
    names = ["c.csv", "a.csv"]
    if kind == "json":
        response = client.post("/experiments", json=FORM | {"dataset": names})
    else:
        options = {"content_type": "multipart/form-data"} if kind == "form" else {}
        response = client.post("/test", data=FORM | {"dataset": names}, **options)
    assert response.status_code == 201
    assert response.json["dataset"] == ["a.csv", "c.csv"]
    assert [one["name"] for one in response.json["inputs"]] == ["a.csv", "c.csv"]
    again = client.post("/experiments", json=FORM | {"dataset": ["a.csv", "c.csv"]})
    assert again.status_code == 200
    check_problem(client.post("/experiments", json=FORM | {"dataset": "a.csv"}), 409)
    assert client.get("/experiments").json[0]["dataset"] == ["a.csv", "c.csv"]
    assert client.get("/ui/experiments/first").status_code == 200
    assert "a.csv, c.csv" in client.get("/ui").text
    assert "a.csv, c.csv" in client.get("/ui/new?from=first").text


@pytest.mark.parametrize("dataset", ["*", ["*"], ["*", "a.csv"], None, ""])
def test_every_file(client, dataset):
    put(client, "a.csv", GOOD)
    response = client.post("/experiments", json=FORM | {"dataset": dataset})
    assert response.status_code == 201
    assert response.json["dataset"] is None


@pytest.mark.parametrize("dataset", [[], [1], ["a.csv", None], [["a.csv"]], {}, 7, True, "a\0.csv"])
def test_invalid_choices(client, dataset):
    put(client, "a.csv", GOOD)
    problem = check_problem(client.post("/experiments", json=FORM | {"dataset": dataset}), 422)
    assert [one["field"] for one in problem["errors"]] == ["dataset"]


def test_too_many_chosen_files(client):
    names = [f"{number:050}.csv" for number in range(5)]
    problem = check_problem(client.post("/experiments", json=FORM | {"dataset": names}), 422, "*")
    assert [one["field"] for one in problem["errors"]] == ["dataset"]


def test_all_missing_files_are_named(client):
    put(client, "a.csv", GOOD)
    dataset = ["b.csv", "a.csv", "c.csv"]
    problem = client.post("/experiments", json=FORM | {"dataset": dataset})
    assert check_problem(problem, 422, "a.csv")["errors"][0]["field"] == "dataset"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.csv": GOOD, "b.csv": b"a,b,c\n1,2,3\n"}, ["mixed shapes", "a.csv", "b.csv"]),
        ({"a.csv": GOOD, "b.csv": b"a,c\n1,2\n"}, ["mixed columns", "a.csv", "b.csv", "c"]),
        ({"a.csv": GOOD, "digits.npz": DIGITS}, ["mixed shapes", "digits.npz"]),
        ({"a.csv": GOOD, "b.csv": BAD}, ["b.csv", "line 3, column b"]),
        ({"a.csv": BAD}, ["a.csv", "line 3, column b"]),
        ({"a.npz": b"hello"}, ["a.npz", "no file of NumPy"]),
    ],
)
def test_files_that_do_not_fit_together(client, folder, launcher, files, words):
    for name, content in files.items():
        (folder / name).write_bytes(content)
    problem = check_problem(post(client), 422, "Choose with dataset", *words)
    assert problem["errors"][0]["field"] == "dataset"
    assert not launcher.jobs
    check_problem(client.get("/experiments/first"), 404)
    assert post(client, dataset=next(iter(files))).status_code == 201


def test_labels_are_read_by_models_that_predict_them(client):
    put(client, "iris.csv", b"a,b,species\n" + b"1,2,x\n3,4,y\n" * 10)
    check_problem(post(client), 422, "iris.csv", "column species")
    assert post(client, model="classifier").status_code == 201


def test_repeat_does_not_look_at_the_folder(client, folder):
    put(client, "a.csv", GOOD)
    assert post(client).status_code == 201
    (folder / "b.csv").write_bytes(BAD)
    assert post(client).status_code == 200
    check_problem(post(client, "second"), 422)


@pytest.mark.parametrize("state", ["missing", "unreadable", "file unreadable"])
def test_folder_that_the_web_role_cannot_read(client, folder, state, monkeypatch):
    (folder / "a.csv").write_bytes(GOOD)
    if state == "missing":
        (folder / "a.csv").unlink()
        folder.rmdir()
    else:
        method = "list_names" if state == "unreadable" else "open"
        result = [] if state == "unreadable" else None
        monkeypatch.setattr(f"backend.files.inputs.Inputs.{method}", lambda *_arguments: result)
    response = post(client)
    assert response.status_code == 201
    assert response.json["inputs"] is None


def test_too_many_files_are_not_pinned(client, folder):
    for number in range(501):
        (folder / f"{number}.csv").write_bytes(GOOD)
    response = post(client)
    assert response.status_code == 201
    assert response.json["inputs"] is None


def test_filter_by_data_set(client):
    put(client, "a.csv", GOOD)
    put(client, "b.csv", GOOD + b"5,6\n")
    post(client, "one", dataset="a.csv")
    post(client, "other", dataset="b.csv")
    post(client, "every")

    def ids(dataset):
        found = client.get("/experiments", query_string={"dataset": dataset}).json
        return [one["experiment_id"] for one in found]

    assert ids("a.csv") == ["every", "one"]
    assert ids(sha256(GOOD + b"5,6\n")) == ["every", "other"]
    assert ids("c.csv") == []
    assert shown(client, "a.csv")["used_by"] == ["every", "one"]
    page = client.get("/ui?dataset=a.csv").text
    assert "Only experiments that use a.csv" in page
    assert "/ui/experiments/one" in page
    assert "/ui/experiments/other" not in page
    check_problem(client.get("/experiments?dataset="), 422)


def test_rebuild_restores_the_pins(client, archive, launcher, delete_rows, settings):
    put(client, "a.csv", GOOD)
    post(client)
    post(client, "hostile")
    before = client.get("/experiments/first").json["inputs"]
    delete_rows()
    path = settings.output_dir / "hostile" / "run.json"
    content = json.loads(path.read_text())
    content["inputs"][0]["name"] = "../secret"
    path.write_text(json.dumps(content))
    launcher.jobs.clear()
    assert str(rebuild(archive, launcher)).startswith("1 experiment(s) restored")
    assert client.get("/experiments/first").json["inputs"] == before
    assert shown(client, "a.csv")["used_by"] == ["first"]


def test_run_file_of_an_older_version(client, archive, launcher, delete_rows, settings):
    """It has no inputs; the chosen data set is still found."""
    put(client, "a.csv", GOOD)
    post(client, dataset="a.csv")
    delete_rows()
    path = settings.output_dir / "first" / "run.json"
    content = json.loads(path.read_text())
    del content["inputs"]
    path.write_text(json.dumps(content))
    launcher.jobs.clear()
    rebuild(archive, launcher)
    assert client.get("/experiments/first").json["inputs"] is None
    assert len(client.get("/experiments?dataset=a.csv").json) == 1


def test_pages(client):
    page = client.get("/ui/inputs").text
    assert "holds no data sets" in page
    put(client, "a b.csv", GOOD)
    page = client.get("/ui/inputs").text
    assert "2 rows × 2 columns" in page
    assert "/ui/new?dataset=a+b.csv" in page or "/ui/new?dataset=a%20b.csv" in page
    form = client.get("/ui/new?dataset=a b.csv").text
    assert "<option selected>a b.csv</option>" in form
    assert client.get("/ui/inputs/none.csv").status_code == 404


def test_encrypted_archive(client):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY")
    content = bytearray(buffer.getvalue())
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    check_problem(put(client, "a.npz", bytes(content)), 422, "encrypted")
