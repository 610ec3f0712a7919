"""Restores lost rows of sweeps from their sweep.json. Existing rows are never overwritten."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from backend.domain.identifiers import trial_number
from backend.sweeps.service import Sweeps
from backend.sweeps.sweep_file import UnusableSweepFile, parse

log = logging.getLogger(__name__)


@dataclass
class SweepSummary:
    """The result of a rebuild, in numbers of sweeps.

    Attributes:
        restored: added to the database from their sweep.json.
        known: in the database before.
        deleted: left out, because they were deleted and their folders kept.
        skipped: folders without a usable sweep.json.
    """

    restored: int = 0
    known: int = 0
    deleted: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        return (
            f"{self.restored} sweep(s) restored, {self.known} known before, "
            f"{self.deleted} deleted before, {self.skipped} folder(s) skipped"
        )


def rebuild(sweeps: Sweeps) -> SweepSummary:
    """Add to the database the sweeps that it does not know; their trials were restored before.

    Raises:
        StoreUnavailable: the database cannot be used now; what was added before stays.
        OSError: the output folder cannot be read.
    """
    summary = SweepSummary()
    for name in sorted(sweeps.files.names()):
        if sweeps.table.get(name):
            summary.known += 1
            continue
        values = _read(sweeps, name, summary)
        if values and sweeps.table.restore(values | {"issued": _issued(sweeps, values)}):
            summary.restored += 1
    return summary


def differences(sweeps: Sweeps) -> Iterator[str]:
    """Yield a sentence for each sweep that is missing in the database. Nothing is changed.

    Raises:
        StoreUnavailable: the database cannot be used now.
        OSError: the output folder cannot be read.
    """
    for name in sorted(sweeps.files.names()):
        if sweeps.table.get(name) is None and (values := _read(sweeps, name, SweepSummary())):
            yield f"{name!r}: the sweep is missing in the database; it is {values['status']}"


def _read(sweeps: Sweeps, name: str, summary: SweepSummary) -> dict[str, Any] | None:
    content = sweeps.files.read(name)
    try:
        if content is None:
            raise UnusableSweepFile("it has no readable sweep.json")
        values = parse(content, name)
    except UnusableSweepFile as error:
        summary.skipped += 1
        log.warning("The folder %r is skipped: %s", name, error)
        return None
    if sweeps.files.is_deleted(name, values["uid"]):
        summary.deleted += 1
        return None
    return values


def _issued(sweeps: Sweeps, values: dict[str, Any]) -> int:
    """Return the highest number that a trial of a sweep has had.

    The file holds the one of the last change of the sweep, which may be long ago. The folder of a
    trial that was deleted still shows that its number was used.
    """
    sweep_id: str = values["sweep_id"]
    numbers = (trial_number(sweep_id, name) for name in sweeps.files.all_names())
    highest = max((number for number in numbers if number), default=0)
    return int(min(max(highest, values["issued"]), values["trials"]))
