"""Models of the catalogue: what is listed, what a submission may choose, and what is stored."""

import json
from dataclasses import replace

import pytest
import yaml

from backend.domain.attempt import Attempt, Program
from backend.domain.catalogue import Entry
from backend.domain.experiment import Parameters
from backend.experiments.rebuild import rebuild
from backend.launchers.base import Observation, Phase
from tests.component.support import FORM, check_problem

TABLE = {
    "description": "Classifies the rows of a table",
    "image": "localhost:5000/table:1",
    "command": ["python", "./train.py"],
    "parameters": {
        "target": {"type": "string", "description": "The column to predict"},
        "depth": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
        "rate": {"type": "number", "exclusiveMaximum": 1, "default": 0.5, "x-unit": "share"},
        "shuffle": {"type": "boolean", "default": True},
        "loss": {"type": "string", "enum": ["l1", "l2"], "default": "l2"},
    },
    "objective": {"metric": "accuracy", "goal": "maximize"},
    "resources": {"memory": "2Gi"},
    "sizes": {"large": {"memory": "8Gi", "gpu": 1}},
}
CHOICE = {"model": "table", "experiment_id": "first", "learning_rate": 0.5, "epoch": 3}
CHOICE |= {"target": "가격\n$(HOME)"}
VALUES = {"learning_rate": 0.5, "epoch": 3, "target": "가격\n$(HOME)", "depth": 3, "rate": 0.5}
VALUES |= {"shuffle": True, "loss": "l2"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def settings(settings, folder):
    write(folder, TABLE)
    return replace(settings, models_dir=folder)


def write(folder, document, name="table"):
    (folder / f"{name}.yaml").write_text(
        yaml.safe_dump(document, allow_unicode=True, sort_keys=False)
    )


def changed(**parameters):
    """Return TABLE with changed parameters."""
    return TABLE | {"parameters": TABLE["parameters"] | parameters}


def submit(client, **changes):
    return client.post("/experiments", json=CHOICE | changes)


def errors_of(response):
    return {one["field"]: one["detail"] for one in check_problem(response, 422)["errors"]}


def run_file(settings, experiment_id="first"):
    return json.loads((settings.output_dir / experiment_id / "run.json").read_text())


def fail(services, launcher, experiment_id="first"):
    """Let the current attempt of an experiment fail."""
    experiment = services.experiments.get(experiment_id)
    launcher.jobs[experiment.job] = Observation(experiment.uid, Phase.FAILED)
    services.recorder.record(experiment, launcher.jobs[experiment.job])


def program_of(launcher, job):
    return launcher.jobs[job].attempt.program


def test_models_are_listed(client):
    listed = client.get("/models").json

    names = ["autoencoder", "classifier", "conv-autoencoder", "table"]
    assert [model["name"] for model in listed] == names
    table = client.get("/models/table").json
    assert table == listed[3]
    assert list(table["parameters"]) == ["learning_rate", "epoch", *TABLE["parameters"]]
    assert table["parameters"]["rate"] == TABLE["parameters"]["rate"]
    assert table["objective"] == TABLE["objective"]
    assert table["sizes"] == {"large": {"memory": "8Gi", "gpu": "1"}}
    assert table["sha256"] == Entry.from_document("table", TABLE).sha256
    assert table["problem"] is None
    check_problem(
        client.get("/models/none"),
        404,
        "'none'",
        "autoencoder, classifier, conv-autoencoder, table",
    )


def test_wrong_entry_is_named_and_harms_no_other(client, folder):
    write(folder, {"docker": "x"}, "wrong")

    [wrong] = [model for model in client.get("/models").json if model["name"] == "wrong"]
    assert (wrong["name"], wrong["sha256"]) == ("wrong", None)
    assert "'docker' is unknown" in wrong["problem"]
    assert client.get("/models/wrong").json == wrong
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json["status"]) == (200, "ready")
    assert "wrong" in ready.json["detail"]
    assert "'docker' is unknown" in errors_of(submit(client, model="wrong"))["model"]
    assert submit(client).status_code == 201
    assert client.post("/test", data=FORM | {"experiment_id": "second"}).status_code == 201

    write(folder, {"image": "x:1"}, "wrong")
    assert client.get("/readyz").json == {"status": "ready"}
    assert submit(client, model="wrong", experiment_id="third").status_code == 422  # target


