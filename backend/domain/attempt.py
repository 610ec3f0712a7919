"""An attempt of an experiment, as a launcher is given it, and the diagnosis of one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.domain.data_sets.pins import chosen_names
from backend.domain.execution.gang import is_gang, last_rank_characters
from backend.domain.execution.priority import Priority
from backend.domain.identifiers import experiment_id_problem, job_name

_TYPES: dict[str, Any] = {  # of those that every version has stored
    "experiment_id": str,
    "uid": str,
    "model": str,
    "learning_rate": float,
    "epoch": int,
    "dataset": str | None,
    "attempt": int,
}
_LATER = ("model_parameters", "size", "entry_sha256", "sweep_id", "priority")  # text, or missing
_NODES = "nodes"  # a number, or missing
FIELDS = (*_TYPES, *_LATER, _NODES)  # in the order of the attributes of Attempt


@dataclass(frozen=True)
class Program:
    """What executes an attempt. A launcher takes what is empty from its settings.

    Attributes:
        image: the image of its Job.
        command: starts it as a process of this machine.
        resources: pairs of cpu, memory or gpu and a quantity of Kubernetes.
        preload: the modules that a trainer on this machine finds imported.
        priority_classes: pairs of a priority and the PriorityClass of its Job.
        queue: the LocalQueue of Kueue that admits its Job.
        workload_priority_classes: pairs of a priority and the WorkloadPriorityClass of its Job.
    """

    image: str = ""
    command: tuple[str, ...] = ()
    resources: tuple[tuple[str, str], ...] = ()
    preload: tuple[str, ...] = ()
    priority_classes: tuple[tuple[str, str], ...] = ()
    queue: str = ""
    workload_priority_classes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Attempt:
    """One attempt of an experiment: everything a launcher needs to know.

    Attributes:
        uid: distinguishes experiments that used the same `experiment_id` one after the other.
        number: 1 for the first attempt.
        model_parameters: the other parameters of the model as canonical JSON, if it has any.
        size: the name of the resources that were chosen, if any were.
        entry_sha256: the digest of the model's entry in the catalogue.
        sweep_id: the sweep that it is a trial of, if it is one.
        priority: which of those that wait starts first; None for a normal one.
        nodes: how many train it together; None for one.
        program: what executes it, according to that entry.
    """

    experiment_id: str
    uid: str
    model: str
    learning_rate: float
    epoch: int
    dataset: str | None
    number: int
    model_parameters: str | None = None
    size: str | None = None
    entry_sha256: str | None = None
    sweep_id: str | None = None
    priority: str | None = None
    nodes: int | None = None
    program: Program = field(default=Program(), compare=False)

    @property
    def handle(self) -> str:
        """The name of the Job; the same attempt always gets the same name."""
        reserved = last_rank_characters(self.nodes)
        return job_name(self.model, self.experiment_id, self.number, reserved)

    def to_fields(self) -> dict[str, Any]:
        """Return FIELDS as they are stored in a Job's annotation and a local job file.

        Those that older versions did not have are left out if they are None.
        """
        named = zip(FIELDS, vars(self).values(), strict=False)
        return {name: value for name, value in named if name in _TYPES or value is not None}

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> "Attempt":
        """Return the attempt with these values, named like FIELDS; others are ignored."""
        later = (columns.get(name) for name in (*_LATER, _NODES))
        return cls(*(columns[name] for name in _TYPES), *later)

    @classmethod
    def from_fields(cls, fields: Any) -> "Attempt | None":
        """Return the attempt that `to_fields` wrote, or None if `fields` is not one.

        Other programs can write where it is stored, so every field is checked.
        """
        if not isinstance(fields, dict) or fields.keys() - {*_LATER, _NODES} != _TYPES.keys():
            return None
        if not all(_is_a(fields[name], kind) for name, kind in _TYPES.items()):
            return None
        if not all(_is_a(fields.get(name), str | None) for name in _LATER):
            return None
        if not _is_object(fields.get("model_parameters") or "{}"):
            return None
        if fields.get("priority") not in (None, Priority.LOW, Priority.HIGH):
            return None
        if fields.get(_NODES) is not None and not is_gang(fields[_NODES]):
            return None
        if fields["attempt"] < 1 or experiment_id_problem(fields["experiment_id"]):
            return None
        return cls.from_columns(fields)

    @property
    def values(self) -> dict[str, Any]:
        """The values of all parameters of the model, by name."""
        return all_values(self.learning_rate, self.epoch, self.model_parameters)

    def environment(self, *, input_dir: str, output_dir: str) -> dict[str, str]:
        """Return the environment variables of the trainer.

        Args:
            input_dir: the input folder, as the trainer sees it.
            output_dir: the experiment's own output folder, as the trainer sees it.
        """
        variables = {
            "EXPERIMENT_ID": self.experiment_id,
            "LEARNING_RATE": repr(self.learning_rate),
            "EPOCH": str(self.epoch),
            "ATTEMPT": str(self.number),
            "INPUT_DIR": input_dir,
            "OUTPUT_DIR": output_dir,
        }
        variables |= {
            f"PARAM_{name.upper()}": environment_text(value) for name, value in self.values.items()
        }
        # Several files are named in inputs.json.
        chosen = chosen_names(self.dataset)
        return variables | ({"DATASET": chosen[0]} if len(chosen) == 1 else {})


@dataclass(frozen=True)
class Diagnosis:
    """The cause of a failure or a delay.

    Attributes:
        reason: a code for programs.
        message: what happened, for people.
        remedy: what to do about it.
    """

    reason: str
    message: str
    remedy: str


def all_values(learning_rate: float, epoch: int, model_parameters: str | None) -> dict[str, Any]:
    """Return the values of all parameters of a model, of which the others are stored as JSON."""
    others = json.loads(model_parameters) if model_parameters else {}
    return {"learning_rate": learning_rate, "epoch": epoch, **others}


def readable_values(
    learning_rate: float, epoch: int, model_parameters: str | None
) -> dict[str, Any]:
    """Return what `all_values` does, without those of the model if their JSON is damaged."""
    try:
        return all_values(learning_rate, epoch, model_parameters)
    except (ValueError, TypeError, RecursionError):
        return all_values(learning_rate, epoch, None)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def environment_text(value: Any) -> str:
    """Return a value as the trainer's environment holds it: true, 0.001, 20, text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _is_a(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)  # a bool is an int
