import json
import sys
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


@pytest.mark.parametrize("field", ["epoch", "experiment_id"])
def test_deeply_nested_value(client, launcher, field):
    # Around the interpreter's limit: some depths can be read, and not repeated in a message.
    for depth in range(sys.getrecursionlimit() - 150, sys.getrecursionlimit()):
        value = "[" * depth + "]" * depth
        fields = (
            f'"{name}": {value if name == field else json.dumps(text)}'
            for name, text in FORM.items()
        )
        body = f"{{{','.join(fields)}}}"
        response = post(client, body, "application/json")

        assert response.status_code in (400, 422)
        assert len(response.data) < 1000
    assert not launcher.jobs


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


# Bodies in an encoding that the server does not read.

URLENCODED = "application/x-www-form-urlencoded"
JSON = json.dumps(FORM)
PART = '--b\r\nContent-Disposition: form-data; name="epoch"\r\n\r\n20\r\n--b--\r\n'


@pytest.mark.parametrize(
    ("content_type", "body", "status", "sentence"),
    [
        (MULTIPART, PART, 400, "has no boundary"),
        (f"{MULTIPART}; boundary=", PART, 400, "has no boundary"),
        (f"{MULTIPART}; boundary=other", PART, 400, "no fields between the boundaries"),
        (f"{MULTIPART}; boundary=b", JSON, 400, "no fields between the boundaries"),
        (URLENCODED, JSON, 415, "send Content-Type: application/json"),
        (URLENCODED, f"\n {JSON}", 415, "send Content-Type: application/json"),
        (URLENCODED, f"[{JSON}]", 415, "send Content-Type: application/json"),
        (URLENCODED, PART, 415, "is multipart/form-data"),
        (URLENCODED, "", 400, "is empty"),
        (MULTIPART + "; boundary=b", "", 400, "no fields"),
        ("application/json", " ", 400, "is empty"),
        ("application/json", "epoch=20", 400, "is not JSON"),
        ("application/json; charset=euc-kr", JSON, 415, "as UTF-8"),
        (f"{URLENCODED}; charset=cp949", "epoch=20", 415, "as UTF-8"),
        (None, "", 422, "experiment_id is missing"),
        (None, JSON, 415, "application/json"),
        ("text/plain", JSON, 415, "application/json"),
    ],
)
def test_wrong_encoding_is_named(client, launcher, content_type, body, status, sentence):
    response = client.post("/test", data=body, content_type=content_type)

    check_problem(response, status, sentence)
    assert not launcher.jobs


@pytest.mark.parametrize("content_type", [MULTIPART, URLENCODED, "application/json"])
@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP, identity"])
def test_compressed_body_refused(client, content_type, encoding):
    response = client.post(
        "/test",
        data=b"\x1f\x8b",
        headers={"Content-Encoding": encoding, "Content-Type": content_type},
    )

    check_problem(response, 415, "uncompressed")


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=UTF-8"])
@pytest.mark.parametrize("encoding", ["", "identity"])
def test_plain_encodings_accepted(client, content_type, encoding):
    headers = {"Content-Encoding": encoding, "Content-Type": content_type}

    assert client.post("/test", data=JSON, headers=headers).status_code == 201


@pytest.mark.parametrize("name", ["epoch", "실험", "\\n"])
def test_json_key_sent_twice(client, launcher, name):
    body = f'{{"{name}": 1, "learning_rate": 1, "{name}": 1}}'
    response = client.post("/test", data=body.encode(), content_type="application/json")

    check_problem(response, 422, "more than once")
    assert not launcher.jobs


@pytest.mark.parametrize("value", ["실험".encode("cp949"), b"\xff", b"a\xc3"])
def test_text_in_another_charset(client, launcher, value):
    """Korean Windows sends CP949, of which U+FFFD would become the name of the experiment."""
    body = b"learning_rate=0.001&epoch=20&experiment_id=" + value
    escaped = (
        b"learning_rate=0.001&epoch=20&experiment_id="
        + "".join(f"%{byte:02X}" for byte in value).encode()
    )
    part = b'--b\r\nContent-Disposition: form-data; name="experiment_id"\r\n\r\n'
    multipart = part + value + b"\r\n--b--\r\n"

    for content, content_type in (
        (body, URLENCODED),
        (escaped, URLENCODED),
        (multipart, f"{MULTIPART}; boundary=b"),
    ):
        response = client.post("/test", data=content, content_type=content_type)
        check_problem(response, 422 if content is multipart else 400, "is not UTF-8")
    body = b'{"experiment_id": "' + value + b'"}'
    check_problem(client.post("/test", data=body, content_type="application/json"), 400, "UTF-8")
    assert not launcher.jobs


def test_data_set_sent_as_a_file(client, tmp_path):
    (tmp_path / "a.csv").write_text("1,2")
    with (tmp_path / "a.csv").open("rb") as file:
        problem = check_problem(post(client, FORM | {"dataset": file}), 422)

    assert "PUT /inputs/NAME" in problem["detail"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", "0_001"),
        ("learning_rate", "٠.١"),
        ("learning_rate", "0.0٠1"),
        ("learning_rate", "0x1"),
        ("epoch", "2_0"),
        ("epoch", "٢٠"),
        ("epoch", "20.5"),
        ("epoch", "２０"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_other_number_syntax_refused(client, field, value, as_json):
    form = FORM | {field: value}
    response = client.post("/test", json=form) if as_json else post(client, form)

    problem = check_problem(response, 422, f"you sent '{value}'")
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize("value", ["5.0", "5", "+5", " 5 ", "5e0", "0.5e1", "5."])
def test_whole_number_in_any_form(client, value):
    assert post(client, FORM | {"epoch": value}).json["epoch"] == 5


@pytest.mark.parametrize("value", ["5.0", "5", "5e0", "0.5e1", '"5.0"'])
def test_whole_number_in_json(client, value):
    body = f'{{"learning_rate": 1, "epoch": {value}, "experiment_id": "a"}}'
    response = client.post("/test", data=body, content_type="application/json")

    assert response.json["epoch"] == 5


def test_korean_is_shown_as_korean(client):
    response = post(client, FORM | {"epoch": "스무 번"})

    assert "you sent '스무 번'" in response.json["detail"]
    assert "스무 번" in response.text
    response = client.get("/experiments?status=실행중")
    assert "'실행중'" in response.json["detail"]


def test_invisible_characters_are_shown_escaped(client):
    assert r"'\u202e5'" in post(client, FORM | {"epoch": "\u202e5"}).json["detail"]


@pytest.mark.parametrize(
    "body",
    [r'{"\ud800": 1}', r'{"epoch": {"\udfff": 1}}', r'{"epoch": [{"a\ud800b": 1}]}'],
)
def test_half_a_surrogate_pair_in_a_key(client, body):
    response = client.post("/test", data=body, content_type="application/json")

    check_problem(response, 400, "surrogate")
