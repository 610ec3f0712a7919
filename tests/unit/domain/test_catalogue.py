import hashlib

import pytest

from backend.domain.attempt import Program
from backend.domain.catalogue import (
    MAX_VALUES_BYTES,
    Entry,
    InvalidEntry,
    InvalidParameters,
    Objective,
    as_json,
)

DOCUMENT = {
    "description": "A table",
    "image": "localhost:5000/classifier:1",
    "command": ["python", "-u", "./train.py"],
    "parameters": {
        "depth": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
        "activation": {"type": "string", "enum": ["relu", "tanh"]},
    },
    "objective": {"metric": "accuracy", "goal": "maximize"},
    "resources": {"cpu": 1, "memory": "2Gi"},
    "sizes": {"large": {"memory": "8Gi", "gpu": 1}, "shared": {"queue": "team-b"}},
    "queue": "team-a",
    "workload_priority_classes": {"normal": "batch", "high": "urgent.v1"},
    "preload": ["torch", "numpy.random", "torch"],
    "priority_classes": {"low": "batch", "high": "urgent"},
}
ENTRY = Entry.from_document("classifier", DOCUMENT)
LAST = (("torch", "numpy.random"), (("high", "urgent"), ("low", "batch")))
CLASSES = (("high", "urgent.v1"), ("normal", "batch"))
CHOSEN = {"learning_rate": "0.1", "epoch": "5", "activation": "tanh"}


def test_entry_is_read():
    assert ENTRY.objective == Objective("accuracy", "maximize")
    assert list(ENTRY.parameters) == ["learning_rate", "epoch", "depth", "activation"]
    assert ENTRY.defaults == {"depth": 3}


def test_content_restores_the_entry():
    restored = Entry.from_content(ENTRY.content)

    assert restored == ENTRY
    assert restored.content == ENTRY.content
    assert ENTRY.sha256 == hashlib.sha256(ENTRY.content.encode()).hexdigest()


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"name": 5}', '{"name": "a", "x": 1}', "[" * 9999]
)
def test_other_content_is_refused(content):
    with pytest.raises(InvalidEntry):
        Entry.from_content(content)


def test_values_are_typed_and_complete():
    values = ENTRY.parse(CHOSEN)

    assert values == {"learning_rate": 0.1, "epoch": 5, "depth": 3, "activation": "tanh"}
    assert as_json(values) == '{"activation":"tanh","depth":3,"epoch":5,"learning_rate":0.1}'


def test_every_wrong_field_is_named():
    with pytest.raises(InvalidParameters) as refusal:
        ENTRY.parse({"learning_rate": "0_1", "depth": "10", "activation": "x", "deep": 1})

    problems = refusal.value.problems
    assert problems.keys() == {"learning_rate", "epoch", "depth", "activation", "deep"}
    assert problems["epoch"] == "is missing: send a whole number from 1 to 100000, such as 20."
    assert "from 1 to 9" in problems["depth"]
    assert "depth, activation" in problems["deep"]


