"""The catalogue of models: what each one is, and what can be chosen for it. Plain data and rules.

An entry is written in a model.yaml. Image, command and resources come from there alone: a client
chooses parameters and a size.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

from backend.domain.attempt import Program
from backend.domain.execution.gang import read_nodes
from backend.domain.execution.keys import NAME, InvalidKey, read_command, read_preload
from backend.domain.execution.priority import (
    read_priority_classes,
    read_workload_priority_classes,
)
from backend.domain.execution.queue import read_queue
from backend.domain.execution.resources import QUEUE, read_resources, read_sizes
from backend.domain.parameter import InvalidSchema, InvalidValue, Parameter, Value, shown_value

AUTOENCODER = "autoencoder"  # the model of a submission that names none
MAX_PARAMETERS = 64
MAX_ENTRY_BYTES = 64 * 1024 - 1  # TEXT of MySQL
MAX_VALUES_BYTES = 32 * 1024  # of all values together, as JSON
MAX_DESCRIPTION = 2000  # characters
MODEL_NAME = NAME
METRIC_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,63}", re.ASCII)
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}", re.ASCII)
RESERVED = ("experiment_id", "model", "dataset", "size", "priority")  # fields of a submission
# Every model has these two, with these limits; an entry may narrow them or add a default.
CONTRACT: dict[str, dict[str, Any]] = {
    "learning_rate": {
        "type": "number",
        "maximum": 10,
        "exclusiveMinimum": 0,
        "description": "Learning rate of Adam.",
    },
    "epoch": {
        "type": "integer",
        "minimum": 1,
        "maximum": 100_000,
        "description": "Number of passes over the data.",
    },
}
EXAMPLES: dict[str, Value] = {"learning_rate": 0.001, "epoch": 20}

_KEYS = (
    *("description", "image", "command", "preload", "priority_classes"),
    *("queue", "workload_priority_classes", "parameters", "objective", "resources", "sizes"),
    "nodes",
)

T = TypeVar("T")


class InvalidEntry(ValueError):
    """An entry that cannot be used.

    Attributes:
        problems: one sentence for each mistake.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


class InvalidParameters(ValueError):
    """Values that a model does not allow.

    Attributes:
        problems: one sentence for each parameter.
    """

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name} {problem}" for name, problem in problems.items()))
        self.problems = problems