@pytest.mark.parametrize("kind", ["json", "data"])
def test_chosen_values_are_stored(client, launcher, settings, kind):
    response = client.post("/test", **{kind: CHOICE | {"size": "large"}})

    assert response.status_code == 201, response.text
    experiment = response.json
    assert experiment["model"] == "table"
    assert experiment["parameters"] == VALUES
    assert experiment["size"] == "large"
    assert experiment["job"].startswith("table-first-")
    entry = Entry.from_document("table", TABLE)
    assert experiment["entry_sha256"] == entry.sha256
    for query in ("", "?model=table"):
        (listed,) = client.get(f"/experiments{query}").json
        assert {name: experiment[name] for name in listed if name in experiment} == {
            name: listed[name] for name in listed if name in experiment
        }
        assert listed["parameters"] == VALUES
    content = run_file(settings)
    assert content["parameters"] == VALUES
    assert content["entry"] == json.loads(entry.content)
    written = (settings.output_dir / "first" / "parameters.json").read_text()
    assert json.loads(written) == VALUES
    assert program_of(launcher, experiment["job"]) == Program(
        "localhost:5000/table:1",
        ("python", "./train.py"),
        (("gpu", "1"), ("memory", "8Gi")),
    )


def test_every_wrong_field_is_named_at_once(client):
    wrong = {"experiment_id": "a/b", "epoch": "1_0", "depth": 10, "rate": "1", "shuffle": "maybe"}
    wrong |= {"loss": "l3", "target": "a\0b", "deep": 1, "size": "huge", "dataset": 5}
    response = submit(client, **wrong)

    errors = errors_of(response)
    assert errors.keys() == wrong.keys()
    assert "a whole number from 1 to 9, such as 3" in errors["depth"]
    assert "below 1" in errors["rate"]
    assert "true or false" in errors["shuffle"]
    assert "l1 or l2" in errors["loss"]
    assert "NUL" in errors["target"]
    assert "large" in errors["size"]
    assert "depth" in errors["deep"]


@pytest.mark.parametrize(
    "model", ["", "none", "Table", "../table", "a\0", "x" * 9999, 5, None, [], "table.yaml"]
)
def test_unknown_model(client, model):
    errors = errors_of(submit(client, model=model))

    assert errors.keys() == {"model"}
    assert len(errors["model"]) < 300


def test_missing_parameter(client):
    fields = {name: value for name, value in CHOICE.items() if name not in ("target", "epoch")}
    errors = errors_of(client.post("/test", data=fields))

    assert errors.keys() == {"target", "epoch"}
    assert all("is missing: send" in detail for detail in errors.values())


def test_parameters_of_other_models_are_unknown(client):
    errors = errors_of(
        client.post("/test", data=FORM | {"depth": "3", "values": "1", "choice": "1"})
    )

    assert errors.keys() == {"depth", "values", "choice"}


@pytest.mark.parametrize(
    "same", [{}, {"depth": "3.0"}, {"rate": "5e-1"}, {"size": None}, {"shuffle": "TRUE"}]
)
def test_same_choice_again(client, launcher, same):
    submit(client)

    assert submit(client, **same).status_code == 200
    assert launcher.submissions == 1


@pytest.mark.parametrize(
    "other",
    [
        {"depth": 4},
        {"target": "x"},
        {"shuffle": False},
        {"size": "large"},
        {"learning_rate": 0.25},
        {"dataset": "a.npz"},
    ],
)
def test_other_choice_is_a_conflict(client, settings, other):
    submit(client)
    (settings.input_dir / "a.npz").touch()

    response = submit(client, **other)
    check_problem(response, 409, "depth 3", "loss 'l2'", "model table")


def test_other_model_is_a_conflict(client):
    fields = {"experiment_id": "first", "learning_rate": 0.5, "epoch": 3}
    client.post("/test", json=fields)

    check_problem(submit(client), 409, "learning_rate 0.5, epoch 3, ", "dataset all")


def test_changed_defaults_do_not_change_what_was_sent(client, folder):
    submit(client)
    write(
        folder,
        changed(depth={"type": "integer", "default": 5}, new={"type": "integer", "default": 1}),
    )

    assert submit(client).status_code == 200
    assert submit(client, depth=3).status_code == 200
    assert submit(client, depth=5).status_code == 409
    assert submit(client, new=1).status_code == 409
    assert submit(client, experiment_id="second").json["parameters"]["depth"] == 5


def test_row_of_an_older_version(client, services, folder):
    """It has no other parameters: a default means the same, whatever the model has by now."""
    services.experiments.submit("first", Parameters("autoencoder", 0.001, 20, None))
    write(folder, {"parameters": {"batch": {"type": "integer", "default": 64}}}, "autoencoder")

    assert client.get("/experiments/first").json["parameters"] == {
        "learning_rate": 0.001,
        "epoch": 20,
    }
    assert client.post("/test", data=FORM).status_code == 200
    assert client.post("/test", data=FORM | {"batch": "64"}).status_code == 200
    assert client.post("/test", data=FORM | {"batch": "32"}).status_code == 409


