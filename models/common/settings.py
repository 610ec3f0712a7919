"""The trainer's settings, read from environment variables. Uses the standard library alone.

A model declares its own parameters as fields of a dataclass:

    @dataclass(frozen=True)
    class MyParameters(Parameters):
        hidden: int = integer(64, minimum=1, maximum=4096)

The field `hidden` is read from `PARAM_HIDDEN` and has its default without that variable.
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from common.exceptions import UnusableError

# What JSON and C read as a number; `int` and `float` accept more, such as 1_000.
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
TINY = sys.float_info.min  # the smallest number above 0
SHOWN_CHARACTERS = 100

Parse = Callable[[str], Any]


def integer(default: int, *, minimum: int, maximum: int) -> Any:
    """Return a field for a whole number from `minimum` to `maximum`."""
    expected = f"a whole number from {minimum} to {maximum}"
    return _field(default, _whole(minimum, maximum), expected)


def number(default: float, *, minimum: float, maximum: float) -> Any:
    """Return a field for a number from `minimum` to `maximum`."""
    return _field(default, _real(minimum, maximum), f"a number from {minimum} to {maximum}")


def choice(*options: str) -> Any:
    """Return a field for one of several texts, the first of which is the default."""
    return _field(
        options[0], lambda text: options[options.index(text)], f"one of {', '.join(options)}"
    )


def flag(default: bool) -> Any:
    """Return a field for `true` or `false`."""
    values = {"true": True, "false": False}
    return _field(default, lambda text: values[text.lower()], "true or false")


def string(default: str = "") -> Any:
    """Return a field for any text."""
    return _field(default, str, "a text")


def _field(default: Any, parse: Parse, expected: str) -> Any:
    return field(default=default, metadata={"parse": parse, "expected": expected})


def _real(minimum: float, maximum: float) -> Parse:
    """Return a function that reads a number in these bounds, or raises ValueError."""

    def parse(text: str) -> float:
        if not NUMBER.fullmatch(text) or not minimum <= float(text) <= maximum:
            raise ValueError(text)
        return float(text)

    return parse


def _whole(minimum: float, maximum: float) -> Parse:
    """Return a function that reads a whole number in these bounds, or raises ValueError."""
    real = _real(minimum, maximum)

    def parse(text: str) -> int:
        if not real(text).is_integer():
            raise ValueError(text)
        return int(real(text))

    return parse


@dataclass(frozen=True)
class Parameters:
    """The parameters that all models have in common."""

    seed: int = integer(0, minimum=0, maximum=2**32 - 1)
    """The same seed, input and machine lead to the same losses."""
    validation_share: float = number(0.1, minimum=0.01, maximum=0.5)
    """Share of the samples that only measure the network."""
    batch_size: int = integer(0, minimum=0, maximum=65_536)
    """Samples in one step of the optimizer; 0 stands for a choice by the number of samples."""

    @property
    def label_column(self) -> str | None:
        """The parameter `target`, which names the column of the labels; None if there is none."""
        return getattr(self, "target", None)


P = TypeVar("P", bound=Parameters)
P_co = TypeVar("P_co", bound=Parameters, covariant=True)


@dataclass(frozen=True)
class Settings(Generic[P_co]):
    """One attempt of an experiment, as the environment describes it."""

    input_dir: Path
    output_dir: Path
    learning_rate: float
    epochs: int
    own: P_co
    """The parameters that the model declares."""
    dataset: str | None = None
    """A file name in `input_dir`; None stands for all of its data files."""
    experiment_id: str = ""
    attempt: int = 1
    checkpoint_seconds: float = 10.0
    nodes: int = 1
    """How many workers train together (see distributed/gang.py)."""
    rank: int = 0
    """The rank of this worker among them, from 0."""

    @property
    def parameters(self) -> dict[str, Any]:
        """The values that all attempts of an experiment have in common."""
        return {
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
            "dataset": self.dataset,
        } | asdict(self.own)

    @property
    def defaults(self) -> dict[str, Any]:
        """The values that an older version used for parameters which it did not have."""
        return asdict(type(self.own)())


def read_settings(environment: Mapping[str, str], parameters: type[P]) -> Settings[P]:
    """Read and check the environment variables, which `trainer.py` lists.

    Raises:
        UnusableError: A variable is missing or invalid; the message names all of them.
    """
    mistakes = [
        f"{name} is missing"
        for name in ("INPUT_DIR", "OUTPUT_DIR", "LEARNING_RATE", "EPOCH")
        if not environment.get(name)
    ]

    def value(name: str, default: Any, parse: Parse, expected: str) -> Any:
        given = environment.get(name)
        if not given:
            return default
        try:
            return parse(given)
        except (ValueError, KeyError):
            shown = given if len(given) <= SHOWN_CHARACTERS else f"{given[:SHOWN_CHARACTERS]}…"
            mistakes.append(f"{name} must be {expected}, not {shown!r}")
            return default

    own = {}
    for each in fields(parameters):
        variable = f"PARAM_{each.name.upper()}"
        if each.name == "seed" and not environment.get(variable):
            variable = "SEED"  # its name in version 0.2 and older
        own[each.name] = value(
            variable, each.default, each.metadata["parse"], each.metadata["expected"]
        )
    settings = Settings(
        input_dir=Path(environment.get("INPUT_DIR", "")),
        output_dir=Path(environment.get("OUTPUT_DIR", "")),
        learning_rate=value(
            "LEARNING_RATE", 0.0, _real(TINY, 10), "a number above 0 and at most 10"
        ),
        epochs=value("EPOCH", 0, _whole(1, 100_000), "a whole number from 1 to 100000"),
        own=parameters(**own),
        dataset=environment.get("DATASET") or None,
        experiment_id=environment.get("EXPERIMENT_ID", ""),
        attempt=value("ATTEMPT", 1, _whole(1, 1e9), "a whole number from 1"),
        checkpoint_seconds=value(
            "CHECKPOINT_SECONDS", 10.0, _real(0, 1e9), "a number of seconds from 0"
        ),
        nodes=value("NNODES", 1, _whole(1, 1e4), "a whole number from 1"),
        rank=value("NODE_RANK", 0, _whole(0, 1e4), "a whole number from 0"),
    )
    if settings.rank >= settings.nodes and not mistakes:
        mistakes.append(f"NODE_RANK must be less than NNODES, not {settings.rank}")
    if mistakes:
        raise UnusableError("; ".join(mistakes))
    return settings


def differences(
    recorded: Mapping[str, Any], wanted: Mapping[str, Any], defaults: Mapping[str, Any]
) -> str:
    """Describe where two sets of parameters differ; the result is empty if they are equal.

    A parameter that is not in `recorded` has its default: an older version did not have it.
    """
    recorded = {name: defaults[name] for name in defaults if name in wanted} | dict(recorded)
    return ", ".join(
        f"{name} {recorded.get(name)!r} instead of {wanted.get(name)!r}"
        for name in sorted(recorded.keys() | wanted.keys())
        if recorded.get(name) != wanted.get(name)
    )
