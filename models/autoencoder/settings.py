"""The trainer's settings, read from environment variables. Uses the standard library alone."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from exceptions import UnusableError

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Settings:
    """One attempt of an experiment, as the environment describes it."""

    input_dir: Path
    output_dir: Path
    learning_rate: float
    epochs: int
    dataset: str | None = None
    """A file name in `input_dir`; None stands for all of its data files."""
    seed: int = 0
    experiment_id: str = ""
    attempt: int = 1
    checkpoint_seconds: float = 10.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read and check the environment variables, which `train.py` lists.

        Raises:
            UnusableError: A variable is missing or invalid; the message names all of them.
        """
        mistakes = [
            f"{name} is missing"
            for name in ("INPUT_DIR", "OUTPUT_DIR", "LEARNING_RATE", "EPOCH")
            if not environment.get(name)
        ]

        def number(
            name: str, default: Number, valid: Callable[[Number], bool], expected: str
        ) -> Number:
            text = environment.get(name)
            if not text:
                return default
            try:
                value = type(default)(text)
            except ValueError:
                value = None
            if value is None or not valid(value):
                mistakes.append(f"{name} must be {expected}, not {text!r}")
                return default
            return value

        settings = cls(
            input_dir=Path(environment.get("INPUT_DIR", "")),
            output_dir=Path(environment.get("OUTPUT_DIR", "")),
            learning_rate=number(
                "LEARNING_RATE", 0.0, lambda x: 0 < x <= 10, "a number above 0 and at most 10"
            ),
            epochs=number(
                "EPOCH", 0, lambda x: 1 <= x <= 100_000, "a whole number from 1 to 100000"
            ),
            dataset=environment.get("DATASET") or None,
            seed=number("SEED", 0, lambda x: 0 <= x < 2**32, "a whole number from 0 to 2^32 - 1"),
            experiment_id=environment.get("EXPERIMENT_ID", ""),
            attempt=number("ATTEMPT", 1, lambda x: x >= 1, "a whole number from 1"),
            checkpoint_seconds=number(
                "CHECKPOINT_SECONDS",
                cls.checkpoint_seconds,
                lambda x: 0 <= x < math.inf,
                "a number of seconds from 0",
            ),
        )
        if mistakes:
            raise UnusableError("; ".join(mistakes))
        return settings

    @property
    def parameters(self) -> dict[str, Any]:
        """The values that all attempts of an experiment have in common."""
        return {
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
            "dataset": self.dataset,
            "seed": self.seed,
        }


def differences(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Describe where two sets of parameters differ; the result is empty if they are equal."""
    return ", ".join(
        f"{name} {recorded.get(name)!r} instead of {wanted.get(name)!r}"
        for name in sorted(recorded.keys() | wanted.keys())
        if recorded.get(name) != wanted.get(name)
    )
