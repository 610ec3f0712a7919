"""Requests and responses about experiments."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from apiflask import Schema
from apiflask.fields import (
    Boolean,
    DateTime,
    Dict,
    Float,
    Integer,
    List,
    Nested,
    String,
)
from apiflask.validators import Length, OneOf, Range

from backend.domain.experiment import Experiment, Transition
from backend.domain.identifiers import MAX_ID_CHARACTERS
from backend.domain.objective import CurveWarning, WarningCode
from backend.domain.selection import ListedExperiment
from backend.domain.status import Status
from backend.domain.timestamps import to_text
from backend.experiments.service import MODEL
from backend.web.schemas.fields import (
    MAX_EPOCH,
    MAX_LEARNING_RATE,
    Epoch,
    ExperimentId,
    LearningRate,
)
from backend.web.schemas.strict import StrictSchema


class ExperimentIn(StrictSchema):
    """A submission."""

    learning_rate = LearningRate(
        required=True,
        validate=Range(min=0, min_inclusive=False, max=MAX_LEARNING_RATE),
        error_messages={"required": "is missing: send a number such as 0.001."},
        metadata={"description": "Learning rate of Adam.", "example": 0.001},
    )
    epoch = Epoch(
        required=True,
        validate=Range(min=1, max=MAX_EPOCH),
        error_messages={"required": "is missing: send a whole number such as 20."},
        metadata={"description": "Number of passes over the data.", "example": 20},
    )
    experiment_id = ExperimentId(
        required=True,
        validate=Length(min=1, max=MAX_ID_CHARACTERS),
        error_messages={"required": "is missing: send a name for the experiment, such as run-1."},
        metadata={"description": "Names the experiment and its output folder.", "example": "run-1"},
    )
    dataset = String(
        load_default=None,
        allow_none=True,
        error_messages={"invalid": "must be the name of a file in the input folder."},
        metadata={
            "description": "A file of the input folder; all of them by default.",
            "example": "digits.npz",
        },
    )


class DeleteIn(StrictSchema):
    """What to delete."""

    outputs = Boolean(load_default=False, metadata={"description": "Delete the output folder too."})


class DiagnosisOut(Schema):
    """Why an experiment failed or waits."""

    reason = String(metadata={"description": "A code for programs.", "example": "out_of_memory"})
    message = String(metadata={"description": "What happened."})
    remedy = String(metadata={"description": "What to do."})


class ExperimentOut(Schema):
    """An experiment."""

    experiment_id = String(metadata={"example": "run-1"})
    model = String(metadata={"example": MODEL})
    learning_rate = Float(metadata={"example": 0.001})
    epoch = Integer(metadata={"example": 20})
    dataset = String(allow_none=True)
    status = String(validate=OneOf(list(Status)), metadata={"example": "running"})
    attempt = Integer(metadata={"example": 1})
    job = String(
        metadata={
            "description": "The name of the Job.",
            "example": "autoencoder-run-1-fvr7tkk2mq4d-1",
        }
    )
    diagnosis = Nested(DiagnosisOut, allow_none=True)
    created_at = DateTime()
    updated_at = DateTime()
    started_at = DateTime(allow_none=True)
    finished_at = DateTime(allow_none=True)
    cancel_requested_at = DateTime(allow_none=True)


class MetricSummaryOut(Schema):
    """The last, lowest and highest value of a metric, each with its first epoch."""

    last = Float(metadata={"example": 0.031})
    last_epoch = Float(metadata={"example": 20})
    min = Float(metadata={"example": 0.03})
    min_epoch = Float(metadata={"example": 18})
    max = Float(metadata={"example": 0.68})
    max_epoch = Float(metadata={"example": 1})


class ListedExperimentOut(ExperimentOut):
    """An experiment in a list, with the summaries of its metrics."""

    metrics = Dict(
        keys=String(),
        values=Nested(MetricSummaryOut),
        metadata={"description": "By name; empty before the first epoch."},
    )


class SubmissionOut(ExperimentOut):
    """The response to a submission: the experiment, and what became of the submission."""

    message = String(metadata={"example": "Job Created"})
    ui_url = String(
        metadata={
            "description": "The page of the experiment in the dashboard.",
            "example": "http://127.0.0.1:31112/ui/experiments/run-1",
        }
    )


class TransitionOut(Schema):
    """One change of status."""

    attempt = Integer()
    from_status = String(allow_none=True)
    to_status = String(metadata={"example": "submitting"})
    reason = String(allow_none=True)
    at = DateTime()
    by = String(
        allow_none=True,
        metadata={
            "description": "The name of the token that was used, if any.",
            "example": "alice",
        },
    )


class ProgressOut(Schema):
    """How far the current attempt has got."""

    epoch = Integer(metadata={"description": "The number of completed epochs.", "example": 5})
    epochs = Integer(metadata={"description": "The number of epochs to train.", "example": 20})


class WarningOut(Schema):
    """Why an experiment may be worthless although it has not failed."""

    code = String(
        validate=OneOf(list(WarningCode)),
        metadata={"description": "For programs.", "example": WarningCode.NOT_IMPROVED},
    )
    message = String(
        metadata={
            "description": "What the metrics show.",
            "example": "val_loss has not improved since epoch 1: it was 2.7, and 4.7 at epoch 20.",
        }
    )


def warnings_field() -> List[Any]:
    """Return the field `warnings` of an experiment that is shown with its metrics."""
    return List(
        Nested(WarningOut),
        metadata={
            "description": "Empty unless the objective (val_loss, or else loss) is not "
            "finite, does not improve, or had exploded."
        },
    )


class ExperimentDetailOut(ExperimentOut):
    """An experiment with its progress, last metrics, warnings and history."""

    progress = Nested(ProgressOut)
    metrics = Dict(
        allow_none=True,
        metadata={
            "description": "The metrics of the last epoch; a value that is neither a number nor "
            "text is null."
        },
    )
    warnings = warnings_field()
    history = List(Nested(TransitionOut))


def experiment_out(experiment: Experiment) -> dict[str, Any]:
    """Return an experiment with the members of ExperimentOut."""
    values = [_as_json(getattr(experiment, name)) for name in ListedExperiment._fields[:-1]]
    return _members(ListedExperiment._make([*values, None]))


def listed_out(experiment: ListedExperiment) -> dict[str, Any]:
    """Return an experiment of a listing with the members of ListedExperimentOut, for orjson."""
    members = _members(experiment)
    members["metrics"] = orjson.Fragment(experiment.metrics or "{}")  # JSON already
    return members


def _members(experiment: ListedExperiment) -> dict[str, Any]:
    return {
        "experiment_id": experiment.experiment_id,
        "model": experiment.model,
        "learning_rate": experiment.learning_rate,
        "epoch": experiment.epoch,
        "dataset": experiment.dataset,
        "status": experiment.status,
        "attempt": experiment.attempt,
        "job": experiment.job,
        "diagnosis": _diagnosis(experiment),
        "created_at": experiment.created_at,
        "updated_at": experiment.updated_at,
        "started_at": experiment.started_at,
        "finished_at": experiment.finished_at,
        "cancel_requested_at": experiment.cancel_requested_at,
    }


def transition_out(transition: Transition) -> dict[str, Any]:
    """Return a transition with the members of TransitionOut."""
    return {
        "attempt": transition.attempt,
        "from_status": transition.from_status,
        "to_status": transition.to_status,
        "reason": transition.reason,
        "at": to_text(transition.at),
        "by": transition.actor,
    }


def warnings_out(warnings: Sequence[CurveWarning]) -> list[dict[str, Any]]:
    """Return warnings with the members of WarningOut."""
    return [{"code": each.code, "message": each.message} for each in warnings]


def _diagnosis(experiment: ListedExperiment) -> dict[str, Any] | None:
    if not experiment.reason:
        return None
    return {
        "reason": experiment.reason,
        "message": experiment.message,
        "remedy": experiment.remedy,
    }


def _as_json(value: Any) -> Any:
    return to_text(value) if isinstance(value, datetime) else value
