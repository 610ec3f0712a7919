"""The content of sweep.json: all that a rebuilt database needs of a sweep. Pure functions."""

import re
from datetime import datetime
from typing import Any

from backend.domain.identifiers import sweep_id_problem
from backend.domain.sweeps.sweep import MAX_PARALLEL, MAX_TRIALS, Sweep, SweepStatus
from backend.domain.timestamps import from_text, to_text
from backend.sweeps.plan import Plan, UnusablePlan

MAX_TEXT_BYTES = 65_535  # TEXT of MySQL
_OF_ROW = ("id", "delete_requested_at", "delete_outputs", "is_cancelling", "analysis")
_TIMES = ("created_at", "updated_at", "finished_at")
_UID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ACTOR = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_REASON = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)


class UnusableSweepFile(Exception):
    """A sweep.json that does not describe a valid sweep; the message says why."""


def render(sweep: Sweep) -> dict[str, Any]:
    """Return the sweep.json of a sweep: all but what only its row needs."""
    kept = {name: value for name, value in vars(sweep).items() if name not in _OF_ROW}
    record = {
        name: to_text(value) if isinstance(value, datetime) else value
        for name, value in kept.items()
    }
    return record | {"definition": Plan.from_text(sweep.definition).to_json()}


def parse(content: dict[str, Any], folder: str) -> dict[str, Any]:
    """Return the column values of the sweep in the folder of that name.

    Other programs can write to the folder, so every value is checked.

    Raises:
        UnusableSweepFile: it does not describe a valid sweep of that folder.
    """
    try:
        return _values(content, folder)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise UnusableSweepFile(f"its sweep.json cannot be used: {error}") from None


def _values(content: dict[str, Any], folder: str) -> dict[str, Any]:
    if content["sweep_id"] != folder or sweep_id_problem(folder, is_new=False):
        raise ValueError("it is that of another sweep")
    if not _UID.fullmatch(content["uid"]):
        raise ValueError("its uid is not 32 hexadecimal digits")
    try:
        plan = Plan.from_json(content["definition"])
    except UnusablePlan as error:
        raise ValueError(str(error)) from None
    values: dict[str, Any] = {"sweep_id": folder, "uid": content["uid"], "model": plan.model}
    values |= {"definition": plan.to_text(), "status": SweepStatus(content["status"])}
    limits = {
        "trials": (1, MAX_TRIALS),
        "parallel": (1, MAX_PARALLEL),
        "issued": (0, MAX_TRIALS),
        "counted_from": (0, MAX_TRIALS),
    }
    for name, (low, high) in limits.items():
        value = content[name]
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"its {name} is not a whole number from {low} to {high}")
        values[name] = value
    values |= {name: _time(content.get(name)) for name in _TIMES}
    if not (values["created_at"] and values["updated_at"]):
        raise ValueError("it has no created_at or no updated_at")
    values["reason"] = _match(_REASON, content.get("reason"), "reason")
    values["created_by"] = _match(_ACTOR, content.get("created_by"), "created_by")
    values |= {name: _text(content.get(name)) for name in ("message", "remedy")}
    return values | {"is_cancelling": False, "delete_outputs": False}


def _time(text: Any) -> datetime | None:
    return None if text is None else from_text(text)


def _match(pattern: re.Pattern[str], text: Any, name: str) -> str | None:
    if text is not None and not pattern.fullmatch(text):
        raise ValueError(f"its {name} is not valid")
    return str(text) if text is not None else None


def _text(text: Any) -> str | None:
    if text is not None and len(text.encode()) > MAX_TEXT_BYTES:
        raise ValueError("its message or remedy is too long")
    return str(text) if text is not None else None