@pytest.mark.parametrize("change", [{"image": "localhost:5000/table:2"}, None])
def test_retry_uses_the_stored_entry(client, services, launcher, settings, folder, change):
    submit(client)
    fail(services, launcher)
    write(folder, TABLE | change) if change else (folder / "table.yaml").unlink()

    retried = client.post("/experiments/first/retry").json
    assert retried["status"] == "queued"
    assert program_of(launcher, retried["job"]).image == "localhost:5000/table:1"
    assert run_file(settings)["entry"]["image"] == "localhost:5000/table:1"


def test_rebuilt_database(client, services, launcher, settings, folder, delete_rows):
    submit(client, size="large", depth=7)
    fail(services, launcher)
    before = client.get("/experiments/first").json
    delete_rows()
    rebuild(services.archive, launcher)

    assert client.get("/experiments/first").json == before
    assert submit(client, size="large", depth=7).status_code == 200
    retried = client.post("/experiments/first/retry").json
    assert program_of(launcher, retried["job"]).image == "localhost:5000/table:1"
    assert run_file(settings)["entry"] == json.loads(Entry.from_document("table", TABLE).content)


def test_entry_in_run_json_is_only_a_record(
    client, services, launcher, settings, folder, delete_rows
):
    """A trainer can write to its run.json: neither image nor command of a Job come from there."""
    submit(client)
    fail(services, launcher)
    evil = Entry.from_document("table", TABLE | {"image": "evil:1"})
    path = settings.output_dir / "first" / "run.json"
    forged = run_file(settings) | {"entry": json.loads(evil.content), "entry_sha256": evil.sha256}
    path.write_text(json.dumps(forged))
    services.archive.update_run_file(services.experiments.get("first"))
    assert run_file(settings).get("entry") != forged["entry"]

    path.write_text(json.dumps(forged))
    delete_rows()
    rebuild(services.archive, launcher)
    retried = client.post("/experiments/first/retry").json
    assert program_of(launcher, retried["job"]).image == "localhost:5000/table:1"


def test_lost_entry_is_explained(client, services, launcher, folder, delete_rows, settings):
    submit(client)
    fail(services, launcher)
    content = run_file(settings) | {"entry_sha256": "0f" * 32}
    (settings.output_dir / "first" / "run.json").write_text(json.dumps(content))
    delete_rows()
    rebuild(services.archive, launcher)
    write(folder, changed(target={"type": "string", "enum": ["another"]}))

    response = client.post("/experiments/first/retry")
    assert check_problem(response, 502, "MODELS_DIR")["reason"] == "model_changed"
    assert client.get("/experiments/first").json["status"] == "failed"
    write(folder, TABLE)
    assert client.post("/experiments/first/retry").status_code == 202


def test_experiment_known_from_its_job_alone(client, services, launcher, settings, delete_rows):
    job = submit(client, size="large").json["job"]
    attempt = Attempt.from_fields(json.loads(json.dumps(launcher.jobs[job].attempt.to_fields())))
    launcher.jobs[job] = replace(launcher.jobs[job], attempt=attempt)
    delete_rows()
    (settings.output_dir / "first" / "run.json").unlink()
    rebuild(services.archive, launcher)

    experiment = client.get("/experiments/first").json
    assert (experiment["parameters"], experiment["size"]) == (VALUES, "large")


def test_image_that_runs_is_stored(client, services, launcher, settings):
    job = submit(client).json["job"]
    experiment = services.experiments.get("first")
    running = Observation(experiment.uid, Phase.RUNNING, image="table@sha256:1")
    services.recorder.record(experiment, running)

    assert client.get("/experiments/first").json["image"] == "table@sha256:1"
    assert run_file(settings)["image"] == "table@sha256:1"
    later = replace(running, image="table@sha256:2")
    services.recorder.record(services.experiments.get("first"), later)
    assert client.get("/experiments").json[0]["image"] == "table@sha256:2"
    fail(services, launcher)
    assert client.get("/experiments/first").json["image"] == "table@sha256:2"
    assert client.post("/experiments/first/retry").json["image"] is None
    assert job in launcher.jobs


def test_openapi_knows_the_models(client, folder):
    schemas = client.get("/openapi.json").json["components"]["schemas"]
    table = schemas["TableExperiment"]
    assert table["required"] == ["experiment_id", "learning_rate", "epoch", "target", "model"]
    assert table["properties"]["depth"]["maximum"] == 9
    assert table["properties"]["size"]["enum"] == ["large"]
    body = schemas["ExperimentIn"]
    assert [one["$ref"] for one in body["oneOf"]] == list(body["discriminator"]["mapping"].values())

    write(folder, TABLE, "table-2")
    assert "Table2Experiment" in client.get("/openapi.json").json["components"]["schemas"]


