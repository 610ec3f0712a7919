import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.parameter import (
    MAX_INTEGER,
    MAX_TEXT_BYTES,
    InvalidSchema,
    InvalidValue,
    Parameter,
)


def parameter(**schema):
    return Parameter.from_schema("x", schema)


NUMBER = parameter(type="number")
INTEGER = parameter(type="integer")
BOOLEAN = parameter(type="boolean")
TEXT = parameter(type="string")


@pytest.mark.parametrize(
    ("one", "sent", "value"),
    [
        (NUMBER, "1e-3", 0.001),
        (NUMBER, ".5", 0.5),
        (NUMBER, " +2. ", 2.0),
        (NUMBER, 3, 3.0),
        (INTEGER, "5.0", 5),
        (INTEGER, 5.0, 5),
        (INTEGER, "1e3", 1000),
        (INTEGER, "9007199254740993", 9007199254740993),  # not a float
        (INTEGER, str(MAX_INTEGER), MAX_INTEGER),
        (INTEGER, -7, -7),
        (BOOLEAN, "true", True),
        (BOOLEAN, "False", False),
        (BOOLEAN, True, True),
        (TEXT, "$(X)\n'\"", "$(X)\n'\""),
        (TEXT, "", ""),
        (TEXT, "가" * 5000, "가" * 5000),
    ],
)
def test_value_is_read(one, sent, value):
    parsed = one.parse(sent)

    assert (parsed, type(parsed)) == (value, type(value))


NOT_A_NUMBER = [
    "",
    "x",
    "0_1",
    "1_000",
    "٣",
    "３",
    "0x10",
    "nan",
    "inf",
    "1e999",
    "1,5",
    True,
    None,
]
WRONG = [
    *((NUMBER, sent) for sent in [*NOT_A_NUMBER, [], {}, math.nan, math.inf, 10**400]),
    *((INTEGER, sent) for sent in [*NOT_A_NUMBER, "5.5", 5.5, "1e-3", 2**63, "9" * 400, "1e400"]),
    *((BOOLEAN, sent) for sent in ["", "yes", "on", 1, 0, "1", None, []]),
    *((TEXT, sent) for sent in ["a\0b", "\ud800", "x" * (MAX_TEXT_BYTES + 1), 5, True, None]),
]


@pytest.mark.parametrize(("one", "sent"), WRONG, ids=lambda value: ascii(value)[:30])
def test_value_is_refused(one, sent):
    with pytest.raises(InvalidValue) as refusal:
        one.parse(sent)

    message = str(refusal.value)
    assert message.startswith(f"must be {one.allowed}; you sent ")
    assert len(message) < 300
    assert message.isprintable()


@pytest.mark.parametrize(
    ("schema", "allowed", "good", "wrong"),
    [
        (
            {"type": "number", "exclusiveMinimum": 0, "maximum": 10},
            "a number above 0 and at most 10",
            [10, "1e-300"],
            [0, 10.1],
        ),
        (
            {"type": "integer", "minimum": 1, "maximum": 9, "default": 2},
            "a whole number from 1 to 9, such as 2",
            [1, 9],
            [0, 10],
        ),
        ({"type": "number", "minimum": 0.5}, "a number of at least 0.5", [0.5], [0.4]),
        ({"type": "number", "exclusiveMaximum": 1}, "a number below 1", [0.99], [1]),
        ({"type": "integer", "maximum": 3}, "a whole number of at most 3", [3], [4]),
        (
            {"type": "string", "enum": ["relu", "tanh", "gelu"]},
            "one of relu, tanh or gelu",
            ["relu"],
            ["Relu", ""],
        ),
        ({"type": "integer", "enum": [16, 32]}, "one of 16 or 32", ["32"], [17, True]),
        ({"type": "boolean", "enum": [True]}, "true", ["true"], [False, 1]),
    ],
)
def test_limits(schema, allowed, good, wrong):
    one = parameter(**schema)

    assert one.allowed == allowed
    for value in good:
        one.parse(value)
    for value in wrong:
        with pytest.raises(InvalidValue, match="must be"):
            one.parse(value)


def test_default_has_the_type_of_the_parameter():
    assert repr(parameter(type="number", default=1).default) == "1.0"
    assert repr(parameter(type="integer", default=4.0).default) == "4"
    assert not parameter(type="boolean", default=False).is_required
    assert parameter(type="boolean").is_required


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({}, "type"),
        ({"type": "float"}, "type"),
        ({"type": "object"}, "type"),
        ({"type": "integer", "pattern": "x"}, "unknown key 'pattern'"),
        ({"type": "integer", "minimum": "1"}, "minimum"),
        ({"type": "integer", "minimum": True}, "minimum"),
        ({"type": "number", "maximum": math.inf}, "maximum"),
        ({"type": "string", "minimum": 1}, "only numbers"),
        ({"type": "integer", "minimum": 2, "maximum": 1}, "no value"),
        ({"type": "number", "exclusiveMinimum": 1, "maximum": 1}, "no value"),
        ({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2}, "no whole number"),
        ({"type": "integer", "maximum": 4, "default": 5}, "default 5 is not a whole number"),
        ({"type": "integer", "default": "5"}, "default"),
        ({"type": "integer", "default": None}, "default"),
        ({"type": "boolean", "default": 1}, "default"),
        ({"type": "string", "default": 5}, "default"),
        ({"type": "string", "default": "a\0"}, "default"),
        ({"type": "string", "enum": []}, "enum"),
        ({"type": "string", "enum": "abc"}, "enum"),
        ({"type": "string", "enum": [1]}, "enum"),
        ({"type": "integer", "enum": ["1"]}, "enum"),
        ({"type": "integer", "enum": [1, 1]}, "twice"),
        ({"type": "integer", "enum": [1, 9], "maximum": 5}, "outside"),
        ({"type": "string", "enum": ["a"], "default": "b"}, "default"),
        ({"type": "number", "x-log": True}, "x-log"),
        ({"type": "number", "minimum": 0, "x-log": True}, "x-log"),
        ({"type": "number", "minimum": 1, "x-log": "yes"}, "x-log"),
        ({"type": "number", "description": 5}, "description"),
        ({"type": "number", "x-unit": "s" * 41}, "x-unit"),
    ],
)
def test_wrong_schema_is_explained(schema, why):
    with pytest.raises(InvalidSchema, match=why):
        parameter(**schema)


@pytest.mark.parametrize("name", ["", "A", "1a", "a-b", "_a", "a" * 41, "가", "a\n"])
def test_wrong_name_is_refused(name):
    with pytest.raises(InvalidSchema, match="name"):
        Parameter.from_schema(name, {"type": "integer"})


SCHEMA = {
    "type": "number",
    "minimum": 0.001,
    "exclusiveMaximum": 1,
    "default": 0.01,
    "description": "한국어",
    "x-log": True,
    "x-unit": "s",
}


def test_schema_survives():
    one = parameter(**SCHEMA)

    assert one.schema() == SCHEMA
    assert Parameter.from_schema("x", json.loads(json.dumps(one.schema()))) == one


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=3,
)


@pytest.mark.parametrize("one", [NUMBER, INTEGER, BOOLEAN, TEXT, parameter(**SCHEMA)])
@given(value=ANYTHING)
def test_anything_is_a_value_or_refused(one, value):
    try:
        parsed = one.parse(value)
    except InvalidValue:
        return
    assert one.parse(parsed) == parsed
    assert json.loads(json.dumps(parsed, allow_nan=False)) == parsed
