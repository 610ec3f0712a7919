"""A sweep: experiments made from one search space, and its trials, which are those experiments."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from backend.domain.status import LIVE, Status

MAX_TRIALS = 9_999
MAX_PARALLEL = 1_000
MAX_DEFINITION_BYTES = 64 * 1024 - 1  # TEXT of MySQL
PRUNED = "pruned"  # the reason of a trial that its sweep has stopped


class SweepStatus(StrEnum):
    """The status of a sweep."""

    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


SWEEP_ENDED = (SweepStatus.SUCCEEDED, SweepStatus.FAILED, SweepStatus.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One sweep as the database records it. Times are aware, in UTC.

    Attributes:
        id: the key of its row.
        uid: distinguishes sweeps that used the same `sweep_id` one after the other.
        trials: how many trials it may have.
        parallel: how many of them may be live at the same time.
        issued: the number of the last trial that was submitted; 0 before the first.
        counted_from: failures of trials up to this number do not count: it was resumed since.
        definition: what was asked for, as `sweeps.plan.Plan` reads it.
        reason, message, remedy: why it waits or has failed.
        is_cancelling: whether trials that were live when it was cancelled may not be cancelled yet.
        created_by: the name of the token that was used to start it, if any.
        delete_requested_at: when its deletion began.
        delete_outputs: whether the folders are deleted, too.
        analysis: the importance of its parameters as JSON, once it was computed.
    """

    id: int
    sweep_id: str
    uid: str
    model: str
    status: SweepStatus
    trials: int
    parallel: int
    issued: int
    counted_from: int
    definition: str
    reason: str | None = None
    message: str | None = None
    remedy: str | None = None
    is_cancelling: bool = False
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    created_by: str | None = None
    delete_requested_at: datetime | None = None
    delete_outputs: bool = False
    analysis: str | None = None

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> "Sweep":
        """Return the sweep with these values, named like the fields."""
        return cls(**{**columns, "status": SweepStatus(columns["status"])})

    @property
    def is_ended(self) -> bool:
        """Whether it submits no more trials, unless it is extended or resumed."""
        return self.status in SWEEP_ENDED


class Trial(NamedTuple):  # of which a request makes thousands: a tuple takes a tenth of the time
    """An experiment of a sweep, as samplers and rules see it.

    Attributes:
        number: from 1.
        key: the key of its row.
        parameters: the values of all parameters of the model.
        epochs: how many it was to train.
        value: the best value of the objective; None if there is none, or none yet.
        value_epoch: the first epoch with that value.
        last_epoch: the last epoch with a value; None before the first.
        is_final: whether these figures are those of the end of its current attempt.
    """

    number: int
    experiment_id: str
    key: int
    status: Status
    attempt: int
    parameters: Mapping[str, Any]
    epochs: int
    reason: str | None = None
    message: str | None = None
    remedy: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    value: float | None = None
    value_epoch: float | None = None
    last_epoch: float | None = None
    is_final: bool = False

    @property
    def is_live(self) -> bool:
        """Whether it has not ended."""
        return self.status in LIVE

    @property
    def is_pruned(self) -> bool:
        """Whether its sweep has stopped it."""
        return self.status is Status.CANCELLED and self.reason == PRUNED

    @property
    def outcome(self) -> str:
        """Its status, or `pruned`."""
        return PRUNED if self.is_pruned else str(self.status)

    @property
    def is_result(self) -> bool:
        """Whether its value may be that of the best trial."""
        return self.value is not None and self.status is not Status.FAILED


@dataclass(frozen=True)
class Standing:
    """How a sweep stands, as lists show it.

    Attributes:
        counts: how many trials have each status, or were pruned.
        best: the trial with the best value; None before the first value.
    """

    counts: Mapping[str, int]
    best: Trial | None


def new_sweep_values(
    sweep_id: str, model: str, definition: str, *, trials: int, parallel: int, by: str | None
) -> dict[str, Any]:
    """Return the column values of a new sweep, which is running."""
    now = datetime.now(UTC)
    return {
        "sweep_id": sweep_id,
        "uid": uuid.uuid4().hex,
        "model": model,
        "status": SweepStatus.RUNNING,
        "trials": trials,
        "parallel": parallel,
        "issued": 0,
        "counted_from": 0,
        "definition": definition,
        "is_cancelling": False,
        "created_at": now,
        "updated_at": now,
        "created_by": by,
        "delete_outputs": False,
    }
