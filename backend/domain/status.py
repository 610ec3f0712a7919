"""The statuses of an experiment and the transitions between them."""

from enum import StrEnum


class Status(StrEnum):
    """The status of an experiment."""

    SUBMITTING = "submitting"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


LIVE = (Status.SUBMITTING, Status.QUEUED, Status.RUNNING)  # the attempt has not ended
# The one step back: a queue that had admitted the attempt takes its place back.
REQUEUED = (Status.RUNNING, Status.QUEUED)
_SUCCESS_PATH = (*LIVE, Status.SUCCEEDED)


def path(old: Status, new: Status) -> list[Status]:
    """Return the statuses from `old` to `new`, both included; empty if `new` cannot be reached.

    submitting -> queued -> running -> succeeded, and from each of the first three to failed or
    cancelled. A terminal status never changes; a retry is another attempt. REQUEUED is not among
    them: only what a launcher saw can lead back.
    """
    if old not in LIVE:
        return []
    if new not in _SUCCESS_PATH:
        return [old, new]
    first, last = _SUCCESS_PATH.index(old), _SUCCESS_PATH.index(new)
    return list(_SUCCESS_PATH[first : last + 1]) if first < last else []