class Goal(StrEnum):
    """Which values of a metric are good: low or high ones."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


@dataclass(frozen=True)
class Objective:
    """The metric by which experiments of a model are compared, and which values of it are good."""

    metric: str
    goal: Goal


@dataclass(frozen=True)
class Entry:
    """One model of the catalogue.

    Attributes:
        image: the image of its Jobs; empty for the autoencoder (AE_MODEL_IMAGE_URL).
        command: starts its trainer on one machine; empty for train.py in the model's folder.
        parameters: by name.
        resources: cpu, memory and gpu of its Jobs, as far as the entry names them.
        sizes: other resources, by the name that a client chooses.
        preload: modules that its trainers on one machine find imported.
        priority_classes: pairs of a priority and the PriorityClass of its Jobs.
        queue: the LocalQueue that admits its Jobs; empty for that of the settings. A size may
            name another one.
        workload_priority_classes: pairs of a priority and the WorkloadPriorityClass of its Jobs.
        nodes: how many train each of its experiments together.
    """

    name: str
    description: str = ""
    image: str = ""
    command: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    objective: Objective | None = None
    resources: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    preload: tuple[str, ...] = ()
    priority_classes: tuple[tuple[str, str], ...] = ()
    queue: str = ""
    workload_priority_classes: tuple[tuple[str, str], ...] = ()
    nodes: int = 1

    @cached_property
    def content(self) -> str:
        """The entry as JSON, from which `from_content` reads it."""
        objective = self.objective and {
            "metric": self.objective.metric,
            "goal": self.objective.goal,
        }
        document = {
            "name": self.name,
            "description": self.description,
            "image": self.image,
            "command": list(self.command),
            "parameters": {name: one.schema() for name, one in self.parameters.items()},
            "objective": objective,
            "resources": dict(self.resources),
            "sizes": {name: dict(size) for name, size in self.sizes.items()},
            "preload": list(self.preload),
            "priority_classes": dict(self.priority_classes),
            "queue": self.queue,
            "workload_priority_classes": dict(self.workload_priority_classes),
            "nodes": self.gang_nodes,
        }
        present = {key: value for key, value in document.items() if value}
        return json.dumps(present, ensure_ascii=False, separators=(",", ":"))

    @cached_property
    def sha256(self) -> str:
        """The digest of `content`, in hexadecimal."""
        return hashlib.sha256(self.content.encode()).hexdigest()

    @property
    def gang_nodes(self) -> int | None:
        """How many nodes train each of its experiments; None for one, as it is stored."""
        return self.nodes if self.nodes > 1 else None

    @property
    def defaults(self) -> dict[str, Value]:
        """The defaults of the parameters that have one."""
        return {
            name: one.default for name, one in self.parameters.items() if one.default is not None
        }

    def parse(self, sent: Mapping[str, Any]) -> dict[str, Value]:
        """Return a typed value for every parameter, from the fields of a form or of JSON.

        Raises:
            InvalidParameters: fields are unknown, missing or not allowed; it names all of them.
        """
        values, problems = dict[str, Value](), dict[str, str]()
        for name, parameter in self.parameters.items():
            try:
                if name in sent:
                    values[name] = parameter.parse(sent[name])
                elif parameter.default is None:
                    problems[name] = f"is missing: send {parameter.allowed}."
                else:
                    values[name] = parameter.default
            except InvalidValue as error:
                problems[name] = str(error)
        unknown = [name for name in sent if name not in self.parameters]
        problems |= dict.fromkeys(unknown, f"is not known: {self._known}.")
        if not problems and len(as_json(values).encode()) > MAX_VALUES_BYTES:
            longest = max(values, key=lambda name: len(str(values[name])))
            problems[longest] = (
                f"is too long: all parameters together may have {MAX_VALUES_BYTES} bytes as JSON."
            )
        if problems:
            raise InvalidParameters(problems)
        return values

    def program(self, size: str | None) -> Program:
        """Return what executes an attempt of this model, with the resources of a size."""
        resources = {**self.resources, **(self.sizes.get(size, {}) if size else {})}
        queue = resources.pop(QUEUE, self.queue)
        return Program(
            self.image,
            self.command,
            tuple(sorted(resources.items())),
            self.preload,
            self.priority_classes,
            queue,
            self.workload_priority_classes,
        )

    @property
    def _known(self) -> str:
        *names, last = (*self.parameters, *RESERVED)
        return f"send only {', '.join(names)} or {last}"

    @classmethod
    def from_content(cls, content: str) -> "Entry":
        """Return the entry with this `content`.

        Raises:
            InvalidEntry: it is not the content of an entry.
        """
        try:
            document = json.loads(content)
            name = document.pop("name")
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
            raise InvalidEntry(["It is not the JSON of an entry."]) from None
        return cls.from_document(name, document)

    @classmethod
    def from_document(cls, name: Any, document: Any) -> "Entry":
        """Return the entry that the content of a model.yaml describes.

        Raises:
            InvalidEntry: it holds mistakes; the error names all of them.
        """
        if not isinstance(name, str) or not MODEL_NAME.fullmatch(name):
            raise InvalidEntry(
                [
                    f"{shown_value(name)} cannot be the name of a model: it must have at most 32 "
                    "characters of a-z, 0-9 and '-', and begin and end with a letter or digit."
                ]
            )
        if not isinstance(document, Mapping):
            raise InvalidEntry([f"It must be an object with the keys {', '.join(_KEYS)}."])
        reader = _Reader(document)
        command = reader.checked("command", read_command, [])
        entry = cls(
            name,
            reader.description(),
            reader.image(),
            command,
            MappingProxyType(reader.parameters()),
            reader.objective(),
            reader.checked("resources", read_resources, {}),
            reader.checked("sizes", read_sizes, {}),
            reader.checked("preload", lambda value: read_preload(value, command), []),
            reader.checked("priority_classes", read_priority_classes, {}),
            reader.checked("queue", read_queue, ""),
            reader.checked("workload_priority_classes", read_workload_priority_classes, {}),
            reader.checked("nodes", read_nodes, 1),
        )
        content = entry.content
        if any("\ud800" <= character <= "\udfff" for character in content):
            reader.problems.append("It holds half of a surrogate pair, which is no text.")
        elif len(content.encode()) > MAX_ENTRY_BYTES:
            reader.problems.append(f"It must have at most {MAX_ENTRY_BYTES} bytes as JSON.")
        if reader.problems:
            raise InvalidEntry(reader.problems)
        return entry


@dataclass(frozen=True)
class Catalogue:
    """All models, and what is wrong with the entries that cannot be used.

    Attributes:
        entries: by name.
        problems: sentences by the name of a model, or by that of a folder.
    """

    entries: Mapping[str, Entry]
    problems: Mapping[str, str]


@dataclass(frozen=True)
class Choice:
    """Where the parameters of a submission come from.

    Attributes:
        entry: the entry of the model that they were chosen from.
        sent: the names of the parameters that were sent; the others have their defaults.
    """

    entry: Entry
    sent: frozenset[str]


def as_json(values: Mapping[str, Value]) -> str:
    """Return values as canonical JSON: sorted by name, without spaces."""
    return json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


class _Reader:
    """Reads the keys of an entry and collects the problems found in them."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self.problems: list[str] = []
        for key in (key for key in document if key not in _KEYS):
            self.problems.append(f"The key {shown_value(key)} is unknown: use {', '.join(_KEYS)}.")

    def description(self) -> str:
        text = self._document.get("description", "")
        if not isinstance(text, str) or len(text) > MAX_DESCRIPTION or "\0" in text:
            self.problems.append(f"description must be text of {MAX_DESCRIPTION} characters.")
            return ""
        return text

    def image(self) -> str:
        image = self._document.get("image", "")
        if image != "" and not (isinstance(image, str) and IMAGE.fullmatch(image)):
            self.problems.append("image must be the name of an image, such as host:5000/model:1.")
            return ""
        return str(image)

    def checked(self, key: str, read: Callable[[Any], T], missing: Any) -> T:
        try:
            return read(self._document.get(key, missing))
        except InvalidKey as error:
            self.problems.append(str(error))
            return read(missing)

    def parameters(self) -> dict[str, Parameter]:
        schemas = self._document.get("parameters", {})
        if not isinstance(schemas, Mapping) or len(schemas) > MAX_PARAMETERS:
            self.problems.append(
                f"parameters must be an object of at most {MAX_PARAMETERS} parameters."
            )
            return {}
        missing: dict[Any, Any] = {name: {} for name in CONTRACT if name not in schemas}
        parameters = {}
        for name, schema in (missing | dict(schemas)).items():
            try:
                parameters[str(name)] = _parameter(name, schema)
            except InvalidSchema as error:
                self.problems.append(f"parameters: {shown_value(name)}: {error}.")
        return parameters

    def objective(self) -> Objective | None:
        objective = self._document.get("objective")
        if objective is None:
            return None
        if isinstance(objective, Mapping) and objective.keys() == {"metric", "goal"}:
            metric, goal = objective["metric"], objective["goal"]
            if isinstance(metric, str) and METRIC_NAME.fullmatch(metric) and goal in list(Goal):
                return Objective(metric, Goal(goal))
        self.problems.append(
            f"objective must have a metric, such as val_loss, and a goal: {' or '.join(Goal)}."
        )
        return None


def _parameter(name: Any, schema: Any) -> Parameter:
    if not isinstance(name, str):
        raise InvalidSchema("its name must be text")
    if name in RESERVED:
        raise InvalidSchema("its name is that of another field of a submission")
    limits = CONTRACT.get(name)
    if limits is None:
        return Parameter.from_schema(name, schema)
    if not isinstance(schema, Mapping):
        raise InvalidSchema("it must be an object")
    widest = Parameter.from_schema(name, limits)
    if schema.get("type", widest.type) != widest.type:
        raise InvalidSchema(f"its type must be {widest.type}")
    narrowed = Parameter.from_schema(name, limits | dict(schema), EXAMPLES[name])
    if not narrowed.is_within(widest):
        raise InvalidSchema(f"it must stay within {widest.allowed}")
    return narrowed
