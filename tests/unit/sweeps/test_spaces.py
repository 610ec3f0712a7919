"""Search spaces: from the text of forms and from JSON, against a model's entry."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.catalogue import Entry, InvalidParameters
from backend.sweeps.spaces import Choices, Range, dimension_from_json, grid_size, read_space

ENTRY = Entry.from_document(
    "net",
    {
        "parameters": {
            "learning_rate": {"type": "number", "x-log": True},
            "epoch": {"type": "integer", "maximum": 1000},
            "hidden": {"type": "integer", "minimum": 0, "maximum": 4096, "default": 64},
            "dropout": {"type": "number", "minimum": 0, "maximum": 0.9, "default": 0},
            "layout": {"type": "string", "enum": ["rows", "columns"], "default": "rows"},
            "width": {"type": "integer", "enum": [8, 16, 32], "default": 8},
            "fast": {"type": "boolean", "default": False},
            "note": {"type": "string", "default": ""},
        }
    },
)
BASE = {"learning_rate": "0.01", "epoch": "5"}


def read(**sent):
    space, _ = read_space(ENTRY, BASE | sent)
    return space


def problems(**sent):
    with pytest.raises(InvalidParameters) as caught:
        read_space(ENTRY, BASE | sent)
    return caught.value.problems


def test_a_form():
    space, fixed = read_space(
        ENTRY,
        {
            "learning_rate": "0.0001..0.1 log",
            "epoch": "81",
            "hidden": ["32", "64", "128"],
            "dropout": "0..0.5 step 0.25",
        },
    )

    assert space == {
        "learning_rate": Range(0.0001, 0.1, log=True),
        "hidden": Choices((32, 64, 128)),
        "dropout": Range(0.0, 0.5, step=0.25),
    }
    assert fixed == {"epoch": 81, "layout": "rows", "width": 8, "fast": False, "note": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1..9", Range(1, 9, is_integer=True)),
        (" 1 .. 9 ", Range(1, 9, is_integer=True)),
        ("1..9 step 2", Range(1, 9, step=2, is_integer=True)),
        ("1e1..1e3 log", Range(10, 1000, log=True, is_integer=True)),
        ({"low": 1, "high": 9}, Range(1, 9, is_integer=True)),
        ({"low": 1, "high": 9, "step": 2}, Range(1, 9, step=2, is_integer=True)),
        ({"low": 1, "high": 9, "log": True}, Range(1, 9, log=True, is_integer=True)),
        ([1, 5], Choices((1, 5))),
    ],
)
def test_ranges_of_whole_numbers(text, expected):
    assert read(hidden=text)["hidden"] == expected


@pytest.mark.parametrize(
    ("text", "log"),
    [
        ("0.001..0.1", True),  # as the entry says
        ("0.001..0.1 linear", False),
        ({"low": 0.001, "high": 0.1}, True),
        ({"low": 0.001, "high": 0.1, "log": False}, False),
        ("0.001..0.1 step 0.01", False),
    ],
)
def test_the_entry_says_whether_a_range_is_logarithmic(text, log):
    assert read(learning_rate=text)["learning_rate"].log is log


def test_a_range_without_width_and_a_list_of_one_are_values():
    space, fixed = read_space(
        ENTRY, BASE | {"hidden": "8..8", "dropout": ["0.5"], "fast": ["true"]}
    )

    assert space == {}
    assert (fixed["hidden"], fixed["dropout"], fixed["fast"]) == (8, 0.5, True)


def test_text_is_never_a_range():
    _, fixed = read_space(ENTRY, BASE | {"note": "1..2"})

    assert fixed["note"] == "1..2"


def test_every_mistake_is_named_at_once():
    found = problems(
        learning_rate="0..0.1",
        hidden="9..1",
        dropout=["0.1", "0.1"],
        layout="1..2",
        width="8..32",
        fast={"low": 0, "high": 1},
        colour="red",
        epoch="1..9 log step 2",
    )

    assert set(found) == {
        *("learning_rate", "hidden", "dropout", "layout", "width", "fast", "colour", "epoch")
    }
    assert "above 0" in found["learning_rate"]
    assert "low end 9 is above" in found["hidden"]
    assert "0.1 more than once" in found["dropout"]
    assert "cannot be a range" in found["width"]
    assert "log and step" in found["epoch"]
    assert "is not known" in found["colour"]


@pytest.mark.parametrize(
    "value",
    [
        [],
        ["1"] * 2,
        list(range(101)),
        [[1], [2]],
        {},
        {"low": 1},
        {"low": 1, "high": 9, "scale": "log"},
        {"low": 1, "high": 9, "log": "yes"},
        {"low": 1, "high": 9, "log": True, "step": 1},
        {"low": 0, "high": 9, "log": True},
        {"low": 1, "high": 9, "step": 0},
        {"low": 1, "high": 9, "step": 0.5},
        {"low": 1, "high": 9, "step": 100},
        {"low": 1, "high": math.inf},
        {"low": 1, "high": 10**400},
        {"low": True, "high": 9},
        {"low": [1], "high": {}},
        "1..99999",
        "1..2..3",
        "..",
        "1..9 step",
        None,
    ],
)
def test_what_is_no_space(value):
    assert list(problems(hidden=value)) == ["hidden"]


@pytest.mark.parametrize("value", ["0.001,0.01", "0.001-0.01", "[0.001, 0.01]", "0.001:0.01", True])
def test_other_notations_are_told_ours(value):
    (problem,) = problems(learning_rate=value).values()
    assert problem.endswith(
        ". To vary it, send a range such as 1..9, or the field once for each value."
    )


@pytest.mark.parametrize("value", ["0.1,0.2", "many"])
def test_a_wrong_value_of_several_is_told_how_to_vary(value):
    (problem,) = problems(learning_rate=["0.1", value]).values()
    assert f"you sent {value!r}. To vary it, send a range such as 1..9, or the field" in problem


def test_a_range_beside_values():
    (problem,) = problems(learning_rate=["0.1", "0.2..0.3"]).values()
    assert problem.startswith("holds the range '0.2..0.3' beside other values: send one range")


@pytest.mark.parametrize("name", ["layout", "width", "fast"])
def test_values_of_a_list_are_told_how_to_vary(name):
    (problem,) = problems(**{name: "8,16"}).values()
    assert problem.endswith("; you sent '8,16'. To vary it, send the field once for each value.")


def test_a_missing_parameter_is_named():
    with pytest.raises(InvalidParameters) as caught:
        read_space(ENTRY, {"learning_rate": "0.1..1"})

    assert list(caught.value.problems) == ["epoch"]


def test_steps_are_exact():
    steps = Range(0.1, 0.5, step=0.1)

    assert [steps.value(index) for index in range(steps.count)] == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_a_grid_needs_steps():
    with pytest.raises(InvalidParameters, match="without a step"):
        grid_size(read(learning_rate="0.1..1", hidden="1..3"))
    with pytest.raises(InvalidParameters, match="at most 9999"):
        grid_size(read(hidden="1..4096", epoch="1..9"))
    assert (
        grid_size(read(hidden="1..3", dropout="0..0.5 step 0.1", layout=["rows", "columns"])) == 36
    )


NUMBERS = st.floats(1e-6, 10, allow_nan=False)


@st.composite
def dimensions(draw):
    kind = draw(st.sampled_from(["float", "log", "step", "integer", "integer log", "choices"]))
    if kind == "choices":
        return Choices(tuple(draw(st.lists(st.integers(), min_size=2, max_size=9, unique=True))))
    if kind.startswith("integer"):
        low, width = draw(st.integers(1, 1000)), draw(st.integers(1, 1000))
        return Range(low, low + width, log=kind.endswith("log"), is_integer=True)
    low, width = draw(NUMBERS), draw(NUMBERS)
    if kind == "step":
        return Range(low, low + width, step=width / draw(st.integers(1, 50)))
    return Range(low, low + width, log=kind == "log")


@given(dimensions(), st.floats(0, 1, exclude_max=True))
def test_every_position_has_a_value_inside(dimension, position):
    value = dimension.at(position)

    if isinstance(dimension, Choices):
        assert value in dimension.values
    else:
        assert dimension.low <= value <= dimension.high
        assert isinstance(value, int) is dimension.is_integer


@given(dimensions())
def test_json_round_trip(dimension):
    assert dimension_from_json(json.loads(json.dumps(dimension.to_json()))) == dimension


@pytest.mark.parametrize(
    "value",
    [
        *(1, None, [], [1], [[1], [2]], {}),
        {"low": 2, "high": 1},
        {"low": 0, "high": 1, "log": True},
        {"low": 0, "high": 1, "step": 2},
        {"low": 0, "high": math.inf},
        {"low": 0, "high": 1, "a": 1},
    ],
)
def test_json_that_is_no_dimension(value):
    with pytest.raises(ValueError, match="neither"):
        dimension_from_json(value)
