"""One parameter of a model: what values it allows, and how text and JSON become a value. Pure."""

import math
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

Value = int | float | bool | str

MAX_TEXT_BYTES = 16 * 1024  # of one value; an environment variable of Linux may have 128 KiB
MAX_INTEGER = 2**63 - 1
MAX_CHOICES = 100
MAX_DESCRIPTION = 1000  # characters
MAX_UNIT = 40  # characters
MAX_SHOWN = 100  # characters of a value that a message repeats
TYPES = ("integer", "number", "boolean", "string")

# As JSON and C write numbers, and with a leading + or point: `float` and `int` also read 0_001 and
# the digits of other alphabets.
NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?\s*", re.ASCII)
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
_KINDS = {"integer": "a whole number", "number": "a number"}
_KEYS = {  # of JSON Schema 2020-12, by attribute
    "minimum": "minimum",
    "maximum": "maximum",
    "exclusive_minimum": "exclusiveMinimum",
    "exclusive_maximum": "exclusiveMaximum",
    "enum": "enum",
    "default": "default",
    "description": "description",
    "log": "x-log",
    "unit": "x-unit",
}
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


class InvalidValue(ValueError):
    """A value that a parameter does not allow; the message says what it allows."""


class InvalidSchema(ValueError):
    """A description of a parameter that cannot be used; the message says why."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a model. Attributes that are None, empty or False are not part of its schema.

    Attributes:
        type: one of TYPES.
        enum: the only values allowed, if there are any.
        default: the value if none is sent; a parameter without a default is required.
        example: a value for messages and documentation.
        log: whether the range is to be searched by orders of magnitude.
        unit: the unit of the value, for people.
    """

    name: str
    type: str
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: float | None = None
    exclusive_maximum: float | None = None
    enum: tuple[Value, ...] = ()
    default: Value | None = None
    description: str = ""
    log: bool = False
    unit: str = ""
    example: Value | None = None

    @property
    def is_required(self) -> bool:
        """Whether a value must be sent."""
        return self.default is None

    @property
    def allowed(self) -> str:
        """What is allowed, in words, such as "a whole number from 1 to 9, such as 2"."""
        example = self.default if self.example is None else self.example
        if self.enum:
            *choices, last = (as_text(choice) for choice in self.enum)
            return f"one of {', '.join(choices)} or {last}" if choices else last
        if self.type == "boolean":
            return "true or false"
        if self.type == "string":
            return f"text of at most {MAX_TEXT_BYTES} bytes without NUL"
        allowed = self._in_range(_KINDS[self.type])
        return allowed if example is None else f"{allowed}, such as {as_text(example)}"

    def schema(self) -> dict[str, Any]:
        """Return the parameter as JSON Schema 2020-12, from which `from_schema` reads it."""
        present: dict[str, Any] = {"type": self.type}
        for attribute, key in _KEYS.items():
            value = getattr(self, attribute)
            if value not in (None, "", ()) and not (attribute == "log" and not value):
                present[key] = list(value) if attribute == "enum" else value
        return present

    @classmethod
    def from_schema(cls, name: str, schema: Any, example: Value | None = None) -> "Parameter":
        """Return the parameter that a JSON Schema describes.

        Raises:
            InvalidSchema: it is not one of the subset that this program knows.
        """
        _check_schema(name, schema)
        attributes = {one: schema[key] for one, key in _KEYS.items() if key in schema}
        attributes["enum"] = tuple(attributes.get("enum", ()))
        parameter = cls(name=name, type=schema["type"], example=example, **attributes)
        parameter._check_range()
        if parameter.default is None:
            return parameter
        return replace(parameter, default=parameter._own_default())

    def parse(self, value: Any) -> Value:
        """Return the text of a form, or a value of JSON, as a value of this parameter's type.

        Raises:
            InvalidValue: it is not allowed.
        """
        parsed = _READERS[self.type](value)
        if parsed is None or not self._is_in_range(parsed):
            raise InvalidValue(f"must be {self.allowed}; you sent {shown_value(value)}.")
        return parsed

    def _is_in_range(self, value: Value) -> bool:
        if self.enum:
            return any(value == choice and _same_kind(value, choice) for choice in self.enum)
        if isinstance(value, str | bool):
            return True
        return (
            (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.exclusive_minimum is None or value > self.exclusive_minimum)
            and (self.exclusive_maximum is None or value < self.exclusive_maximum)
        )

    @property
    def lower(self) -> tuple[float | None, bool]:
        """The lower bound, None if there is none, and whether it is itself excluded."""
        bounds = [(self.minimum, False), (self.exclusive_minimum, True)]
        present = [(bound, excluded) for bound, excluded in bounds if bound is not None]
        return max(present, default=(None, False))

    @property
    def upper(self) -> tuple[float | None, bool]:
        """The upper bound, None if there is none, and whether it is itself excluded."""
        bounds = [(self.maximum, False), (self.exclusive_maximum, True)]
        present = [(bound, excluded) for bound, excluded in bounds if bound is not None]
        return min(present, key=lambda one: (one[0], not one[1]), default=(None, False))

    def is_within(self, other: "Parameter") -> bool:
        """Return whether `other`, which has two bounds, allows everything that this one allows."""
        (high, below), (most, excluded) = self.upper, other.upper
        is_below = (
            high is not None and most is not None and (high, not below) <= (most, not excluded)
        )
        return is_below and self.lower >= other.lower

    def _in_range(self, kind: str) -> str:
        """Return "a number above 0 and at most 10" for "a number"; whole, to be translated."""
        (least, above), (most, below) = self.lower, self.upper
        low = "" if least is None else as_text(least)
        high = "" if most is None else as_text(most)
        if low and high:
            if above:
                if below:
                    return f"{kind} above {low} and below {high}"
                return f"{kind} above {low} and at most {high}"
            if below:
                return f"{kind} of at least {low} and below {high}"
            return f"{kind} from {low} to {high}"
        if low:
            return f"{kind} above {low}" if above else f"{kind} of at least {low}"
        if high:
            return f"{kind} below {high}" if below else f"{kind} of at most {high}"
        return kind

    def _check_range(self) -> None:
        (low, above), (high, below) = self.lower, self.upper
        if low is not None and high is not None:
            if low > high or (low == high and (above or below)):
                raise InvalidSchema("its range allows no value")
            if self.type == "integer" and not self.enum:
                first = math.floor(low) + 1 if above else math.ceil(low)
                last = math.ceil(high) - 1 if below else math.floor(high)
                if first > last:
                    raise InvalidSchema("its range holds no whole number")
        if self.log and (low is None or low < 0 or (low == 0 and not above)):
            raise InvalidSchema("x-log needs a range above 0: set minimum or exclusiveMinimum")
        limits = replace(self, enum=())
        if not all(limits._is_in_range(choice) for choice in self.enum):
            raise InvalidSchema("a value of its enum is outside its range")

    def _own_default(self) -> Value:
        """Return the default as a value of this parameter's type."""
        default, limits = self.default, replace(self, default=None, example=None)
        try:
            if isinstance(default, str) is (self.type == "string"):
                return limits.parse(default)
        except InvalidValue:
            pass
        raise InvalidSchema(f"its default {shown_value(default)} is not {limits.allowed}")


