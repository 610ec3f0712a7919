import json
import threading

import pytest

from tests.component.support import FORM, check_problem

MULTIPART = "multipart/form-data"


def post(client, form=FORM, content_type=MULTIPART, path="/test"):
    return client.post(path, data=form, content_type=content_type)


def test_job_created(client, launcher):
    response = post(client)

    assert response.status_code == 201
    assert response.json["message"] == "Job Created"
    assert response.json["status"] == "queued"
    assert response.json["job"] in launcher.jobs
    assert client.get(response.headers["Location"]).json["experiment_id"] == "first"


@pytest.mark.parametrize("path", ["/test", "/experiments"])
@pytest.mark.parametrize("content_type", [MULTIPART, "application/x-www-form-urlencoded"])
def test_both_kinds_of_form(client, path, content_type):
    assert post(client, content_type=content_type, path=path).status_code == 201


@pytest.mark.parametrize(
    "fields",
    [
        {"learning_rate": 0.001, "epoch": 20, "experiment_id": "first"},
        {"learning_rate": "0.001", "epoch": "20", "experiment_id": "first"},
        {"learning_rate": 1, "epoch": 20, "experiment_id": "first", "dataset": ""},
    ],
)
def test_json_body(client, fields):
    assert client.post("/test", json=fields).status_code == 201


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("learning_rate", value)
            for value in ("", "abc", "nan", "inf", "0", "-1", "11", "1e999")
        ),
        *(("epoch", value) for value in ("", "1.5", "0", "-3", "1000000000", "1_0", "x")),
        *(
            ("experiment_id", value)
            for value in ("", "../x", "a/b", ".x", "a\0b", "a\nb", "x" * 300, "\ufffd")
        ),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_invalid_value(client, launcher, field, value, as_json):
    form = FORM | {field: value}
    response = client.post("/test", json=form) if as_json else post(client, form)
    problem = check_problem(response, 422)

    assert [error["field"] for error in problem["errors"]] == [field]
    assert problem["detail"].startswith(field)
    assert not launcher.jobs


@pytest.mark.parametrize("field", list(FORM))
def test_missing_field(client, field):
    form = {name: value for name, value in FORM.items() if name != field}
    problem = check_problem(post(client, form), 422)

    assert problem["errors"][0]["field"] == field
    assert "is missing" in problem["detail"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", True),
        ("learning_rate", [1]),
        ("learning_rate", None),
        ("epoch", 1.5),
        ("epoch", True),
        ("epoch", {}),
        ("experiment_id", 7),
        ("dataset", 7),
    ],
)
def test_wrong_json_type(client, field, value):
    problem = check_problem(client.post("/test", json=FORM | {field: value}), 422)

    assert [error["field"] for error in problem["errors"]] == [field]


def test_unknown_field_is_named(client, launcher):
    problem = check_problem(post(client, FORM | {"epochs": "20"}), 422)

    assert problem["errors"][0]["field"] == "epochs"
    assert "is not known" in problem["detail"]
    assert not launcher.jobs


def test_field_sent_twice(client):
    problem = check_problem(post(client, FORM | {"epoch": ["20", "30"]}), 422)

    assert "more than once" in problem["detail"]


def test_file_is_no_value(client, tmp_path):
    (tmp_path / "rate").write_text("0.001")
    with (tmp_path / "rate").open("rb") as file:
        problem = check_problem(post(client, FORM | {"learning_rate": file}), 422)

    assert "as a file" in problem["detail"]


@pytest.mark.parametrize(
    "experiment_id",
    ["실험 1", "run#1", "a%2Fb", "CON", "😀" * 60, "x" * 200, "$(EPOCH)", "a:b", "run?x=1&y"],
)
def test_same_id_everywhere(client, settings, experiment_id):
    response = post(client, FORM | {"experiment_id": experiment_id})

    assert response.status_code == 201
    assert response.json["experiment_id"] == experiment_id
    shown = client.get(response.headers["Location"]).json
    assert shown["experiment_id"] == experiment_id
    assert (settings.output_dir / experiment_id / "run.json").exists()
    assert client.get("/model").json[0]["experiment_id"] == experiment_id


