"""What is known of an experiment, as the database has it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from backend.domain.attempt import Attempt
from backend.domain.status import Status


@dataclass(frozen=True)
class Parameters:
    """What a person chose. Two submissions of one id are the same if these are equal."""

    model: str
    learning_rate: float
    epoch: int
    dataset: str | None


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment as the database knows it. Times are aware, in UTC."""

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

    @classmethod
    def from_row(cls, row: Any) -> "Experiment":
        """Read a row of the table."""
        return cls.from_columns(dict(zip(_COLUMNS, row, strict=True)))

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> "Experiment":
        """Read columns of the table, by their names."""
        return cls(**{**columns, "status": Status(columns["status"])})

    @property
    def parameters(self) -> Parameters:
        """Give what a person chose."""
        return Parameters(self.model, self.learning_rate, self.epoch, self.dataset)

    @property
    def current_attempt(self) -> Attempt:
        """Give what a launcher needs to know of the current attempt."""
        return Attempt.from_columns(vars(self))

    def has_superseded(self, attempt: Attempt) -> bool:
        """Tell whether that run of it, if it goes on, does so by mistake.

        It was started by somebody who was slow, or died: the attempt has ended meanwhile. One that
        has succeeded is done by itself at once.
        """
        over = self.status in (Status.FAILED, Status.CANCELLED)
        return attempt.uid == self.uid and (
            attempt.number < self.attempt or (over and attempt.number == self.attempt)
        )


_COLUMNS = tuple(field.name for field in fields(Experiment))  # as the table has them


@dataclass(frozen=True)
class Transition:
    """One change of an experiment's status. `actor` names the token of who made it, if any."""

    attempt: int
    from_status: str | None
    to_status: str
    reason: str | None
    at: datetime
    actor: str | None = None

    @classmethod
    def from_row(cls, row: Any) -> "Transition":
        """Read a row of the table."""
        return cls(row.attempt, row.from_status, row.to_status, row.reason, row.at, row.actor)


def new_values(experiment_id: str, parameters: Parameters) -> dict[str, Any]:
    """Give the columns of an experiment that is to be submitted."""
    now = datetime.now(UTC)
    values = vars(parameters) | {
        "experiment_id": experiment_id,
        "uid": uuid.uuid4().hex,
        "status": Status.SUBMITTING,
        "attempt": 1,
        "created_at": now,
        "updated_at": now,
    }
    return values | {"job": Attempt.from_columns(values).handle}
