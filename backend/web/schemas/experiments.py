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
from apiflask.validators import OneOf

from backend.domain.attempt import all_values
from backend.domain.catalogue import AUTOENCODER
from backend.domain.experiment import Experiment, Transition
from backend.domain.objective import CurveWarning, WarningCode
from backend.domain.selection import ListedExperiment
from backend.domain.status import Status
from backend.domain.timestamps import to_text
from backend.web.schemas.strict import StrictSchema


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
    model = String(metadata={"example": AUTOENCODER})
    learning_rate = Float(metadata={"example": 0.001})
    epoch = Integer(metadata={"example": 20})
    parameters = Dict(
        metadata={
            "description": "The values of all parameters of the model.",
            "example": {"learning_rate": 0.001, "epoch": 20},
        }
    )
    dataset = String(allow_none=True)
    size = String(
        allow_none=True,
        metadata={"description": "The size that was chosen, if any.", "example": None},
    )
    status = String(validate=OneOf(list(Status)), metadata={"example": "running"})
    attempt = Integer(metadata={"example": 1})
    job = String(
        metadata={
            "description": "The name of the Job.",
            "example": "autoencoder-run-1-fvr7tkk2mq4d-1",
        }
    )
    image = String(
        allow_none=True,
        metadata={
            "description": "What the current attempt executes, once it is known: the image with "
            "its digest, or the command and the digest of the trainer's files.",
            "example": "localhost:5000/autoencoder@sha256:0f1e",
        },
    )
    entry_sha256 = String(
        allow_none=True,
        metadata={
            "description": "The digest of the model's entry in the catalogue.",
            "example": "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab",
        },
    )
    diagnosis = Nested(DiagnosisOut, allow_none=True)
    created_at = DateTime()
    updated_at = DateTime()
    started_at = DateTime(allow_none=True)
    finished_at = DateTime(allow_none=True)
    cancel_requested_at = DateTime(allow_none=True)
    sweep_id = String(
        allow_none=True,
        metadata={"description": "The sweep that it is a trial of, if any.", "example": None},
    )
    trial = Integer(
        allow_none=True,
        metadata={"description": "Its number in that sweep, from 1.", "example": None},
    )


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
            "description": "Empty unless the objective (that of its model, or else val_loss "
            "or loss) is not finite, does not improve, or had exploded."
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
        "parameters": all_values(
            experiment.learning_rate, experiment.epoch, experiment.model_parameters
        ),
        "dataset": experiment.dataset,
        "size": experiment.size,
        "status": experiment.status,
        "attempt": experiment.attempt,
        "job": experiment.job,
        "image": experiment.image,
        "entry_sha256": experiment.entry_sha256,
        "diagnosis": _diagnosis(experiment),
        "created_at": experiment.created_at,
        "updated_at": experiment.updated_at,
        "started_at": experiment.started_at,
        "finished_at": experiment.finished_at,
        "cancel_requested_at": experiment.cancel_requested_at,
        "sweep_id": experiment.sweep_id,
        "trial": experiment.trial,
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
