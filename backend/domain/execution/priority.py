"""The priority of an experiment: which of those that wait starts first."""

import re
from enum import StrEnum
from typing import Any

from backend.domain.execution.keys import InvalidKey
from backend.domain.execution.queue import LABEL_NAME

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
    if not _is_by_priority(value, CLASS_NAME):
        raise InvalidKey(
            "priority_classes must be an object with low, normal or high, and the name of a "
            "PriorityClass of Kubernetes for each."
        )
    return tuple(sorted(value.items()))


def read_workload_priority_classes(value: Any) -> tuple[tuple[str, str], ...]:
    """Return pairs of a priority and the WorkloadPriorityClass of its Jobs, from an entry.

    Raises:
        InvalidKey: it is not an object of priorities and names.
    """
    if not _is_by_priority(value, LABEL_NAME):
        raise InvalidKey(
            "workload_priority_classes must be an object with low, normal or high, and the name "
            "of a WorkloadPriorityClass of Kueue, of at most 63 characters, for each."
        )
    return tuple(sorted(value.items()))


def _is_by_priority(value: Any, allowed: re.Pattern[str]) -> bool:
    """Return whether a value is an object of priorities and names that are allowed."""
    return (
        isinstance(value, dict)
        and value.keys() <= set(Priority)
        and all(isinstance(name, str) and allowed.fullmatch(name) for name in value.values())
    )
