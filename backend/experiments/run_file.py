"""The content of run.json: the record and the complete history of an experiment. Pure functions.

Version 0.1.0 wrote only the record, at submission and at the end.
"""

import math
import re
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

from backend.domain.annotations.changes import MAX_REVISION, MAX_TAGS, sorted_tags
from backend.domain.annotations.rules import note_problem, tag_problem
from backend.domain.attempt import FIELDS, Attempt
from backend.domain.catalogue import CONTRACT, MODEL_NAME, as_json
from backend.domain.data_sets.pins import MAX_CHOICE, pins_from_json, pins_from_text
from backend.domain.execution.usage import PEAKS, read_usage
from backend.domain.experiment import Experiment, Parameters, Transition, write_tags
from backend.domain.identifiers import trial_number
from backend.domain.parameter import MAX_INTEGER as MAX_PARAMETER
from backend.domain.parameter import NAME
from backend.domain.status import LIVE, Status
from backend.domain.timestamps import from_text, to_text

MAX_INTEGER = 2**31 - 1  # INT of MySQL
MAX_ATTEMPTS = 10_000  # more than fit in a run.json that is still read
MAX_DATASET_BYTES = 4 * MAX_CHOICE
MAX_TEXT_BYTES = 65_535  # TEXT of MySQL
_OF_ROW = ("id", "delete_requested_at")
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_UID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ACTOR = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_REASON = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)
_TIMES = ("created_at", "updated_at", "started_at", "finished_at", "cancel_requested_at")


class UnusableRunFile(Exception):
    """A run.json that does not describe a valid experiment; the message says why."""


@dataclass(frozen=True)
class RunFile:
    """The content of a valid run.json.

    Attributes:
        values: the columns of the experiment.
        history: its transitions, oldest first.
        note: its note; an empty text if it has none.
    """

    values: dict[str, Any]
    history: tuple[Transition, ...]
    note: str = ""

    @property
    def attempt(self) -> Attempt:
        """The current attempt, as a launcher is given it."""
        return Attempt.from_columns(self.values)

    @property
    def parameters(self) -> Parameters:
        """The values a person chose."""
        return Parameters(**{field.name: self.values[field.name] for field in fields(Parameters)})

    def started(self, now: datetime) -> "RunFile":
        """Return the record after its Job was created: `queued` if it was `submitting`."""
        if self.values["status"] is not Status.SUBMITTING:
            return self
        attempt = self.values["attempt"]
        step = Transition(attempt, Status.SUBMITTING, Status.QUEUED, "rebuilt", now)
        values = self.values | {"status": Status.QUEUED, "updated_at": now}
        return replace(self, values=values, history=(*self.history, step))


def render(experiment: Experiment, history: list[Transition], note: str = "") -> dict[str, Any]:
    """Return the run.json of an experiment: all but what only its row needs, and its note."""
    kept = {name: value for name, value in vars(experiment).items() if name not in _OF_ROW}
    record = {name: _as_json(value) for name, value in kept.items()}
    del record["model_parameters"]
    if experiment.nodes is None:
        del record["nodes"]
    record["parameters"] = experiment.parameters.values
    pins = [pin._asdict() for pin in pins_from_text(experiment.inputs)]
    record["inputs"] = pins or None
    record |= {"tags": experiment.tag_names, "favourite": bool(experiment.favourite), "note": note}
    steps = [{name: _as_json(value) for name, value in vars(step).items()} for step in history]
    return record | {"history": steps}


def adopted(attempt: Attempt, since: datetime) -> dict[str, Any]:
    """Return the run.json of an attempt of which only the Job exists, created by `since`."""
    values = attempt.to_fields() | {"status": Status.QUEUED, "job": attempt.handle}
    values |= {"parameters": attempt.values}
    values |= {"created_at": to_text(since), "updated_at": to_text(since)}
    steps = [(None, Status.SUBMITTING), (Status.SUBMITTING, Status.QUEUED)]
    history = [Transition(attempt.number, old, new, "adopted", since) for old, new in steps]
    return values | {"history": [asdict(step) | {"at": to_text(since)} for step in history]}


