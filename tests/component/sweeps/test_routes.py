"""The routes of sweeps."""

import json

import pytest

from backend.domain.status import Status
from backend.launchers.base import Phase
from tests.component.support import check_problem

FORM = {
    "sweep_id": "s",
    "epoch": "9",
    "learning_rate": "0.0001..0.1 log",
    "hidden": ["32", "64"],
    "method": "random",
    "trials": "4",
    "parallel": "2",
    "stop": "none",
}


def errors_of(response):
    return {one["field"]: one["detail"] for one in response.json["errors"]}


def test_start(client):
    response = client.post("/sweeps", data=FORM)

    assert response.status_code == 201, response.text
    assert response.headers["Location"] == "/sweeps/s"
    sweep = response.json
    assert sweep["message"] == "Sweep Started"
    assert sweep["ui_url"].endswith("/ui/sweeps/s")
    assert (sweep["sweep_id"], sweep["status"], sweep["model"]) == ("s", "running", "autoencoder")
    assert sweep["space"] == {
        "hidden": [32, 64],
        "learning_rate": {"low": 0.0001, "high": 0.1, "log": True},
    }
    assert sweep["fixed"]["epoch"] == 9
    assert (sweep["metric"], sweep["goal"]) == ("val_loss", "minimize")
    assert (sweep["trials"], sweep["parallel"], sweep["submitted"]) == (4, 2, 0)


def test_three_lines_are_enough(client):
    response = client.post(
        "/sweeps", data={"sweep_id": "s", "epoch": "9", "learning_rate": "0.001..0.1"}
    )

    sweep = response.json
    assert response.status_code == 201
    assert (sweep["method"], sweep["stop"], sweep["trials"], sweep["parallel"]) == (
        *("tpe", "asha", 20, 1),
    )
    assert (sweep["min_epoch"], sweep["eta"], sweep["max_failed"], sweep["seed"]) == (3, 3, 5, 0)


def test_json_is_the_same(client):
    body = {
        "sweep_id": "s",
        "epoch": 9,
        "learning_rate": {"low": 0.0001, "high": 0.1, "log": True},
        "hidden": [32, 64],
        "method": "random",
        "trials": 4,
        "parallel": 2,
        "stop": "none",
    }
    assert client.post("/sweeps", json=body).status_code == 201
    response = client.post("/sweeps", data=FORM)

    assert response.status_code == 200, response.text
    assert response.json["message"] == "Sweep Already Started"


def test_other_fields_are_a_conflict(client):
    client.post("/sweeps", data=FORM)

    check_problem(client.post("/sweeps", data=FORM | {"seed": "2"}), 409, "other fields")


def test_the_same_fields_after_a_patch(client):
    client.post("/sweeps", data=FORM)
    client.patch("/sweeps/s", json={"trials": 9})

    assert client.post("/sweeps", data=FORM).status_code == 200


def test_every_mistake_at_once(client):
    response = client.post(
        "/sweeps",
        data={
            "sweep_id": "../s",
            "epoch": "9..1",
            "learning_rate": "0..0.1",
            "hidden": ["32", "32"],
            "colour": "red",
            "method": "guess",
            "trials": "0",
            "parallel": "many",
            "stop": ["asha", "none"],
            "eta": "1",
            "size": "huge",
        },
    )

    check_problem(response, 422)
    # The form itself is wrong first; then everything else is named together.
    assert errors_of(response) == {"stop": "was sent more than once: send it once."}
    response = client.post(
        "/sweeps",
        json={
            "sweep_id": "../s",
            "epoch": "9..1",
            "learning_rate": "0..0.1",
            "hidden": ["32", "32"],
            "colour": "red",
            "method": "guess",
            "trials": 0,
            "parallel": [2],
            "stop": {},
            "eta": 1.5,
            "seed": True,
            "size": "huge",
        },
    )
    check_problem(response, 422)
    assert set(errors_of(response)) == {
        *("sweep_id", "epoch", "learning_rate", "hidden", "colour", "method", "trials"),
        *("parallel", "stop", "eta", "seed", "size"),
    }
    assert client.get("/sweeps").json == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"learning_rate": "0.1", "hidden": "8"}, "nothing varies"),
        ({"method": "grid"}, "without a step"),
        ({"method": "grid", "learning_rate": "0.1"}, "at most 2"),
        ({"metric": "no such\nmetric"}, "name of a metric"),
        ({"metric": "score"}, "goal is missing"),
        ({"model": "nothing"}, "must be one of"),
        ({"sweep_id": "s" * 196}, "its trials are named after it"),
        ({"dataset": "missing.npz"}, "dataset"),
    ],
)
def test_what_cannot_be_a_sweep(client, changes, text):
    check_problem(client.post("/sweeps", data=FORM | changes), 422, text)
    assert client.get("/sweeps").json == []


