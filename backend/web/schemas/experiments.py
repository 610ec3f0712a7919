"""Responses about experiments."""

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
    Raw,
    String,
)
from apiflask.validators import OneOf

from backend.domain.attempt import readable_values
from backend.domain.catalogue import AUTOENCODER
from backend.domain.data_sets.pins import chosen_names, pins_from_text
from backend.domain.execution.priority import Priority
from backend.domain.experiment import Experiment, Transition, read_tags
from backend.domain.objective import CurveWarning, WarningCode
from backend.domain.selection import ListedExperiment
from backend.domain.status import Status
from backend.domain.timestamps import to_text
from backend.web.languages.current import translated


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
    dataset = Raw(
        allow_none=True,
        metadata={
            "description": "The file that was chosen, an array of several, or null for every file.",
            "example": "digits.npz",
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}},
                {"type": "null"},
            ],
        },
    )
    size = String(
        allow_none=True,
        metadata={"description": "The size that was chosen, if any.", "example": None},
    )
    priority = String(validate=OneOf(list(Priority)), metadata={"example": "normal"})
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
    tags = List(String(), metadata={"description": "Sorted.", "example": ["baseline"]})
    favourite = Boolean(metadata={"example": False})
    revision = Integer(
        metadata={
            "description": "The number of changes of tags, note and favourite. A change may send "
            "the one that it is based on.",
            "example": 1,
        }
    )
    by = String(
        allow_none=True,
        metadata={
            "description": "The name of the token that was used to submit it, if any.",
            "example": "alice",
        },
    )
    nodes = Integer(
        metadata={
            "description": "How many nodes train it together, as its model's entry says; left out "
            "if it is one.",
            "example": 2,
        }
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

    peak_cpu = Float(
        allow_none=True,
        metadata={
            "description": "The most processors that the current attempt has kept busy; null if "
            "it is not known, as the other peaks.",
            "example": 1.98,
        },
    )
    peak_memory = Integer(
        allow_none=True,
        metadata={"description": "The most memory, in bytes.", "example": 412_876_800},
    )
    peak_gpu = Float(
        allow_none=True,
        metadata={"description": "The most GPUs that it has kept busy.", "example": None},
    )
    peak_gpu_memory = Integer(
        allow_none=True,
        metadata={"description": "The most memory of GPUs, in bytes.", "example": None},
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


class PinOut(Schema):
    """A file that an experiment uses, as it was at the submission."""

    name = String(metadata={"example": "digits.npz"})
    size = Integer(metadata={"description": "Bytes.", "example": 57_000})
    sha256 = String()


def inputs_field() -> List[Any]:
    """Return the field `inputs` of an experiment that is shown alone."""
    return List(
        Nested(PinOut),
        allow_none=True,
        metadata={
            "description": "The files that it uses, every attempt the same ones; null if they "
            "were not known at the submission."
        },
    )


class SubmissionOut(ExperimentOut):
    """The response to a submission: the experiment, and what became of the submission."""

    inputs = inputs_field()

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


class QueueOut(Schema):
    """The place of an experiment in its queue: that of this machine, or one of Kueue."""

    position = Integer(metadata={"description": "1 is the next one to start.", "example": 3})
    ahead = List(
        String(),
        metadata={
            "description": "The experiments that start before it, the next one first; at most 20.",
            "example": ["run-1", "run-2"],
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

    inputs = inputs_field()
    progress = Nested(ProgressOut)
    queue = Nested(
        QueueOut,
        allow_none=True,
        metadata={
            "description": "Null unless it waits for a slot of this machine or in a queue of Kueue."
        },
    )
    metrics = Dict(
        allow_none=True,
        metadata={
            "description": "The metrics of the last epoch; a value that is neither a number nor "
            "text is null."
        },
    )
    warnings = warnings_field()
    note = String(metadata={"description": "Markdown.", "example": "Diverges after epoch 12."})
    history = List(Nested(TransitionOut))


def experiment_out(experiment: Experiment) -> dict[str, Any]:
    """Return an experiment with the members of ExperimentOut."""
    values = [_as_json(getattr(experiment, name)) for name in ListedExperiment._fields[:-1]]
    members = _members(ListedExperiment._make([*values, None]))
    return members | {"tags": read_tags(experiment.tags)}


def listed_out(experiment: ListedExperiment) -> dict[str, Any]:
    """Return an experiment of a listing with the members of ListedExperimentOut, for orjson."""
    members = _members(experiment)
    members["tags"] = orjson.Fragment(experiment.tags or "[]")  # JSON already
    members["metrics"] = orjson.Fragment(experiment.metrics or "{}")
    return members


def _members(experiment: ListedExperiment) -> dict[str, Any]:
    return {
        "experiment_id": experiment.experiment_id,
        "model": experiment.model,
        "learning_rate": experiment.learning_rate,
        "epoch": experiment.epoch,
        "parameters": readable_values(
            experiment.learning_rate, experiment.epoch, experiment.model_parameters
        ),
        "dataset": dataset_out(experiment.dataset),
        "size": experiment.size,
        "priority": experiment.priority or Priority.NORMAL,
        "status": experiment.status,
        "attempt": experiment.attempt,
        "job": experiment.job,
        "image": experiment.image,
        "entry_sha256": experiment.entry_sha256,
        "tags": None,
        "favourite": bool(experiment.favourite),
        "revision": experiment.revision or 0,
        "by": experiment.submitted_by,
        "diagnosis": _diagnosis(experiment),
        "created_at": experiment.created_at,
        "updated_at": experiment.updated_at,
        "started_at": experiment.started_at,
        "finished_at": experiment.finished_at,
        "cancel_requested_at": experiment.cancel_requested_at,
        "sweep_id": experiment.sweep_id,
        "trial": experiment.trial,
        "peak_cpu": experiment.peak_cpu,
        "peak_memory": experiment.peak_memory,
        "peak_gpu": experiment.peak_gpu,
        "peak_gpu_memory": experiment.peak_gpu_memory,
        **({"nodes": experiment.nodes} if experiment.nodes else {}),
    }


def dataset_out(choice: str | None) -> str | list[str] | None:
    """Return a choice of data sets as it was sent: a name, several, or None for all."""
    names = chosen_names(choice)
    return names if len(names) > 1 else choice


def inputs_out(experiment: Experiment) -> list[dict[str, Any]] | None:
    """Return the files that an experiment uses with the members of PinOut; None if unknown."""
    return [pin._asdict() for pin in pins_from_text(experiment.inputs)] or None


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
    return [{"code": each.code, "message": translated(each.message)} for each in warnings]


def _diagnosis(experiment: ListedExperiment) -> dict[str, Any] | None:
    if not experiment.reason:
        return None
    return {
        "reason": experiment.reason,
        "message": experiment.message and translated(experiment.message),
        "remedy": experiment.remedy and translated(experiment.remedy),
    }


def _as_json(value: Any) -> Any:
    return to_text(value) if isinstance(value, datetime) else value