def test_repeat_is_idempotent(client, launcher):
    first = post(client)
    again = client.post("/experiments", json={**FORM, "learning_rate": 1e-3})

    assert again.status_code == 200
    assert again.json == first.json | {"message": "Job Already Created"}
    assert launcher.submissions == 1


def test_other_parameters_conflict(client):
    post(client)
    problem = check_problem(post(client, FORM | {"epoch": "30"}), 409)

    assert "'first'" in problem["detail"]


def test_ids_are_case_sensitive(client):
    assert post(client, FORM | {"experiment_id": "Run1"}).status_code == 201
    assert post(client, FORM | {"experiment_id": "run1"}).status_code == 201


def test_ten_at_once_start_one_job(app, launcher):
    barrier = threading.Barrier(10)
    statuses = []

    def submit():
        client = app.test_client()
        barrier.wait()
        statuses.append(post(client).status_code)

    threads = [threading.Thread(target=submit) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [200] * 9 + [201]
    assert launcher.submissions == 1


def test_body_too_large(client):
    check_problem(post(client, FORM | {"experiment_id": "x" * 70_000}), 413)
    check_problem(client.post("/test", json=FORM | {"experiment_id": "x" * 70_000}), 413)


@pytest.mark.parametrize("content_type", [MULTIPART, "application/x-www-form-urlencoded"])
def test_too_many_fields(client, content_type):
    form = {f"f{number}": "1" for number in range(1000)}

    check_problem(post(client, form, content_type), 413)


def test_unsupported_content_type(client):
    problem = check_problem(post(client, b"<xml/>", "text/xml"), 415)

    assert "multipart/form-data" in problem["detail"]


@pytest.mark.parametrize("body", ["", "{", "[" * 60_000, '{"epoch": 1e', "\xff"])
def test_malformed_json(client, body):
    response = client.post("/test", data=body.encode("latin-1"), content_type="application/json")

    check_problem(response, 400)


@pytest.mark.parametrize("body", [[], "text", 7, None])
def test_json_must_be_an_object(client, body):
    response = client.post("/test", data=json.dumps(body), content_type="application/json")

    assert "object" in check_problem(response, 422)["detail"]


def test_empty_request(client):
    problem = check_problem(client.post("/test"), 422)

    assert {error["field"] for error in problem["errors"]} == set(FORM)


def test_unknown_dataset(client, launcher, settings):
    (settings.input_dir / "digits.npz").touch()
    problem = check_problem(post(client, FORM | {"dataset": "mnist.npz"}), 422)

    assert problem["errors"][0]["field"] == "dataset"
    assert "digits.npz" in problem["detail"]
    assert not launcher.jobs


def test_repeat_needs_neither_data_nor_disk(client, settings, monkeypatch):
    """A repeat is answered although its data set was removed or the disk is full by now."""
    (settings.input_dir / "digits.npz").touch()
    form = FORM | {"dataset": "digits.npz"}
    assert post(client, form).status_code == 201
    (settings.input_dir / "digits.npz").unlink()

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    assert post(client, form).status_code == 200
    monkeypatch.setattr("backend.files.outputs.Outputs.check_space", full)
    monkeypatch.setattr("backend.files.outputs.Outputs.is_free", lambda *_: True)
    assert post(client, form).status_code == 200
    check_problem(post(client, FORM | {"experiment_id": "second"}), 507)


def test_occupied_folder(client, launcher, settings):
    (settings.output_dir / "first").mkdir(parents=True)
    (settings.output_dir / "first" / "model.pt").touch()

    assert "output folder" in check_problem(post(client), 409)["detail"]
    assert not launcher.jobs


def test_launcher_unavailable(client, launcher):
    launcher.down = True
    response = post(client)

    assert response.status_code == 202
    assert response.json["status"] == "submitting"
    assert response.json["diagnosis"]["remedy"] == "Wait."


def test_launcher_refuses(client, launcher):
    launcher.refusing = True

    assert check_problem(post(client), 502)["reason"] == "job_refused"
    assert client.get("/experiments/first").json["status"] == "failed"
