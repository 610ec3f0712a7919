"""What a request may hold and what an answer holds. The OpenAPI document is made from these."""

import math
import re
from datetime import datetime
from typing import Any

from apiflask import Schema
from apiflask.fields import Boolean, DateTime, Dict, Float, Integer, List, Nested, String
from apiflask.validators import Length, OneOf, Range
from marshmallow import RAISE, ValidationError

from backend.experiments import MODEL
from backend.identifiers import MAX_ID_CHARACTERS, experiment_id_problem
from backend.lifecycle import Status
from backend.records import Experiment, Transition
from backend.timestamps import to_text

MAX_LEARNING_RATE = 10
MAX_EPOCH = 100_000
MAX_TAIL = 1_000_000
_WHOLE_NUMBER = re.compile(r"\s*\+?[0-9]{1,20}\s*", re.ASCII)


class LearningRate(Float):
    """A finite number above 0 and at most 10."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not 0 < number <= MAX_LEARNING_RATE:  # NaN compares false
            raise ValidationError(
                f"must be a number above 0 and at most {MAX_LEARNING_RATE}, such as 0.001; "
                f"you sent {_shown(value)}."
            )
        return number


class Epoch(Integer):
    """A whole number from 1 to 100,000."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> int:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
            value, whole = int(value), True
        if not (whole and 1 <= value <= MAX_EPOCH):
            raise ValidationError(
                f"must be a whole number from 1 to {MAX_EPOCH}, such as 20; "
                f"you sent {_shown(value)}."
            )
        return int(value)


