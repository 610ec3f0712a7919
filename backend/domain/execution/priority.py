"""The priority of an experiment: which of those that wait starts first."""

import re
from enum import StrEnum
from typing import Any

from backend.domain.execution.keys import InvalidKey

CLASS_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)  # of a PriorityClass


class Priority(StrEnum):
    """What a person chose; NORMAL is stored as None."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


def stored_priority(priority: str | None) -> str | None:
    """Return a priority as it is stored: None for NORMAL."""
    return None if priority in (None, Priority.NORMAL) else str(priority)


def read_priority_classes(value: Any) -> tuple[tuple[str, str], ...]:
    """Return pairs of a priority and the PriorityClass of its Jobs, from an entry.

    Raises:
        InvalidKey: it is not an object of priorities and names.
    """
    is_object = isinstance(value, dict) and value.keys() <= set(Priority)
    if not is_object or not all(
        isinstance(name, str) and CLASS_NAME.fullmatch(name) for name in value.values()
    ):
        raise InvalidKey(
            "priority_classes must be an object with low, normal or high, and the name of a "
            "PriorityClass of Kubernetes for each."
        )
    return tuple(sorted(value.items()))