def test_a_parameter_with_the_name_of_a_field(client):
    response = client.post("/sweeps", data=FORM | {"seed": "7", "parameter.seed": ["1", "2"]})

    assert response.status_code == 201, response.text
    assert response.json["seed"] == 7
    assert response.json["space"]["seed"] == [1, 2]
    wrong = client.post("/sweeps", data=FORM | {"sweep_id": "t", "parameter.seed": "x"})
    assert list(errors_of(wrong)) == ["parameter.seed"]


@pytest.mark.parametrize("body", [[], "text", 1, None, {"sweep_id": {}}, {"learning_rate": {}}])
def test_hostile_json(client, body):
    check_problem(client.post("/sweeps", json=body), 422)


def test_deeply_nested_json(client):
    deep = "[" * 20_000 + "]" * 20_000
    response = client.post(
        "/sweeps",
        data=f'{{"sweep_id": "s", "epoch": 1, "learning_rate": {deep}}}',
        content_type="application/json",
    )

    assert response.status_code in (400, 422)


def test_an_id_is_an_experiment_or_a_sweep(client, experiments):
    client.post("/test", data={"experiment_id": "s", "learning_rate": "0.1", "epoch": "1"})
    check_problem(client.post("/sweeps", data=FORM), 409)
    client.post("/sweeps", data=FORM | {"sweep_id": "t"})

    response = client.post(
        "/test", data={"experiment_id": "t", "learning_rate": "0.1", "epoch": "1"}
    )
    check_problem(response, 409)


def test_the_id_of_a_trial_may_be_taken(client):
    client.post("/test", data={"experiment_id": "s-0003", "learning_rate": "0.1", "epoch": "1"})

    check_problem(client.post("/sweeps", data=FORM), 409, "'s-0003'")


def test_show(client, house):
    client.post("/sweeps", data=FORM | {"learning_rate": ["0.1", "0.2"], "hidden": "8"})
    house.driver.step()
    house.end("s-0001", 3.0, 0.5, 0.7)
    house.end("s-0002", phase=Phase.FAILED)
    house.driver.step()
    house.summaries()

    sweep = client.get("/sweeps/s").json
    assert sweep["counts"] == {"succeeded": 1, "failed": 1, "queued": 2}
    assert (sweep["best"]["experiment_id"], sweep["best"]["value"], sweep["best"]["epoch"]) == (
        *("s-0001", 0.5, 2),
    )
    assert sweep["best"]["parameters"]["learning_rate"] in (0.1, 0.2)
    assert sweep["epochs_spent"] == 3


def test_trials(client, house):
    client.post("/sweeps", data=FORM | {"parallel": "4"})
    house.driver.step()
    for number, loss in enumerate((0.3, 0.1, 0.2), 1):
        house.end(f"s-000{number}", loss)
    house.summaries()

    def ids(query):
        return [one["number"] for one in client.get(f"/sweeps/s/trials{query}").json]

    assert ids("") == [1, 2, 3, 4]
    assert ids("?sort=value") == [2, 3, 1, 4]
    assert ids("?sort=-number&limit=2") == [4, 3]
    assert ids("?pruned=true") == []
    first = client.get("/sweeps/s/trials").json[0]
    assert (first["experiment_id"], first["value"], first["status"]) == ("s-0001", 0.3, "succeeded")
    check_problem(client.get("/sweeps/s/trials?sort=colour"), 422, "must be one of")


