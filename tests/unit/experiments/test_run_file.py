import json
from dataclasses import asdict
from datetime import UTC, datetime

import pytest

from backend.domain.attempt import Attempt
from backend.domain.experiment import Experiment, Parameters, Transition, new_values
from backend.domain.status import Status
from backend.experiments import run_file
from backend.experiments.run_file import UnusableRunFile, parse, render

PARAMETERS = Parameters("autoencoder", 0.001, 20, None, priority="high")
NOW = datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)
LATER = datetime(2024, 2, 29, 13, tzinfo=UTC)
HISTORY = [
    Transition(1, None, Status.SUBMITTING, None, NOW, "alice"),
    Transition(1, Status.SUBMITTING, Status.FAILED, "trainer_failed", LATER),
]


def an_experiment(experiment_id="실험 1"):
    empty = dict.fromkeys(("message", "remedy", "started_at", "cancel_requested_at"))
    ended = {"status": Status.FAILED, "finished_at": LATER, "reason": "trainer_failed"}
    ended |= {"cancel_requested_by": "bob"}
    people = {"tags": '["baseline", "실험"]', "favourite": True, "revision": 2}
    values = new_values(experiment_id, PARAMETERS, "alice") | empty | ended | people
    return Experiment(id=7, **values)


def content(**changes):
    """Return the content of run.json after a round trip through JSON."""
    return json.loads(json.dumps(render(an_experiment(), HISTORY))) | changes


def test_round_trip():
    experiment = an_experiment()
    file = parse(json.loads(json.dumps(render(experiment, HISTORY, "**good**"))), "실험 1")

    assert file.note == "**good**"
    assert {"id": 7, "delete_requested_at": None, **file.values} == asdict(experiment)
    assert file.history == tuple(HISTORY)
    assert (file.attempt, file.parameters) == (experiment.current_attempt, PARAMETERS)


def test_adopted_from_job_alone():
    values = new_values("first", PARAMETERS)
    file = parse(run_file.adopted(Attempt.from_columns(values), NOW), "first")

    assert file.values["status"] is Status.QUEUED
    assert file.values["created_at"] == NOW
    assert [(transition.to_status, transition.reason) for transition in file.history] == [
        ("submitting", "adopted"),
        ("queued", "adopted"),
    ]


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"status": "submitting", "finished_at": None}, ["submitting"]),
        ({}, ["submitting", "failed"]),
        ({"started_at": "2024-02-29T12:30:00Z"}, ["submitting", "running", "failed"]),
    ],
)
def test_record_without_history(changes, steps):
    old = content(**changes)
    del old["history"]
    file = parse(old, "실험 1")

    assert [transition.to_status for transition in file.history] == steps
    assert file.history[-1].at == (file.values["finished_at"] or file.values["created_at"])


def test_begun_attempt_is_queued():
    submitting = parse(content(status="submitting", finished_at=None), "실험 1")
    begun = submitting.started(LATER)

    assert begun.values["status"] is Status.QUEUED
    assert begun.history[-1].reason == "rebuilt"
    assert parse(content(), "실험 1").started(LATER).values["status"] is Status.FAILED


STEP = {"attempt": 1, "from_status": None, "to_status": "submitting", "reason": None}
AT = {"at": "2024-02-29T12:00:00Z"}


@pytest.mark.parametrize(
    "changes",
    [
        {"experiment_id": "another"},
        {"experiment_id": "../실험 1"},
        {"experiment_id": None},
        {"uid": "../../etc"},
        {"uid": "0" * 33},
        {"model": "Auto Encoder"},
        {"model": "a" * 60},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"learning_rate": -1.0},
        {"learning_rate": "0.001"},
        {"epoch": 0},
        {"epoch": 2**40},
        {"epoch": True},
        {"attempt": 0},
        {"attempt": 2**40},
        {"dataset": "../secret.npz"},
        {"dataset": "\ud800"},
        {"dataset": 1},
        {"status": "done"},
        {"status": None},
        {"created_at": None},
        {"created_at": "2024-02-29T12:00:00"},
        {"created_at": "0001-01-01T00:00:00Z"},
        {"updated_at": "9999-12-31T23:59:59-14:00"},
        {"updated_at": 5},
        {"reason": "a sentence"},
        {"reason": "x" * 65},
        {"reason": 1},
        {"message": "x" * 70_000},
        {"message": "\ud800"},
        {"remedy": 1},
        {"attempt": 2**31 - 1},
        {"history": 1},
        {"history": []},
        {"history": {}},
        {"history": ""},
        {"history": [STEP | AT | {"attempt": 2**31 - 1}]},
        {"history": {"a": 1}},
        {"history": [STEP]},
        {"history": [STEP | AT | {"to_status": "gone"}]},
        {"history": [STEP | AT | {"attempt": "1"}]},
        {"history": [STEP | AT | {"reason": "\n"}]},
    ],
)
def test_tampered_record_refused(changes):
    with pytest.raises(UnusableRunFile):
        parse(content(**changes), "실험 1")


