"""What a sweep was asked for: its search space, method, objective and stop rule. Pure.

The plan is stored as JSON with the sweep and in its sweep.json, and never changes. What a PATCH
changes (trials, parallel) is in columns of its own.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from backend.domain.catalogue import METRIC_NAME, MODEL_NAME, Goal
from backend.domain.experiment import Parameters
from backend.domain.identifiers import canonical
from backend.domain.parameter import NAME, Value
from backend.domain.sweeps.sweep import MAX_DEFINITION_BYTES, MAX_PARALLEL, MAX_TRIALS
from backend.sweeps.samplers import Method
from backend.sweeps.spaces import Dimension, dimension_from_json
from backend.sweeps.stopping import Rule, StopRule

DEFAULT_TRIALS = 20
DEFAULT_MAX_FAILED = 5
DEFAULT_ETA = 3
DEFAULT_MIN_EPOCH = {Rule.NONE: 1, Rule.ASHA: 3, Rule.MEDIAN: 5}
MAX_ETA = 100
MAX_EPOCH = 100_000
MAX_SEED = 2**32 - 1


class UnusablePlan(ValueError):
    """A definition that no sweep has; the message says why."""


@dataclass(frozen=True)
class Plan:
    """The search of a sweep.

    Attributes:
        space: what varies, by parameter, sorted by name.
        fixed: the values of all other parameters of the model.
        sent: the names of the parameters that were sent; the others have their defaults.
        trials: how many were asked for at first; None if that was not said.
        parallel: how many at the same time were asked for at first; likewise.
        min_epoch, eta: see StopRule.
        promote: whether `asha` lets trials that it has stopped too early go on in the end.
        max_failed: so many failures in a row end the sweep.
        entry_sha256: the digest of the model's entry in the catalogue.
    """

    model: str
    space: Mapping[str, Dimension]
    fixed: Mapping[str, Value]
    sent: frozenset[str]
    method: Method
    metric: str
    goal: Goal
    stop: Rule
    min_epoch: int
    eta: int
    max_failed: int
    seed: int
    entry_sha256: str
    dataset: str | None = None
    size: str | None = None
    trials: int | None = None
    parallel: int | None = None
    promote: bool = False

    @property
    def rule(self) -> StopRule:
        """The stop rule with its figures."""
        return StopRule(self.stop, self.min_epoch, self.eta, self.goal)

    @property
    def most_epochs(self) -> int:
        """The largest number of epochs that a trial may have."""
        epochs = self.space.get("epoch")
        if epochs is None:
            return int(self.fixed["epoch"])
        values = getattr(epochs, "values", None)
        return int(max(values) if values else getattr(epochs, "high", 1))

    def parameters(self, values: Mapping[str, Value]) -> Parameters:
        """Return the parameters of a trial with these values of all parameters of the model."""
        chosen = Parameters(self.model, 1.0, 1, self.dataset, size=self.size)
        return replace(chosen.with_values(values), entry_sha256=self.entry_sha256)

    def same_as(self, other: "Plan") -> bool:
        """Return whether two requests for one sweep_id are the same.

        What was not sent has the default of that time, which may differ.
        """
        return self._as_sent() == other._as_sent()

    def _as_sent(self) -> dict[str, Any]:
        fixed = {name: value for name, value in self.fixed.items() if name in self.sent}
        plain = {name: value for name, value in vars(self).items() if name != "entry_sha256"}
        dataset = self.dataset and canonical(self.dataset)
        return plain | {"fixed": fixed, "space": dict(self.space), "dataset": dataset}

    def to_text(self) -> str:
        """Return the plan as JSON, from which `from_text` reads it."""
        return json.dumps(self.to_json(), ensure_ascii=False, separators=(",", ":"))

    def to_json(self) -> dict[str, Any]:
        """Return the plan as an object of JSON."""
        space = {name: dimension.to_json() for name, dimension in self.space.items()}
        return vars(self) | {
            "space": space,
            "fixed": dict(self.fixed),
            "sent": sorted(self.sent),
        }

    @classmethod
    def from_text(cls, text: str) -> "Plan":
        """Return the plan that `to_text` wrote.

        Raises:
            UnusablePlan: it is not one.
        """
        try:
            return cls.from_json(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise UnusablePlan(str(error)) from None

    @classmethod
    def from_json(cls, content: Any) -> "Plan":
        """Return the plan that `to_json` wrote, or another program: every member is checked.

        Raises:
            UnusablePlan: it is not one.
        """
        try:
            plan = cls(
                **content
                | {
                    "space": {
                        name: dimension_from_json(value) for name, value in content["space"].items()
                    },
                    "sent": frozenset(content["sent"]),
                    "method": Method(content["method"]),
                    "goal": Goal(content["goal"]),
                    "stop": Rule(content["stop"]),
                }
            )
            _check(plan)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UnusablePlan(f"its definition cannot be used: {error}") from None
        return plan


def _check(plan: Plan) -> None:
    numbers = {
        "min_epoch": (1, MAX_EPOCH),
        "eta": (2, MAX_ETA),
        "max_failed": (1, MAX_TRIALS),
        "seed": (0, MAX_SEED),
        "trials": (1, MAX_TRIALS),
        "parallel": (1, MAX_PARALLEL),
    }
    for name, (low, high) in numbers.items():
        value = getattr(plan, name)
        is_left_out = value is None and name in ("trials", "parallel")
        if not is_left_out and not (type(value) is int and low <= value <= high):
            raise ValueError(f"{name} is not a whole number from {low} to {high}")
    for name, pattern in (("model", MODEL_NAME), ("metric", METRIC_NAME)):
        if not pattern.fullmatch(getattr(plan, name)):
            raise ValueError(f"{name} is not a valid name")
    if not isinstance(plan.promote, bool):
        raise ValueError("promote is neither true nor false")
    for name in ("dataset", "size"):
        if not isinstance(getattr(plan, name), str | None):
            raise ValueError(f"{name} is not text")
    if not isinstance(plan.entry_sha256, str) or len(plan.entry_sha256) > 64:
        raise ValueError("entry_sha256 is not a digest")
    names = [*plan.space, *plan.fixed, *plan.sent]
    if not plan.space or not all(isinstance(name, str) and NAME.fullmatch(name) for name in names):
        raise ValueError("it has no space, or an invalid name")
    if not {"learning_rate", "epoch"} <= set(names):
        raise ValueError("it has no learning_rate or no epoch")
    for value in plan.fixed.values():
        if not isinstance(value, int | float | str) or value in (math.inf, -math.inf):
            raise ValueError("it fixes something that is not a value")
    if len(plan.to_text().encode()) > MAX_DEFINITION_BYTES:
        raise ValueError("it is too long")