def test_a_trial_is_an_experiment_that_names_its_sweep(client, house):
    client.post("/sweeps", data=FORM)
    house.driver.step()

    trial = client.get("/experiments/s-0001").json
    assert (trial["sweep_id"], trial["trial"]) == ("s", 1)
    assert len(client.get("/experiments?where=sweep_id=s").json) == 2
    assert client.get("/experiments?where=trial>1").json[0]["experiment_id"] == "s-0002"


def test_lists_can_leave_out_pruned_trials(client, house, services):
    client.post("/sweeps", data=FORM)
    house.driver.step()
    services.experiments.prune("s-0001", 1, "It is hopeless.")
    house.end("s-0001", phase=Phase.CANCELLED)

    def ids(query):
        return [one["experiment_id"] for one in client.get(f"/experiments?{query}").json]

    assert services.experiments.get("s-0001").status is Status.CANCELLED
    assert ids("pruned=false") == ["s-0002"]
    assert ids("pruned=true") == ["s-0001"]
    assert ids("pruned=false&status=cancelled,queued") == ["s-0002"]


def test_pause_resume_cancel_delete(client, house):
    client.post("/sweeps", data=FORM)
    house.driver.step()
    assert client.post("/sweeps/s/pause").json["status"] == "paused"
    assert client.post("/sweeps/s/pause").status_code == 200
    assert client.post("/sweeps/s/resume").json["status"] == "running"
    check_problem(client.delete("/sweeps/s"), 409, "cancel it first")
    response = client.post("/sweeps/s/cancel")
    assert (response.status_code, response.json["status"]) == (202, "cancelled")
    check_problem(client.post("/sweeps/s/resume"), 409, "only a paused or failed sweep")
    response = client.delete("/sweeps/s?outputs=true")
    assert response.status_code == 202
    assert response.json["delete_requested_at"]
    house.driver.step()
    assert client.get("/sweeps/s").status_code == 200  # until its trials have ended
    for experiment_id in house.live():
        house.end(experiment_id, phase=Phase.CANCELLED)
    house.driver.step()

    check_problem(client.get("/sweeps/s"), 404, "There is no sweep 's'")
    assert client.get("/experiments").json == []


def test_patch(client):
    client.post("/sweeps", data=FORM)

    response = client.patch("/sweeps/s", data={"trials": "9", "parallel": "3"})
    assert (response.json["trials"], response.json["parallel"]) == (9, 3)
    check_problem(client.patch("/sweeps/s", json={}), 422, "nothing to change")
    check_problem(client.patch("/sweeps/s", json={"trials": 10**9}), 422, "from 1 to 9999")
    check_problem(client.patch("/sweeps/none", json={"trials": 9}), 404)


def test_fewer_trials_than_there_were(client, house):
    client.post("/sweeps", data=FORM)
    house.driver.step()

    check_problem(client.patch("/sweeps/s", json={"trials": 1}), 422, "at least 2")


def test_list(client):
    for number in range(3):
        client.post("/sweeps", data=FORM | {"sweep_id": f"s{number}"})
    first = client.get("/sweeps?limit=2")

    assert [one["sweep_id"] for one in first.json] == ["s2", "s1"]
    following = first.headers["Link"].partition(">")[0].strip("<")
    last = client.get(following)
    assert [one["sweep_id"] for one in last.json] == ["s0"]
    assert "Link" not in last.headers


def test_list_shows_the_best_trial(client, house):
    client.post("/sweeps", data=FORM)
    client.post("/sweeps", data=FORM | {"sweep_id": "t", "goal": "maximize"})
    assert [sweep["best"] for sweep in client.get("/sweeps").json] == [None, None]
    house.driver.step()
    for sweep_id in ("s", "t"):
        house.end(f"{sweep_id}-0001", 0.25, 0.5)
        house.end(f"{sweep_id}-0002", 0.75)
    house.summaries()

    best = {sweep["sweep_id"]: sweep["best"] for sweep in client.get("/sweeps").json}
    assert (best["s"]["experiment_id"], best["s"]["value"], best["s"]["epoch"]) == (
        *("s-0001", 0.25, 1),
    )
    assert (best["t"]["experiment_id"], best["t"]["value"]) == ("t-0002", 0.75)
    for sweep_id in ("s", "t"):
        assert client.get(f"/sweeps/{sweep_id}").json["best"] == best[sweep_id]
        assert client.post(f"/sweeps/{sweep_id}/pause").json["best"] == best[sweep_id]