def test_form_is_made_from_the_entry(client):
    page = client.get("/ui/new?model=table").text

    assert '<input type="hidden" name="model" value="table">' in page
    for name in (*TABLE["parameters"], "learning_rate", "epoch", "size"):
        assert f'id="{name}"' in page, name
    assert "A whole number from 1 to 9, such as 3." in page
    assert "The column to predict." in page
    assert "In share." in page
    assert "<option selected>l2</option>" in page
    assert "<option selected>true</option>" in page
    assert 'value="0.5" inputmode="decimal"' in page
    assert "<option>autoencoder</option>" in page
    assert "Classifies the rows of a table" in page
    check_page = client.get("/ui/new?model=none")
    assert (check_page.status_code, "no model" in check_page.text) == (404, True)


@pytest.mark.parametrize("path", ["/ui/new", "/ui/sweeps/new"])
def test_form_says_how_many_nodes_train(client, folder, path):
    assert "nodes together" not in client.get(f"{path}?model=table").text
    write(folder, TABLE | {"nodes": 3})

    assert "is trained by 3 nodes together." in client.get(f"{path}?model=table").text


def test_form_has_the_values_of_an_experiment(client, folder):
    submit(client, depth=7, loss="l1", shuffle=False, size="large", target="<b>")

    page = client.get("/ui/new?from=first").text
    assert '<input type="hidden" name="model" value="table">' in page
    assert 'value="7"' in page
    assert 'value="&lt;b&gt;"' in page
    for chosen in ("l1", "false", "large", "table"):
        assert f"<option selected>{chosen}</option>" in page
    shown = client.get("/ui/experiments/first").text
    assert "&lt;b&gt;" in shown
    assert "--form-string depth=7" in shown
    assert "--form-string model=table" in shown
    (folder / "table.yaml").unlink()
    assert client.get("/ui/new").status_code == 200
    assert "<option>table" not in client.get("/ui/new").text


def test_other_parameters_are_compared(client):
    submit(client)
    submit(client, experiment_id="second", depth=7)
    client.post("/test", data=FORM | {"experiment_id": "third"})

    page = client.get("/ui/compare?id=first&id=second&id=third").text
    assert "depth" in page
    assert "model" in page


def test_warnings_follow_the_objective_of_the_model(client, settings):
    """Its accuracy improves, although its loss rises."""
    submit(client)
    rows = [{"epoch": e, "val_loss": 0.5 + e, "accuracy": 0.1 * e} for e in (1, 2, 3)]
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (settings.output_dir / "first" / "metrics.jsonl").write_text(text)
    client.post("/test", data=FORM | {"experiment_id": "second", "epoch": "3"})
    (settings.output_dir / "second" / "metrics.jsonl").write_text(text)
    for name in ("first", "second"):
        client.post(f"/experiments/{name}/cancel")

    def codes(path, name):
        return [warning["code"] for warning in client.get(path.format(name)).json["warnings"]]

    services = client.application.extensions["services"]
    for name in ("first", "second"):
        experiment = services.experiments.get(name)
        services.recorder.record(experiment, Observation(experiment.uid, Phase.CANCELLED))
    assert codes("/experiments/{}", "first") == []
    assert codes("/experiments/{}", "second") == ["objective_not_improved"]
    compared = client.get("/compare?id=first&id=second").json["experiments"]
    assert [len(one["warnings"]) for one in compared] == [0, 1]
    assert "Best accuracy" in client.get("/ui?metric=accuracy").text


@pytest.mark.parametrize("kind", ["json", "data"])
@pytest.mark.parametrize(
    ("sent", "priority"),
    [({}, "normal"), *(({"priority": p}, p) for p in ("low", "normal", "high"))],
)
def test_priority_is_stored(client, settings, kind, sent, priority):
    response = client.post("/test", **{kind: CHOICE | sent})

    assert (response.status_code, response.json["priority"]) == (201, priority)
    assert client.get("/experiments/first").json["priority"] == priority
    assert client.get("/experiments").json[0]["priority"] == priority
    stored = run_file(settings)["priority"]
    assert stored == (None if priority == "normal" else priority)
    assert client.post("/test", **{kind: CHOICE | sent}).status_code == 200


def test_other_priority_is_another_experiment(client):
    assert submit(client, priority="high").status_code == 201

    assert submit(client).status_code == 409
    assert submit(client, priority="high").status_code == 200


@pytest.mark.parametrize("priority", ["", "urgent", "HIGH", 1, ["low"], {"low": 1}, True])
def test_other_priorities_are_refused(client, priority):
    assert errors_of(submit(client, priority=priority)).keys() == {"priority"}
