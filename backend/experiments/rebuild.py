"""Rebuilds a lost database from the output folders and the Jobs.

Existing rows are never overwritten. So a rebuild may be interrupted and repeated at any time, and
may run beside a server: the reconciler then brings live experiments in line with their Jobs.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import islice
from typing import TypeVar

from backend.domain.attempt import Attempt
from backend.domain.exceptions import StoreUnavailable
from backend.domain.experiment import Experiment, Parameters
from backend.domain.identifiers import experiment_id_problem
from backend.domain.selection import ALL
from backend.experiments.archive import Archive, ExperimentDeleted
from backend.experiments.reconciling.adoption import Adoption, unknown_attempts
from backend.experiments.run_file import RunFile, UnusableRunFile
from backend.launchers.base import Launcher

TRANSACTION_SIZE = 100  # experiments in one transaction, for which other writers wait

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class Summary:
    """The result of a rebuild, in numbers of experiments.

    Attributes:
        restored: added to the database from their run.json.
        adopted: added to the database from their Jobs.
        known: in the database before.
        deleted: left out, because they were deleted and their folders kept.
        skipped: folders without a usable run.json.
    """

    restored: int = 0
    adopted: int = 0
    known: int = 0
    deleted: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        return (
            f"{self.restored} experiment(s) restored, {self.adopted} adopted from their Jobs, "
            f"{self.known} known before, {self.deleted} deleted before, "
            f"{self.skipped} folder(s) skipped"
        )


def rebuild(archive: Archive, launcher: Launcher) -> Summary:
    """Add to the database the experiments of folders and Jobs that it does not know.

    Existing rows stay. A run.json that differs from its row, because a server was killed before it
    could write it or the disk was full, is written again.

    Raises:
        StoreUnavailable: the database cannot be used now; what was added before stays.
        LauncherUnavailable: the Jobs cannot be listed; nothing was added.
        OSError: the output folder cannot be read.
    """
    attempts = _attempts(launcher)
    summary = Summary()
    # The list is sorted in the order of insertion, so the oldest is added first. Files are read
    # twice, so that only the names of all experiments are in memory at once.
    created = []
    for name in archive.names():
        file = _read(archive, name, summary)
        if file:
            created.append((file.values["created_at"], name))
    created.sort()
    for batch in batches(created, TRANSACTION_SIZE):
        files = [file for _, name in batch if (file := _read(archive, name, Summary()))]
        restored, refused = _restore(archive, files, attempts)
        summary.skipped += len(refused)
        summary.restored += len(restored)
        summary.known += len(files) - len(restored) - len(refused)
        settled = {*restored, *refused}
        _update_run_files(
            archive, [file for file in files if file.attempt.experiment_id not in settled]
        )
    adoption = Adoption(archive)
    adoption.adopt([], launcher.observe())
    summary.adopted = len(adoption.adopt([], launcher.observe()))
    return summary


def differences(archive: Archive, launcher: Launcher) -> Iterator[str]:
    """Yield a sentence for each difference between the database, the folders and the Jobs.

    Nothing is changed.

    Raises:
        StoreUnavailable, LauncherUnavailable: the database or the launcher cannot be used now.
        OSError: the output folder cannot be read.
    """
    names = set()
    for batch in batches(archive.names(), TRANSACTION_SIZE):
        known = archive.by_ids([name for name in batch if not experiment_id_problem(name)])
        for name in batch:
            names.add(name)
            difference = _difference(archive, name, known.get(name))
            if difference:
                yield f"{name!r}: {difference}"
    after = None
    while page := archive.page(after, TRANSACTION_SIZE):
        after = ALL.cursor(page[-1])
        for experiment in page:
            if experiment.experiment_id not in names:
                yield f"{experiment.experiment_id!r}: it has no folder"
    listed = {
        (handle, observation.uid): observation for handle, observation in launcher.observe().items()
    }
    for (handle, _), (_, other) in sorted(unknown_attempts(archive, listed).items()):
        found = "another experiment or attempt" if other else "no experiment"
        yield f"the Job {handle}: the database has {found} for it"


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of at most `size`."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _attempts(launcher: Launcher) -> set[Attempt]:
    observations = launcher.observe().values()
    return {observation.attempt for observation in observations if observation.attempt}


def _read(archive: Archive, name: str, summary: Summary) -> RunFile | None:
    try:
        return archive.read(name)
    except ExperimentDeleted:
        summary.deleted += 1
    except UnusableRunFile as error:
        summary.skipped += 1
        log.warning("The folder %r is skipped: %s", name, error)
    return None


def _restore(
    archive: Archive, files: list[RunFile], attempts: set[Attempt]
) -> tuple[list[str], list[str]]:
    """Add the experiments of these files; log those that the database refuses.

    Returns:
        The experiment_ids that were added, and those that were refused.
    """
    try:
        return archive.restore(files, attempts), []
    except StoreUnavailable:
        raise
    except Exception as error:  # a file passed every check, but the database refuses its row
        if len(files) == 1:
            name = files[0].attempt.experiment_id
            log.warning("The folder %r is skipped: its record is refused: %r", name, error)
            return [], [name]
    restored, refused = [], []
    for file in files:
        added, rejected = _restore(archive, [file], attempts)
        restored += added
        refused += rejected
    return restored, refused


def _update_run_files(archive: Archive, files: list[RunFile]) -> None:
    """Write those files again that differ from their rows."""
    known = archive.by_ids([file.attempt.experiment_id for file in files]) if files else {}
    for file in files:
        experiment = known.get(file.attempt.experiment_id)
        if experiment and experiment.uid == file.attempt.uid and _differing(experiment, file):
            archive.update_run_file(experiment)


def _difference(archive: Archive, name: str, known: Experiment | None) -> str | None:
    try:
        file = archive.read(name)
    except ExperimentDeleted:
        return "it was deleted, but is in the database" if known else None
    except UnusableRunFile as error:
        if known:
            return str(error)
        log.warning("The folder %r is skipped: %s", name, error)
        return None
    if known is None:
        return f"it is missing in the database; its run.json says {file.values['status']}"
    if known.uid != file.attempt.uid:
        return "its folder belongs to another experiment than the one in the database"
    return _differing(known, file)


def _differing(known: Experiment, file: RunFile) -> str | None:
    """Return how a row and a run.json of the same experiment differ, or None if they do not."""
    names = ("status", "attempt", "revision", *(field.name for field in fields(Parameters)))
    compared = [(name, getattr(known, name), file.values[name]) for name in names]
    different = [
        f"{name} is {in_row} in the database, {in_file} in run.json"
        for name, in_row, in_file in compared
        if in_row != in_file
    ]
    return "; ".join(different) or None