class ExperimentId(String):
    """A text that a folder can be named."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError(f"must be a text, such as run-1; you sent {_shown(value)}.")
        problem = experiment_id_problem(value)
        if problem:
            raise ValidationError(f"{problem}; you sent {_shown(value)}.")
        return value


class ExperimentIn(Schema):
    """What is submitted, by form-data, urlencoded form or JSON alike."""

    class Meta:
        """A field that is not known is named in the answer, not passed over."""

        unknown = RAISE

    error_messages = {  # noqa: RUF012  (marshmallow's own way to say it)
        "unknown": "is not known: send learning_rate, epoch, experiment_id and, if you like, "
        "dataset.",
        "type": "The body must be an object with the fields learning_rate, epoch, experiment_id.",
    }

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
        metadata={"description": "How many times to go through the data.", "example": 20},
    )
    experiment_id = ExperimentId(
        required=True,
        validate=Length(min=1, max=MAX_ID_CHARACTERS),
        error_messages={"required": "is missing: send a name for the run, such as run-1."},
        metadata={"description": "Names the run and its output folder.", "example": "run-1"},
    )
    dataset = String(
        load_default=None,
        allow_none=True,
        error_messages={"invalid": "must be the name of a file in the input folder."},
        metadata={
            "description": "A file of the input folder; every file if it is left out.",
            "example": "digits.npz",
        },
    )


class LogIn(Schema):
    """Which log."""

    class Meta:
        """A parameter that is not known is named in the answer, not passed over."""

        unknown = RAISE

    error_messages = {  # noqa: RUF012  (as above)
        "unknown": "is not known: there are attempt, tail and follow."
    }

    attempt = Integer(
        validate=Range(min=1),
        metadata={"description": "Which attempt's; the current one's if it is left out."},
    )
    tail = Integer(
        validate=Range(min=0, max=MAX_TAIL),
        metadata={
            "description": "Only so many lines of what is there, the last ones; at most 16 MiB."
        },
    )
    follow = Boolean(
        load_default=False,
        metadata={"description": "Go on until the attempt is over, as server-sent events always."},
    )


class EventsIn(Schema):
    """Which changes to follow."""

    class Meta:
        """A parameter that is not known is named in the answer, not passed over."""

        unknown = RAISE

    error_messages = {"unknown": "is not known: there is experiment_id."}  # noqa: RUF012  (as above)

    experiment_id = String(metadata={"description": "Only those of this experiment."})


class DeleteIn(Schema):
    """What to forget."""

    class Meta:
        """A parameter that is not known is named in the answer, not passed over."""

        unknown = RAISE

    error_messages = {"unknown": "is not known: there is outputs."}  # noqa: RUF012  (as above)

    outputs = Boolean(load_default=False, metadata={"description": "Remove the output folder too."})


class DiagnosisOut(Schema):
    """Why a run fails or waits."""

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


_SHOWN = tuple(ExperimentOut().fields)


class SubmissionOut(ExperimentOut):
    """What a submission is answered with."""

    message = String(metadata={"example": "Job Created"})


class TransitionOut(Schema):
    """One change of status."""

    attempt = Integer()
    from_status = String(allow_none=True)
    to_status = String(metadata={"example": "submitting"})
    reason = String(allow_none=True)
    at = DateTime()
    by = String(
        allow_none=True,
        metadata={"description": "The name of the token of who made it.", "example": "alice"},
    )


class ProgressOut(Schema):
    """How far a run is."""

    epoch = Integer(metadata={"description": "Epochs done.", "example": 5})
    epochs = Integer(metadata={"description": "Epochs wanted.", "example": 20})


class ExperimentDetailOut(ExperimentOut):
    """An experiment with what it has done so far."""

    progress = Nested(ProgressOut)
    metrics = Dict(
        allow_none=True,
        metadata={
            "description": "The metrics of the last epoch; null for what is no number and no text."
        },
    )
    history = List(Nested(TransitionOut))


class FieldProblemOut(Schema):
    """What is wrong with one field."""

    field = String(metadata={"example": "epoch"})
    detail = String()


class ProblemOut(Schema):
    """RFC 9457, Problem Details for HTTP APIs."""

    type = String(metadata={"example": "about:blank"})
    title = String(metadata={"example": "Unprocessable Entity"})
    status = Integer(metadata={"example": 422})
    detail = String()
    errors = List(Nested(FieldProblemOut))
    reason = String(
        metadata={"description": "A code for programs, if there is one.", "example": "job_refused"}
    )


class StateOut(Schema):
    """Whether the server is well."""

    status = String(metadata={"example": "ok"})


def experiment_out(experiment: Experiment) -> dict[str, Any]:
    """Give an experiment as JSON has it."""
    diagnosis = None
    if experiment.reason:
        diagnosis = {
            "reason": experiment.reason,
            "message": experiment.message,
            "remedy": experiment.remedy,
        }
    return {
        "experiment_id": experiment.experiment_id,
        "model": experiment.model,
        "learning_rate": experiment.learning_rate,
        "epoch": experiment.epoch,
        "dataset": experiment.dataset,
        "status": experiment.status,
        "attempt": experiment.attempt,
        "job": experiment.job,
        "diagnosis": diagnosis,
        "created_at": to_text(experiment.created_at),
        "updated_at": to_text(experiment.updated_at),
        "started_at": _time(experiment.started_at),
        "finished_at": _time(experiment.finished_at),
        "cancel_requested_at": _time(experiment.cancel_requested_at),
    }


def listed_out(row: Any) -> dict[str, Any]:
    """Give a row of the columns pages.LISTED as JSON has it, as experiment_out would."""
    shown: dict[str, Any] = dict(zip(_SHOWN, row, strict=False))
    if row.reason:  # stands in the place of the diagnosis
        shown["diagnosis"] = {"reason": row.reason, "message": row.message, "remedy": row.remedy}
    return shown


def transition_out(transition: Transition) -> dict[str, Any]:
    """Give a transition as JSON has it."""
    return {
        "attempt": transition.attempt,
        "from_status": transition.from_status,
        "to_status": transition.to_status,
        "reason": transition.reason,
        "at": to_text(transition.at),
        "by": transition.actor,
    }


def _time(time: datetime | None) -> str | None:
    return to_text(time) if time else None


def _shown(value: Any) -> str:
    """Show a value in a message: as it was sent, but on one line and not endless."""
    text = ascii(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
