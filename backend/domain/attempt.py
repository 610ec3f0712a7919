"""An attempt of an experiment, as a launcher is given it, and the diagnosis of one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.domain.identifiers import experiment_id_problem, job_name

_TYPES: dict[str, Any] = {
    "experiment_id": str,
    "uid": str,
    "model": str,
    "learning_rate": float,
    "epoch": int,
    "dataset": str | None,
    "attempt": int,
}
FIELDS = tuple(_TYPES)  # in the order of the attributes of Attempt


@dataclass(frozen=True)
class Attempt:
    """One attempt of an experiment: everything a launcher needs to know.

    Attributes:
        uid: distinguishes experiments that used the same `experiment_id` one after the other.
        number: 1 for the first attempt.
    """

    experiment_id: str
    uid: str
    model: str
    learning_rate: float
    epoch: int
    dataset: str | None
    number: int

    @property
    def handle(self) -> str:
        """The name of the Job; the same attempt always gets the same name."""
        return job_name(self.model, self.experiment_id, self.number)

    def to_fields(self) -> dict[str, Any]:
        """Return FIELDS as they are stored in a Job's annotation, a local job file and run.json."""
        return dict(zip(FIELDS, vars(self).values(), strict=True))

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> "Attempt":
        """Return the attempt with these values, named like FIELDS; others are ignored."""
        return cls(*(columns[name] for name in FIELDS))

    @classmethod
    def from_fields(cls, fields: Any) -> "Attempt | None":
        """Return the attempt that `to_fields` wrote, or None if `fields` is not one.

        Other programs can write where it is stored, so every field is checked.
        """
        if not isinstance(fields, dict) or fields.keys() != _TYPES.keys():
            return None
        if not all(_is_a(fields[name], kind) for name, kind in _TYPES.items()):
            return None
        if fields["attempt"] < 1 or experiment_id_problem(fields["experiment_id"]):
            return None
        return cls.from_columns(fields)

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
        return variables | ({"DATASET": self.dataset} if self.dataset else {})


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


def _is_a(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)  # a bool is an int
