"""The choice of data sets, what is pinned, and which files fit together."""

import json

import pytest

from backend.domain.attempt import Attempt
from backend.domain.data_sets.content import Array, Column, Content, Fault
from backend.domain.data_sets.fitting import Look, mismatch
from backend.domain.data_sets.pins import (
    MAX_PINS,
    Pin,
    choice_label,
    choice_text,
    chosen_names,
    pins_from_json,
    pins_from_text,
    pins_to_text,
)

DIGEST = "0" * 64
TEXT = Fault("could not convert string 'x' to a number: line 2, column b", 2, "b")


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], None),
        ([""], None),
        (["*"], None),
        (["a.csv", "*"], None),
        (["a.csv"], "a.csv"),
        (["a.csv", "a.csv"], "a.csv"),
        (["b.csv", "데.csv", "a.csv"], '["a.csv","b.csv","데.csv"]'),
    ],
)
def test_choice(names, text):
    assert choice_text(names) == text
    expected = sorted({name for name in names if name}) if text else []
    assert chosen_names(text) == expected


@pytest.mark.parametrize("name", ["[a].csv", '["a', "[1]", '{"a": 1}', "[[]]"])
def test_name_that_looks_like_a_list(name):
    assert chosen_names(name) == [name]


def test_label():
    pins = pins_to_text([Pin("a.csv", 1, DIGEST), Pin("b.csv", 2, DIGEST)])
    assert choice_label(None, pins) == "every file (2)"
    assert choice_label(None) == "every file"
    assert choice_label('["a.csv","b.csv"]', pins) == "a.csv, b.csv"


def test_pins_survive():
    pins = [Pin("a.csv", 1, DIGEST), Pin("데.csv", 2**62, DIGEST)]
    text = pins_to_text(pins)
    assert pins_from_text(text) == pins
    assert pins_from_json(json.loads(text)) == text
    assert pins_to_text([Pin(f"{n}.csv", 1, DIGEST) for n in range(MAX_PINS + 1)]) is None


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        3,
        "text",
        [{"name": "../a", "size": 1, "sha256": DIGEST}],
        [{"name": "a\0", "size": 1, "sha256": DIGEST}],
        [{"name": "", "size": 1, "sha256": DIGEST}],
        [{"name": "a", "size": -1, "sha256": DIGEST}],
        [{"name": "a", "size": True, "sha256": DIGEST}],
        [{"name": "a", "size": 1.5, "sha256": DIGEST}],
        [{"name": "a", "size": 1, "sha256": "0" * 63}],
        [{"name": "a", "size": 1, "sha256": None}],
        [{"name": "a", "size": 1, "sha256": DIGEST}] * 2,
        [{"name": str(n), "size": 1, "sha256": DIGEST} for n in range(MAX_PINS + 1)],
    ],
)
def test_hostile_pins(value):
    with pytest.raises(ValueError, match="inputs"):
        pins_from_json(value)


def test_several_files_are_no_dataset_of_the_environment():
    values = dict.fromkeys(("experiment_id", "uid", "model"), "a")
    values |= {"learning_rate": 0.1, "epoch": 1, "attempt": 1}
    for dataset, expected in ((None, None), ("a.csv", "a.csv"), ('["a.csv","b.csv"]', None)):
        attempt = Attempt.from_columns(values | {"dataset": dataset})
        environment = attempt.environment(input_dir="/input", output_dir="/output")
        assert environment.get("DATASET") == expected


def test_content_survives():
    content = Content(
        shape=(2, 3),
        header=True,
        columns=(Column("a", "number", 1.0, 2.0, 0), Column("b", "text", missing=1)),
        arrays=(Array("x", (2, 3), "float32"),),
        fault=TEXT,
        minimum=1.0,
    )
    assert Content.from_json(json.loads(json.dumps(content.to_json()))) == content


def table(*names, ignored=(), texts=()):
    return Look((len(names),), names, frozenset(ignored), tuple(texts), is_csv=True)


@pytest.mark.parametrize(
    ("looks", "target", "problem"),
    [
        ([table("a", "b"), table("b", "a")], None, None),
        ([table("a", "b"), table("a", "c")], None, "mixed columns"),
        ([table("a", "b"), table("a", "b", "c")], None, "mixed shapes"),
        ([table("a", "b"), Look((2,), is_csv=True)], None, None),
        ([Look((8, 8)), Look((64,))], None, None),
        ([Look((8, 8)), Look((8, 9))], None, "mixed shapes"),
        ([table("a", "b", texts=[(1, TEXT)])], None, "line 2, column b"),
        ([table("a", "b", texts=[(1, TEXT)])], "", None),
        ([table("b", "a", texts=[(0, TEXT)])], "b", None),
        ([table("b", "a", texts=[(0, TEXT)])], "", "line 2, column b"),
        ([table("a", "y", ignored=[1]), table("a")], None, None),
        ([table("a", "y", ignored=[1]), Look((1,), has_labels=True)], "", None),
        ([table("a", "b"), Look((2,))], "", None),
        ([table("a", "b"), Look()], None, None),
        ([Look(fault=Fault("it is empty"))], None, "1.csv: it is empty"),
    ],
)
def test_mismatch(looks, target, problem):
    found = mismatch({f"{number}.csv": look for number, look in enumerate(looks, 1)}, target)
    assert (found is None) == (problem is None), found
    assert (problem or "") in (found or "")