def parse(content: dict[str, Any], folder: str) -> RunFile:
    """Return the record of a run.json, from the folder of that name.

    A trainer can write to its own output folder, so every value is checked.

    Raises:
        UnusableRunFile: it does not describe a valid experiment of that folder.
    """
    content = content | {"model_parameters": _model_parameters(content.get("parameters"))}
    attempt = Attempt.from_fields({name: content.get(name) for name in FIELDS})
    if attempt is None:
        raise UnusableRunFile("its run.json does not identify its experiment")
    if attempt.experiment_id != folder:
        raise UnusableRunFile(f"its run.json belongs to {attempt.experiment_id!r}")
    try:
        _check(attempt)
        values = dict.fromkeys(FIELDS) | attempt.to_fields()
        values |= {"job": attempt.handle, "status": Status(content["status"])}
        values |= {"image": _text(content.get("image"))}
        values |= {"inputs": pins_from_json(content.get("inputs"))}
        values |= {"trial": _trial(attempt)}
        values |= {"pruned_because": _text(content.get("pruned_because"))}
        values |= {name: _time(content.get(name)) for name in _TIMES}
        values |= {"reason": _reason(content.get("reason"))}
        values |= {"cancel_requested_by": _actor(content.get("cancel_requested_by"))}
        values |= {name: _text(content.get(name)) for name in ("message", "remedy")}
        values |= dict(zip(PEAKS, read_usage(content, "peak_"), strict=True))
        values |= _annotations(content)
        if not (values["created_at"] and values["updated_at"]):
            raise ValueError("it has no created_at or no updated_at")
        if values["status"] not in LIVE and not values["finished_at"]:
            values["finished_at"] = values["updated_at"]
        history = _history(content.get("history"), values)
        values["submitted_by"] = _actor(content.get("submitted_by")) or history[0].actor
        return RunFile(values, tuple(history), content.get("note") or "")
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise UnusableRunFile(f"its run.json cannot be used: {error}") from error


def _check(attempt: Attempt) -> None:
    if not _UID.fullmatch(attempt.uid):
        raise ValueError("its uid is not 32 hexadecimal digits")
    if not MODEL_NAME.fullmatch(attempt.model):
        raise ValueError("its model is not a valid name")
    if not (math.isfinite(attempt.learning_rate) and attempt.learning_rate > 0):
        raise ValueError("its learning_rate is not a finite number above 0")
    if not (1 <= attempt.epoch <= MAX_INTEGER and attempt.number <= MAX_ATTEMPTS):
        raise ValueError("its epoch or attempt is out of range")
    if attempt.size is not None and not MODEL_NAME.fullmatch(attempt.size):
        raise ValueError("its size is not a valid name")
    if attempt.entry_sha256 is not None and not _SHA256.fullmatch(attempt.entry_sha256):
        raise ValueError("its entry_sha256 is not a digest")
    if attempt.nodes is not None and attempt.entry_sha256 is None:
        raise ValueError("it has several nodes, and no entry that says so")
    dataset = attempt.dataset or ""
    if (
        len(dataset) > MAX_CHOICE
        or len(dataset.encode()) > MAX_DATASET_BYTES
        or "/" in dataset
        or "\0" in dataset
    ):
        raise ValueError("its dataset is not a file name")


def _trial(attempt: Attempt) -> int | None:
    """Return the number of a trial; it is part of its id, so that a file cannot claim another."""
    if attempt.sweep_id is None:
        return None
    number = trial_number(attempt.sweep_id, attempt.experiment_id)
    if number is None:
        raise ValueError("it is no trial of its sweep")
    return number


