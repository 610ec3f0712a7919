"""Where an experiment can stand, and how it gets from one place to another."""

from enum import StrEnum


class Status(StrEnum):
    """Where an experiment stands."""

    SUBMITTING = "submitting"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


LIVE = (Status.SUBMITTING, Status.QUEUED, Status.RUNNING)
_STEPS = (Status.SUBMITTING, Status.QUEUED, Status.RUNNING, Status.SUCCEEDED)


def path(old: Status, new: Status) -> list[Status]:
    """List the statuses from `old` to `new`, both included; empty if there is no way.

    submitting -> queued -> running -> succeeded, and from each of the first three to failed or
    cancelled. What has ended stays as it is; a retry is another attempt.
    """
    if old not in LIVE:
        return []
    if new not in _STEPS:
        return [old, new]
    first, last = _STEPS.index(old), _STEPS.index(new)
    return list(_STEPS[first : last + 1]) if first < last else []