def as_text(value: Value) -> str:
    """Return a value as messages show it: 0.001, 20, true, text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value)


def shown_value(value: Any) -> str:
    """Return a value as a message repeats it: on one line, printable, MAX_SHOWN characters.

    Lists and objects are abridged: `repr` fails on one that is nested a thousand deep.
    """
    text = reprlib.repr(value) if isinstance(value, list | dict) else repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def read_number(value: Any) -> float | None:
    """Return a number, or text that is one, as a finite float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not NUMBER.fullmatch(value):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None
    return number if math.isfinite(number) else None


def _read_integer(value: Any) -> int | None:
    """Return a whole number, also one written like 5.0 or 1e3, without rounding it."""
    number = read_number(value)
    if number is None or abs(number) > 2.0**63:
        return None
    exact = Decimal(value.strip() if isinstance(value, str) else value)
    is_whole = exact == exact.to_integral_value() and abs(exact) <= MAX_INTEGER
    return int(exact) if is_whole else None


def _read_boolean(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _read_text(value: Any) -> str | None:
    if not isinstance(value, str) or "\0" in value:
        return None
    try:
        return value if len(value.encode()) <= MAX_TEXT_BYTES else None
    except UnicodeEncodeError:  # half of a surrogate pair
        return None


_READERS = {
    "integer": _read_integer,
    "number": read_number,
    "boolean": _read_boolean,
    "string": _read_text,
}


def _same_kind(value: Value, other: Value) -> bool:
    """Return whether neither or both are booleans: True == 1 in Python."""
    return isinstance(value, bool) is isinstance(other, bool)


def _check_schema(name: str, schema: Any) -> None:
    if not NAME.fullmatch(name):
        raise InvalidSchema(
            "its name must begin with a-z and have at most 40 characters of a-z, 0-9 and '_'"
        )
    if not isinstance(schema, Mapping):
        raise InvalidSchema("it must be an object with a type")
    unknown = sorted(str(key) for key in schema.keys() - {"type", *_KEYS.values()})
    if unknown:
        raise InvalidSchema(f"it has the unknown key {', '.join(map(shown_value, unknown))}")
    kind = schema.get("type")
    if kind not in TYPES:
        raise InvalidSchema(f"its type must be {', '.join(TYPES[:-1])} or {TYPES[-1]}")
    for key in _BOUNDS:
        if key in schema and (isinstance(schema[key], str) or read_number(schema[key]) is None):
            raise InvalidSchema(f"its {key} must be a number")
        if key in schema and kind not in _KINDS:
            raise InvalidSchema(f"it has a {key}, which only numbers have")
    for key, longest in (("description", MAX_DESCRIPTION), ("x-unit", MAX_UNIT)):
        text = schema.get(key, "")
        if _read_text(text) is None or len(text) > longest:
            raise InvalidSchema(f"its {key} must be text of at most {longest} characters")
    if not isinstance(schema.get("x-log", False), bool):
        raise InvalidSchema("its x-log must be true or false")
    if "default" in schema and not isinstance(schema["default"], int | float | str):
        raise InvalidSchema(f"its default must be of type {kind}; leave it out if there is none")
    if "enum" in schema:
        _check_enum(kind, schema["enum"])


def _check_enum(kind: str, enum: Any) -> None:
    if not isinstance(enum, list | tuple) or not 1 <= len(enum) <= MAX_CHOICES:
        raise InvalidSchema(f"its enum must be a list of 1 to {MAX_CHOICES} values")
    is_text = kind == "string"
    if any(isinstance(one, str) is not is_text or _READERS[kind](one) is None for one in enum):
        raise InvalidSchema(f"a value of its enum is not of type {kind}")
    if len(set(enum)) < len(enum):
        raise InvalidSchema("its enum holds a value twice")