def test_analysis(client, house):
    client.post("/sweeps", data=FORM | {"trials": "12", "parallel": "12"})
    house.driver.step()
    assert client.get("/sweeps/s/analysis").json["importance"] is None
    for trial in house.trials():
        house.end(trial.experiment_id, trial.parameters["learning_rate"])
    house.summaries()
    house.driver.step()

    analysis = client.get("/sweeps/s/analysis").json
    assert analysis["importance_trials"] == 12
    assert sum(analysis["importance"].values()) == pytest.approx(1, abs=1e-5)
    best = [one["best"] for one in analysis["best_so_far"]]
    assert len(best) == 12
    assert best == sorted(best, reverse=True)


def test_sweep_file(client, services):
    client.post("/sweeps", data=FORM)
    client.post("/sweeps/s/pause")
    content = json.loads((services.outputs.folder("s") / "sweep.json").read_text())

    assert content["status"] == "paused"
    assert content["definition"]["space"]["hidden"] == [32, 64]


def test_korean_ids(client):
    assert client.post("/sweeps", data=FORM | {"sweep_id": "탐색"}).status_code == 201
    decomposed = "\u1110\u1161\u11b7\u1109\u1162\u11a8"

    assert client.get(f"/sweeps/{decomposed}").json["sweep_id"] == "탐색"


def test_database_away(client, outage):
    outage.begin()

    check_problem(client.post("/sweeps", data=FORM), 503)
    check_problem(client.get("/sweeps/s"), 503)


def test_curves(client, house, services):
    client.post("/sweeps", data=FORM)
    house.driver.step()
    house.train("s-0001", 0.5, 0.25)
    house.end("s-0001", 0.5, 0.25)
    house.driver.step()
    services.experiments.prune("s-0002", 1, "It was hopeless.")
    house.end("s-0002", 0.9, phase=Phase.CANCELLED)
    house.summaries()

    answer = client.get("/sweeps/s/curves").json
    first, second, *_ = answer["trials"]
    assert (answer["metric"], answer["goal"], answer["complete"]) == ("val_loss", "minimize", True)
    assert (
        first.items()
        >= {
            "number": 1,
            "experiment_id": "s-0001",
            "outcome": "succeeded",
            "best": 0.25,
            "epoch": [1, 2],
            "value": [0.5, 0.25],
        }.items()
    )
    assert set(first["parameters"]) == {"learning_rate", "hidden"}
    assert (second["outcome"], second["value"]) == ("pruned", [0.9])
    numbers = [trial["number"] for trial in client.get("/sweeps/s/curves?first=2").json["trials"]]
    assert numbers == [2, 3]
    last = client.get("/sweeps/s/curves?limit=1&max_points=2").json["trials"]
    assert [trial["number"] for trial in last] == [3]
    assert client.get("/sweeps/s/curves?limit=100000").status_code == 422
    assert client.get("/sweeps/none/curves").status_code == 404


def test_promotion_goes_with_asha(client):
    answer = client.post("/sweeps", data=FORM | {"stop": "median", "promote": "true"})
    assert answer.status_code == 422
    assert "stop=asha alone" in answer.text
    assert client.post("/sweeps", data=FORM | {"promote": "perhaps"}).status_code == 422
    started = client.post("/sweeps", data=FORM | {"stop": "asha", "promote": "true"})
    assert (started.status_code, started.json["promote"]) == (201, True)
    for number, (sent, promote) in enumerate(
        [({"stop": "asha"}, True), ({"stop": "asha", "promote": "false"}, False), ({}, False)]
    ):
        started = client.post("/sweeps", data=FORM | {"sweep_id": f"p{number}"} | sent)
        assert (started.status_code, started.json["promote"]) == (201, promote)
    assert client.post("/sweeps", data=FORM | {"stop": "asha"}).status_code == 200
    other = FORM | {"stop": "asha", "promote": "false"}
    assert client.post("/sweeps", data=other).status_code == 409