def test_record_in_other_folder_refused():
    with pytest.raises(UnusableRunFile, match="실험 1"):
        parse(content(), "elsewhere")


def test_job_name_is_derived():
    file = parse(content(job="kube-system-pod"), "실험 1")

    assert file.values["job"] == file.attempt.handle


def test_absurd_attempt_refused():
    """Nothing loops over two billion attempts because a trainer wrote that number."""
    with pytest.raises(UnusableRunFile, match="attempt is out of range"):
        parse(content(attempt=2**31 - 1), "실험 1")


CHOSEN = {"learning_rate": 0.001, "epoch": 20, "text": "가\n$(X)", "depth": 3, "flag": True}


def test_parameters_of_the_model():
    chosen = {"size": "large", "entry_sha256": "0f" * 32, "image": "ours@sha256:1"}
    file = parse(content(parameters=CHOSEN, **chosen), "실험 1")

    assert file.parameters.values == CHOSEN
    assert chosen.items() <= file.values.items()
    assert file.attempt.size == "large"
    restored = Experiment(id=7, **file.values)
    assert render(restored, HISTORY)["parameters"] == CHOSEN


def test_number_of_nodes():
    """It is in the record of a gang only."""
    file = parse(content(nodes=2, entry_sha256="0f" * 32), "실험 1")

    assert file.attempt.nodes == 2
    gang = Experiment(id=7, **file.values)
    assert render(gang, HISTORY)["nodes"] == 2
    assert "nodes" not in content()


def test_record_of_an_older_version():
    new = content()
    later = ("parameters", "size", "entry_sha256", "image", "submitted_by")
    later += ("tags", "favourite", "note", "revision")
    old = {name: value for name, value in new.items() if name not in later}

    nothing = {"tags": [], "favourite": False, "revision": None}
    assert parse(old, "실험 1") == parse(new | nothing, "실험 1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"tags": "baseline"},
        {"tags": [1]},
        {"tags": ["a,b"]},
        {"tags": ["a" * 51]},
        {"tags": ["zero\u200bwidth"]},
        {"tags": [str(number) for number in range(51)]},
        {"note": 1},
        {"note": "x" * 16_001},
        {"note": "\0"},
        {"note": "\ud800"},
        {"favourite": "yes"},
        {"revision": 0},
        {"revision": 2**31},
        {"revision": True},
    ],
)
def test_annotations_that_nobody_can_have_added(wrong):
    with pytest.raises(UnusableRunFile):
        parse(content(**wrong), "실험 1")


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": []},
        {"parameters": {"Depth": 1}},
        {"parameters": {"depth": None}},
        {"parameters": {"depth": [1]}},
        {"parameters": {"depth": float("nan")}},
        {"parameters": {"depth": 2**63}},
        {"parameters": {"text": "\ud800"}},
        {"parameters": {"text": "x" * 70_000}},
        {"size": "../x"},
        {"size": 5},
        {"entry_sha256": "0f"},
        {"entry_sha256": 5},
        {"nodes": 2},  # no entry says so
        {"nodes": 1, "entry_sha256": "0f" * 32},
        {"nodes": 33, "entry_sha256": "0f" * 32},
        {"nodes": "2", "entry_sha256": "0f" * 32},
        {"image": 5},
        {"image": "\ud800"},
    ],
)
def test_changed_by_a_trainer(changes):
    with pytest.raises(UnusableRunFile):
        parse(content(**changes), "실험 1")