def test_all_values_together_are_bounded():
    texts = {f"t{number}": {"type": "string", "default": ""} for number in range(4)}
    entry = Entry.from_document("texts", {"parameters": texts})
    sent = {"learning_rate": 1, "epoch": 1} | dict.fromkeys(texts, "x" * (MAX_VALUES_BYTES // 4))

    with pytest.raises(InvalidParameters, match="too long"):
        entry.parse(sent)


def test_program():
    common = ("localhost:5000/classifier:1", ("python", "-u", "./train.py"))

    usual = (("cpu", "1"), ("memory", "2Gi"))
    assert ENTRY.program(None) == Program(*common, usual, *LAST, "team-a", CLASSES)
    resources = (("cpu", "1"), ("gpu", "1"), ("memory", "8Gi"))
    assert ENTRY.program("large") == Program(*common, resources, *LAST, "team-a", CLASSES)


def test_size_names_a_queue_of_its_own():
    program = ENTRY.program("shared")

    assert program.queue == "team-b"
    assert program.resources == ENTRY.program(None).resources


def test_entry_without_a_queue_has_the_digest_of_older_versions():
    """It is stored with experiments, which are compared by it."""
    document = {
        "image": "localhost:5000/classifier:1",
        "resources": {"cpu": 1},
        "sizes": {"large": {"gpu": 1}},
        "priority_classes": {"high": "urgent"},
    }
    digest = "4ba761325cc26248ac93ca7d710201e11decdefaf061b98f202817d4025483b3"

    assert Entry.from_document("classifier", document).sha256 == digest


def test_contract_can_be_narrowed():
    narrow = {"learning_rate": {"maximum": 1, "default": 0.01}, "epoch": {"enum": [10, 20]}}
    entry = Entry.from_document("narrow", {"parameters": narrow})

    assert entry.parse({"epoch": "10"}) == {"learning_rate": 0.01, "epoch": 10}
    for wrong in ({"epoch": "11"}, {"epoch": "10", "learning_rate": 2}):
        with pytest.raises(InvalidParameters):
            entry.parse(wrong)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"parameters": {"learning_rate": {"maximum": 11}}}, "within"),
        ({"parameters": {"learning_rate": {"exclusiveMinimum": -1}}}, "within"),
        ({"parameters": {"epoch": {"type": "number"}}}, "type must be integer"),
        ({"parameters": {"epoch": {"enum": [0, 1]}}}, "outside"),
        ({"parameters": {"epoch": 5}}, "object"),
        ({"parameters": {"dataset": {"type": "string"}}}, "another field"),
        ({"parameters": {"experiment_id": {"type": "string"}}}, "another field"),
        ({"parameters": {"Depth": {"type": "integer"}}}, "'Depth'"),
        ({"parameters": {5: {"type": "integer"}}}, "text"),
        ({"parameters": []}, "parameters must be"),
        ({"parameters": {f"p{n}": {"type": "integer"} for n in range(65)}}, "at most 64"),
        ({"inputs": 1}, "'inputs' is unknown"),
        ({"image": "a b"}, "image"),
        ({"image": 5}, "image"),
        ({"command": "python train.py"}, "command"),
        ({"command": ["a\0"]}, "command"),
        ({"command": [1]}, "command"),
        ({"preload": "torch"}, "preload must be a list"),
        ({"preload": ["./train.py"]}, "preload must be a list"),
        ({"preload": [["torch"]]}, "preload must be a list"),
        ({"preload": ["torch"] * 33}, "at most 32 modules"),
        ({"preload": ["torch"], "command": ["./train.sh"]}, "script of Python"),
        ({"preload": ["torch"], "command": ["python", "-m", "x"]}, "script of Python"),
        ({"preload": ["torch"], "command": ["python", "-u"]}, "script of Python"),
        ({"priority_classes": []}, "priority_classes must be an object"),
        ({"priority_classes": {"highest": "x"}}, "low, normal or high"),
        ({"priority_classes": {"high": "A_B"}}, "PriorityClass"),
        ({"priority_classes": {"high": 5}}, "PriorityClass"),
        ({"parameters": {"priority": {"type": "integer"}}}, "another field"),
        ({"description": 5}, "description"),
        ({"description": "\ud800"}, "surrogate"),
        ({"objective": {"metric": "loss"}}, "objective"),
        ({"objective": {"metric": "loss", "goal": "min"}}, "minimize or maximize"),
        ({"resources": {"disk": "1Gi"}}, "resources"),
        ({"resources": {"cpu": "lots"}}, "quantity"),
        ({"resources": {"gpu": 0.5}}, "gpu must be a whole number"),
        ({"sizes": {"Large": {}}}, "sizes"),
        ({"sizes": {"large": {"cpu": True}}}, "sizes: large: cpu"),
        ({"sizes": {"large": {"queue": "A"}}}, "sizes: large: queue must be the name"),
        ({"sizes": {"large": 5}}, "sizes: large must be an object"),
        ({"sizes": {"a": {"cpu": True}, "b": {"cpu": "x"}}}, "sizes: a: cpu.* sizes: b: cpu"),
        ({"sizes": {f"s{n}": {} for n in range(21)}}, "at most 20 sizes"),
        ({"resources": {"queue": "team-a"}}, "resources must be an object"),
        ({"queue": "Team A"}, "queue must be the name of a LocalQueue"),
        ({"queue": "-a"}, "queue must be"),
        ({"queue": "a" * 64}, "queue must be"),
        ({"queue": 5}, "queue must be"),
        ({"queue": None}, "queue must be"),
        ({"queue": ["team-a"]}, "queue must be"),
        ({"workload_priority_classes": "x"}, "workload_priority_classes must be an object"),
        ({"workload_priority_classes": {"urgent": "x"}}, "low, normal or high"),
        ({"workload_priority_classes": {"high": "a" * 64}}, "at most 63 characters"),
    ],
)
def test_wrong_entry_is_explained(change, why):
    with pytest.raises(InvalidEntry, match=why):
        Entry.from_document("classifier", DOCUMENT | change)


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a" * 33, "a/b", "..", "가", 5, None])
def test_wrong_name_is_refused(name):
    with pytest.raises(InvalidEntry, match="name of a model"):
        Entry.from_document(name, DOCUMENT)


@pytest.mark.parametrize("document", [None, [], "text", 5])
def test_entry_must_be_an_object(document):
    with pytest.raises(InvalidEntry, match="object"):
        Entry.from_document("classifier", document)


def test_every_mistake_is_named():
    with pytest.raises(InvalidEntry) as refusal:
        Entry.from_document("classifier", {"image": 5, "sizes": 5, "x": 1})

    assert len(refusal.value.problems) == 3
