"""An experiment, its parameters and the changes of its status."""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, NamedTuple

from backend.domain.attempt import Attempt, all_values, readable_values
from backend.domain.catalogue import CONTRACT, as_json
from backend.domain.execution.usage import Usage
from backend.domain.identifiers import canonical, trial_number
from backend.domain.parameter import Value
from backend.domain.status import Status


@dataclass(frozen=True)
class Parameters:
    """What a person chose.

    Attributes:
        model_parameters: the other parameters of the model as canonical JSON; None if it has none.
        size: the name of the resources, if they are not those of the model.
        entry_sha256: the digest of the model's entry in the catalogue at that time.
        priority: which of those that wait starts first; None for a normal one.
        nodes: how many train it together, as that entry says; None for one.
    """

    model: str
    learning_rate: float
    epoch: int
    dataset: str | None
    model_parameters: str | None = None
    size: str | None = None
    entry_sha256: str | None = None
    priority: str | None = None
    nodes: int | None = None

    @property
    def values(self) -> dict[str, Any]:
        """The values of all parameters of the model, by name."""
        return all_values(self.learning_rate, self.epoch, self.model_parameters)

    @property
    def readable_values(self) -> dict[str, Any]:
        """The same, without the model's own if the database holds damaged text in their place."""
        return readable_values(self.learning_rate, self.epoch, self.model_parameters)

    def with_values(self, values: Mapping[str, Value]) -> "Parameters":
        """Return the same choice with other values of the model's parameters."""
        others = {name: value for name, value in values.items() if name not in CONTRACT}
        return replace(
            self,
            learning_rate=float(values["learning_rate"]),
            epoch=int(values["epoch"]),
            model_parameters=as_json(others) if others else None,
        )

    def same_as(self, other: "Parameters") -> bool:
        """Return whether two submissions of one id with these parameters are the same.

        The forms of Unicode (NFC, NFD) of a data set's name do not matter, nor does the entry that
        the values were chosen from.
        """
        return self._canonical() == other._canonical()

    def _canonical(self) -> "Parameters":
        dataset = self.dataset and canonical(self.dataset)
        return replace(self, dataset=dataset, entry_sha256=None, nodes=None)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment as the database records it. Times are aware, in UTC.

    Attributes:
        id: the key of its row.
        uid: distinguishes experiments that used the same `experiment_id` one after the other.
        attempt: the number of the current attempt, from 1.
        job: the name of the current attempt's Job.
        reason, message, remedy: the diagnosis, if there is one.
        cancel_requested_by: the name of the token that was used to cancel it, if any.
        delete_requested_at: when a deletion with its folder began; it cannot be retried since.
        model_parameters, size, entry_sha256, priority, nodes: as in Parameters; None in rows of
            older versions.
        image: what the current attempt executes, as far as it is known: the image with its digest,
            or the command and the digest of the trainer's files.
        inputs: the files that it uses, as `pins_to_text` returns them; None if they are not known.
        tags: a JSON array of the tags, sorted; None if it never had any.
        revision: the number of changes of tags, note and favourite; None if there was none.
        submitted_by: the name of the token that was used to submit it, if any.
        sweep_id, trial: the sweep that it is a trial of, and its number there, if it is one.
        pruned_because: why its sweep has stopped the current attempt, if it has.
        peak_cpu, peak_memory, peak_gpu, peak_gpu_memory: the most that the current attempt has
            used, as far as it is known; see `Usage`.
    """

    id: int
    experiment_id: str
    uid: str
    model: str
    learning_rate: float
    epoch: int
    dataset: str | None
    status: Status
    attempt: int
    job: str
    reason: str | None = None
    message: str | None = None
    remedy: str | None = None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    cancel_requested_by: str | None = None
    delete_requested_at: datetime | None = None
    model_parameters: str | None = None
    size: str | None = None
    entry_sha256: str | None = None
    image: str | None = None
    inputs: str | None = None
    tags: str | None = None
    favourite: bool | None = None
    revision: int | None = None
    submitted_by: str | None = None
    sweep_id: str | None = None
    trial: int | None = None
    pruned_because: str | None = None
    priority: str | None = None
    peak_cpu: float | None = None
    peak_memory: int | None = None
    peak_gpu: float | None = None
    peak_gpu_memory: int | None = None
    nodes: int | None = None

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> "Experiment":
        """Return the experiment with these values, named like the fields."""
        return cls(**{**columns, "status": Status(columns["status"])})

    @property
    def parameters(self) -> Parameters:
        """The values a person chose."""
        return Parameters(**{field.name: getattr(self, field.name) for field in fields(Parameters)})

    @property
    def peaks(self) -> Usage:
        """The most that the current attempt has used, as far as it is known."""
        return Usage(self.peak_cpu, self.peak_memory, self.peak_gpu, self.peak_gpu_memory)

    @property
    def current_attempt(self) -> Attempt:
        """The current attempt, as a launcher is given it."""
        return Attempt.from_columns(vars(self))

    @property
    def tag_names(self) -> list[str]:
        """Its tags."""
        return read_tags(self.tags)

    @property
    def is_waiting(self) -> bool:
        """Whether its Job waits for a diagnosed cause, such as an image that cannot be pulled."""
        return self.status is Status.QUEUED and bool(self.reason)

    @property
    def is_retriable(self) -> bool:
        """Whether another attempt may follow the current one."""
        ended = self.status in (Status.FAILED, Status.CANCELLED)
        return (ended or self.is_waiting) and not self.delete_requested_at

    def has_superseded(self, attempt: Attempt) -> bool:
        """Return whether `attempt` must not be running, because this experiment has moved on.

        Such a Job was created late, by a slow or killed process, after its attempt had ended.
        A succeeded experiment supersedes nothing: a Job that is started again for it finds the
        finished output and ends by itself.
        """
        was_ended = self.status in (Status.FAILED, Status.CANCELLED)
        return attempt.uid == self.uid and (
            attempt.number < self.attempt or (was_ended and attempt.number == self.attempt)
        )


class Place(NamedTuple):
    """The place of an experiment among those that wait for a slot.

    Attributes:
        position: from 1, which is the next one to start.
        ahead: the ids of experiments that start before it, the next one first.
    """

    position: int
    ahead: Sequence[str]


@dataclass(frozen=True)
class Transition:
    """One change of an experiment's status.

    Attributes:
        from_status: None for the submission.
        at: an aware time, in UTC.
        actor: the name of the token of the person who caused it, if any.
    """

    attempt: int
    from_status: str | None
    to_status: str
    reason: str | None
    at: datetime
    actor: str | None = None


@dataclass(frozen=True)
class Event:
    """A transition as it is streamed.

    Attributes:
        id: the key of the transition; later transitions have higher ones.
        experiment_id: the experiment whose status changed.
    """

    id: int
    experiment_id: str
    transition: Transition


def in_order(last: datetime, times: Sequence[datetime]) -> list[datetime]:
    """Return times that follow `last`, none before the one before it.

    Clocks differ, and a time that is not known was replaced by a later one.
    """
    return list(accumulate(times, max, initial=last))[1:]


def read_tags(text: str | None) -> list[str]:
    """Return tags that are stored as a JSON array; none if that is damaged."""
    try:
        return list(json.loads(text)) if text else []
    except ValueError:
        return []


def write_tags(tags: Iterable[str]) -> str:
    """Return tags as a JSON array, as they are stored."""
    return json.dumps(list(tags), ensure_ascii=False)


def new_values(
    experiment_id: str,
    parameters: Parameters,
    by: str | None = None,
    sweep_id: str | None = None,
) -> dict[str, Any]:
    """Return the column values of a new experiment, with the status `submitting`.

    Args:
        experiment_id: its id.
        parameters: what was chosen.
        by: the name of the token that was used to submit it, if any.
        sweep_id: the sweep that it is a trial of, if it is one.
    """
    now = datetime.now(UTC)
    values = vars(parameters) | {
        "experiment_id": experiment_id,
        "uid": uuid.uuid4().hex,
        "status": Status.SUBMITTING,
        "attempt": 1,
        "created_at": now,
        "updated_at": now,
        "submitted_by": by,
        "sweep_id": sweep_id,
        "trial": trial_number(sweep_id, experiment_id) if sweep_id else None,
    }
    return values | {"job": Attempt.from_columns(values).handle}
