"""Makes a database that was lost right again, from the runs' folders and the Jobs.

Nothing that is there is overwritten, so it may be stopped at any moment, run again, and run beside
a server: what is live afterwards the reconciler brings in line with the Jobs.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import islice
from typing import TypeVar

from backend.domain.attempt import Attempt
from backend.domain.experiment import Experiment, Parameters
from backend.domain.identifiers import experiment_id_problem
from backend.experiments.adoption import Adoption, unknown_attempts
from backend.experiments.archive import Archive, ExperimentDeleted
from backend.experiments.run_file import RunFile, Unusable
from backend.launchers.base import Launcher
from backend.store.pages import ALL

BATCH = 100  # experiments in one transaction, which keeps other writers waiting

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class Summary:
    """What a rebuild came to, in numbers of runs.

    Attributes:
        restored: added to the database from their run.json.
        adopted: added to it from their Jobs.
        there: known to it before.
        forgotten: left out, because somebody deleted them and kept their folders.
        passed_over: folders from which no experiment can be made.
    """

    restored: int = 0
    adopted: int = 0
    there: int = 0
    deleted: int = 0
    passed_over: int = 0

    def __str__(self) -> str:
        """Say it in one line."""
        return (
            f"{self.restored} run(s) restored, {self.adopted} adopted from their Jobs, "
            f"{self.there} known before, {self.deleted} forgotten, "
            f"{self.passed_over} folder(s) passed over"
        )


def rebuild(archive: Archive, launcher: Launcher) -> Summary:
    """Add to the database what the folders and the Jobs know and it does not.

    What it knows stays; a run.json that says something else, because a server was killed before it
    wrote it or the disk was full, is written again.

    Raises:
        StoreUnavailable: the database is away; what was added before stays.
        LauncherUnavailable: the Jobs cannot be looked at; nothing was added.
        OSError: the output folder cannot be read.
    """
    attempts = _attempts(launcher)
    summary = Summary()
    # The list goes by the order in which they are added. Two passes, so that of many runs no more
    # than names are held at once.
    found = []
    for name in archive.names():
        if file := _read(archive, name, summary):
            found.append((file.values["created_at"], name))
    found.sort()
    for batch in batches(found, BATCH):
        files = [file for _, name in batch if (file := _read(archive, name, Summary()))]
        restored = archive.restore(files, attempts)
        summary.restored += len(restored)
        summary.there += len(files) - len(restored)
        _bring_in_line(archive, [one for one in files if one.attempt.experiment_id not in restored])
    adoption = Adoption(archive)
    adoption.adopt([], launcher.observe())
    summary.adopted = len(adoption.adopt([], launcher.observe()))
    return summary


def differences(archive: Archive, launcher: Launcher) -> Iterator[str]:
    """Say one by one where the database, the folders and the Jobs differ; changes nothing.

    Raises:
        StoreUnavailable, LauncherUnavailable: the database is away, or the Jobs.
        OSError: the output folder cannot be read.
    """
    names = set()
    for batch in batches(archive.names(), BATCH):
        there = archive.experiments([name for name in batch if not experiment_id_problem(name)])
        for name in batch:
            names.add(name)
            if difference := _difference(archive, name, there.get(name)):
                yield f"{name!r}: {difference}"
    after = None
    while page := archive.page(after, BATCH):
        after = ALL.cursor(page[-1])
        for row in page:
            if row.experiment_id not in names:
                yield f"{row.experiment_id!r}: it has no folder"
    listed = {(handle, seen.uid): seen for handle, seen in launcher.observe().items()}
    for (handle, _), (_, known) in sorted(unknown_attempts(archive, listed).items()):
        what = "the database knows another run or attempt" if known else "nobody knows its run"
        yield f"the Job {handle}: {what}"


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Give the items in lists of at most `size`."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _attempts(launcher: Launcher) -> set[Attempt]:
    return {seen.attempt for seen in launcher.observe().values() if seen.attempt}


def _read(archive: Archive, name: str, summary: Summary) -> RunFile | None:
    try:
        return archive.read(name)
    except ExperimentDeleted:
        summary.deleted += 1
    except Unusable as error:
        summary.passed_over += 1
        log.warning("The folder %r is passed over: %s", name, error)
    return None


def _bring_in_line(archive: Archive, files: list[RunFile]) -> None:
    known = archive.experiments([file.attempt.experiment_id for file in files]) if files else {}
    for file in files:
        one = known.get(file.attempt.experiment_id)
        if one and one.uid == file.attempt.uid and _differing(one, file):
            archive.update_run_file(one)


def _difference(archive: Archive, name: str, known: Experiment | None) -> str | None:
    try:
        file = archive.read(name)
    except ExperimentDeleted:
        return "it was forgotten, and is in the database" if known else None
    except Unusable as error:
        if known:
            return str(error)
        log.warning("The folder %r is passed over: %s", name, error)
        return None
    if known is None:
        return f"it is missing in the database; its run.json says {file.values['status']}"
    if known.uid != file.attempt.uid:
        return "its folder is another run's than the database says"
    return _differing(known, file)


def _differing(known: Experiment, file: RunFile) -> str | None:
    """Say in what a row and a run.json of the same run differ."""
    compared = ("status", "attempt", *(field.name for field in fields(Parameters)))
    told = [(name, getattr(known, name), file.values[name]) for name in compared]
    different = [
        f"{name} is {here} in the database, {there} in run.json"
        for name, here, there in told
        if here != there
    ]
    return "; ".join(different) or None