def _model_parameters(values: Any) -> str | None:
    """Return the parameters beyond learning_rate and epoch as they are stored.

    Raises:
        UnusableRunFile: they are not values of parameters.
    """
    if values is None:
        return None
    if not isinstance(values, dict):
        raise UnusableRunFile("its parameters are not an object")
    others = {name: value for name, value in values.items() if name not in CONTRACT}
    for name, value in others.items():
        if not NAME.fullmatch(name) or not (isinstance(value, str) or _is_storable(value)):
            raise UnusableRunFile("its parameters hold an invalid name or value")
    try:
        text = as_json(others)
        if len(text.encode()) > MAX_TEXT_BYTES or "\\u0000" in text:
            raise UnusableRunFile("its parameters are too long, or hold NUL")
    except UnicodeEncodeError:
        raise UnusableRunFile("its parameters hold half of a surrogate pair") from None
    return text if others else None


def _is_storable(value: Any) -> bool:
    """Return whether a value is a boolean or a number that JSON and the database can hold."""
    if isinstance(value, bool | float):
        return math.isfinite(value)
    return isinstance(value, int) and abs(value) <= MAX_PARAMETER


def _annotations(content: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of tags, favourite and revision.

    Raises:
        ValueError: people cannot have added that.
    """
    tags, note = content.get("tags") or [], content.get("note") or ""
    favourite, revision = content.get("favourite") or False, content.get("revision")
    if not isinstance(tags, list) or len(tags) > MAX_TAGS:
        raise ValueError(f"its tags are not a list of at most {MAX_TAGS}")
    if not all(isinstance(tag, str) and not tag_problem(tag) for tag in tags):
        raise ValueError("it has an invalid tag")
    if not isinstance(note, str) or note_problem(note):
        raise ValueError("its note is not valid text")
    if not isinstance(favourite, bool):
        raise ValueError("its favourite is neither true nor false")
    if revision is not None and not (type(revision) is int and 1 <= revision <= MAX_REVISION):
        raise ValueError("its revision is not a number of changes")
    if revision is None and (tags or note or favourite):
        revision = 1
    return {
        "tags": write_tags(sorted_tags(tags)) if tags else None,
        "favourite": favourite or None,
        "revision": revision,
    }


def _history(steps: Any, values: dict[str, Any]) -> list[Transition]:
    if steps is None:
        return _without_history(values)
    if not isinstance(steps, list) or not steps:
        raise ValueError("its history is not a list of transitions, or is empty")
    return [_transition(step) for step in steps]


def _without_history(values: dict[str, Any]) -> list[Transition]:
    """Return the history that a record of version 0.1.0 implies."""
    attempt, status = values["attempt"], values["status"]
    steps = [Transition(attempt, None, Status.SUBMITTING, None, values["created_at"])]
    if values["started_at"]:
        old, at = Status.SUBMITTING, values["started_at"]
        steps.append(Transition(attempt, old, Status.RUNNING, None, at))
    if steps[-1].to_status != status:
        at = values["finished_at"] or values["updated_at"]
        steps.append(Transition(attempt, steps[-1].to_status, status, values["reason"], at))
    return steps


def _transition(fields: Any) -> Transition:
    attempt, old, at = fields["attempt"], fields["from_status"], _time(fields["at"])
    if type(attempt) is not int or not 1 <= attempt <= MAX_ATTEMPTS or at is None:
        raise ValueError("a transition of its history has no valid attempt or no time")
    old, new = None if old is None else Status(old), Status(fields["to_status"])
    actor = _actor(fields.get("actor"))
    return Transition(attempt, old, new, _reason(fields["reason"]), at, actor)


def _time(text: Any) -> datetime | None:
    return None if text is None else from_text(text)


def _reason(text: Any) -> str | None:
    if text is not None and not _REASON.fullmatch(text):
        raise ValueError("a reason is not a code")
    return str(text) if text is not None else None


def _actor(name: Any) -> str | None:
    if name is not None and not _ACTOR.fullmatch(name):
        raise ValueError("an actor is not the name of a token")
    return str(name) if name is not None else None


def _text(text: Any) -> str | None:
    if text is not None and len(text.encode()) > MAX_TEXT_BYTES:
        raise ValueError("its message or remedy is too long")
    return str(text) if text is not None else None


def _as_json(value: Any) -> Any:
    return to_text(value) if isinstance(value, datetime) else value
