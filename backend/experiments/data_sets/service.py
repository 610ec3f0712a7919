"""What clients do with data sets: list, upload, preview, delete; and what experiments use."""

import hashlib
import logging
import threading
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from backend.domain.data_sets.content import Content, Facts
from backend.domain.data_sets.exceptions import InputInUse, InputsUnusable, InputUnreadable
from backend.domain.data_sets.fitting import Look, mismatch
from backend.domain.data_sets.pins import MAX_PINS, Pin, chosen_names, pins_to_text
from backend.domain.exceptions import StoreUnavailable, UnknownFile
from backend.experiments.data_sets.knowledge import Knowledge
from backend.files.data_sets.contact_sheet import contact_sheet
from backend.files.data_sets.examination import Interrupted, examine, look_at, rows_of
from backend.files.inputs import Inputs
from backend.files.untrusted import Entry
from backend.store.related.data_sets import DataSetTable, Usage

MAX_EXAMINED_BYTES = 128 * 2**20  # of an upload; of a larger one, the beginning is judged at once
MAX_PREVIEWED_BYTES = 8 * 2**20  # that a preview examines, if nobody has so far
SHOWN_EXPERIMENTS = 20
STEP_SECONDS = 5.0  # between looks for files that others have put into the folder
QUIET = timedelta(seconds=3)  # a file that was written to within it may be incomplete

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSet:
    """A data set and what is known of it.

    Attributes:
        facts: None while its file was not read, or the database cannot be used.
        usage: None while the database cannot be used.
    """

    entry: Entry
    facts: Facts | None
    usage: Usage | None


@dataclass(frozen=True)
class Preview:
    """A data set, and the beginning of its content.

    Attributes:
        rows: the first cells of the first rows of a table.
    """

    data_set: DataSet
    rows: Sequence[Sequence[str]]


class DataSets:
    """The data sets, and everything that can be done with them."""

    def __init__(self, table: DataSetTable, inputs: Inputs) -> None:
        self._table, self._inputs = table, inputs
        self._knowledge = Knowledge(table, inputs)
        self._unreadable: set[tuple[str, str]] = set()  # names and versions that were logged

    def list_all(self) -> list[DataSet]:
        """Return the data sets, sorted by name, without reading any file."""
        facts: Mapping[str, Facts] = {}
        usage: Mapping[str, Usage] | None = None
        with suppress(StoreUnavailable):  # the folder can be listed without the database
            facts, usage = self._table.facts(), self._table.usage()
        return [
            DataSet(entry, _current(entry, facts), _usage(entry, usage))
            for entry in self._inputs.list_entries()
        ]

    def get(self, name: str) -> DataSet:
        """Return one data set, without reading its file.

        Raises:
            UnknownFile: there is none of this name.
        """
        entry = self._inputs.find(self._inputs.stored_name(name))
        if entry is None:
            raise UnknownFile(name)
        try:
            facts = self._knowledge.known(entry)
            return DataSet(entry, facts, _usage(entry, self._table.usage(entry.path)))
        except StoreUnavailable:
            return DataSet(entry, None, None)

    def preview(self, name: str) -> Preview:
        """Return a data set with its first rows; a small file is examined if nobody has so far.

        Raises:
            UnknownFile: there is none of this name.
            OSError: its file cannot be read.
        """
        found = self.get(name)
        name = found.entry.path
        is_examined = found.facts is not None and found.facts.content is not None
        if not is_examined and found.entry.size <= MAX_PREVIEWED_BYTES:
            with suppress(StoreUnavailable):
                examined = self._knowledge.examined(name)
                found = replace(found, facts=examined[1]) if examined else found
        with self._opened(name) as file:
            return Preview(found, rows_of(name, file))

    def contact_sheet(self, name: str) -> bytes | None:
        """Return the first images of a data set as PNG; None if it holds none.

        Raises:
            UnknownFile: there is none of this name.
            OSError: its file cannot be read.
        """
        with self._opened(self._inputs.stored_name(name)) as file:
            return contact_sheet(file)

    def _opened(self, name: str) -> BinaryIO:
        file = self._inputs.open(name)
        if file is None:
            raise UnknownFile(name)
        return file

    def write(
        self,
        name: str,
        pieces: Iterable[bytes],
        *,
        max_bytes: int,
        overwrite: bool = False,
        versions: Container[str] | None = None,
        validate: bool = True,
        by: str | None = None,
    ) -> tuple[DataSet, bool]:
        """Write a data set atomically; see `Inputs.write`, which has the other exceptions.

        Args:
            name: a file name.
            pieces: the content; if reading it raises, nothing is written.
            max_bytes: the maximum size.
            overwrite: whether an existing data set may be replaced.
            versions: if given, the existing data set must have one of these versions.
            validate: whether to refuse a file that no model can read.
            by: the name of the token of the person who uploads it.

        Returns:
            The data set, and whether its name is new.

        Raises:
            InputUnreadable: no model can read it; nothing was changed.
        """
        hashed, contents = hashlib.sha256(), list[Content | None]()

        def digested() -> Iterator[bytes]:
            for piece in pieces:
                hashed.update(piece)
                yield piece

        def check(stored: str, file: BinaryIO, size: int) -> None:
            content = None
            if size <= MAX_EXAMINED_BYTES:
                content = examine(stored, file) or Content()
            fault = content.fault if content else look_at(stored, file).fault
            if validate and fault:
                raise InputUnreadable(stored, fault)
            contents.append(content)

        entry, is_new = self._inputs.write(
            name,
            digested(),
            max_bytes=max_bytes,
            overwrite=overwrite,
            versions=versions,
            check=check,
        )
        now = datetime.now(UTC)
        facts = Facts(entry.version, hashed.hexdigest(), contents[-1], now, by)
        try:
            self._knowledge.learn(entry.path, facts)
            usage: Usage | None = _usage(entry, self._table.usage(entry.path))
        except StoreUnavailable:  # the reconciler reads the file again
            usage = None
        return DataSet(entry, facts, usage), is_new

    def delete(self, name: str, *, force: bool = False, by: str | None = None) -> None:
        """Delete a data set.

        Args:
            name: which one.
            force: whether to delete it although live experiments use it.
            by: the name of the token of the person who deletes it, for the log.

        Raises:
            UnknownFile: there is none of this name.
            InputInUse: live experiments use it; nothing was changed.
            InputUnwritable, InputBusy: the folder cannot be written; nothing was changed.
            StoreUnavailable: whether any use it is not known; nothing was changed.
        """
        stored = self._inputs.stored_name(name)
        if self._inputs.find(stored) is None:
            raise UnknownFile(name)
        if not force:
            users = self._table.live_users(stored, SHOWN_EXPERIMENTS + 1)
            if users:
                is_complete = len(users) <= SHOWN_EXPERIMENTS
                raise InputInUse(stored, users[:SHOWN_EXPERIMENTS], is_complete=is_complete)
        if not self._inputs.remove(stored):
            raise UnknownFile(name)
        with suppress(StoreUnavailable):  # facts of a version that is gone do no harm
            self._table.remove(stored)
        log.info("The data set %r is deleted, force=%s, by %s", stored, force, by or "anyone")

    def pin(self, choice: str | None, target: str | None) -> str | None:
        """Return the files that a new experiment uses, as they are stored.

        Several files are checked: whether their headers and first lines fit together.

        Args:
            choice: as `choice_text` returned it.
            target: the column of the labels, "" for the usual one, None for a model without labels.

        Returns:
            None if the files are not known here, or are too many: the trainer then uses those that
            it finds, as experiments of older versions do.

        Raises:
            InputsUnusable: they cannot be used together.
            StoreUnavailable: the database cannot be used.
        """
        names = sorted(chosen_names(choice)) or self._inputs.list_names()
        if not names or len(names) > MAX_PINS:
            return None
        try:
            if choice is None or len(names) > 1:
                self._check_fit(names, target, is_every=choice is None)
            pins = list[Pin]()
            for name in names:
                digested = self._knowledge.digested(name)
                if digested is None:
                    return None
                entry, sha256 = digested
                pins.append(Pin(name, entry.size, sha256))
        except OSError as error:
            log.warning("The input folder cannot be read, so nothing is pinned: %s", error)
            return None
        return pins_to_text(pins)

    def _check_fit(self, names: Sequence[str], target: str | None, *, is_every: bool) -> None:
        looks = dict[str, Look]()
        for name in names:
            look = self._knowledge.look(name)
            if look is None:
                return
            looks[name] = look
        if problem := mismatch(looks, target):
            raise InputsUnusable(problem, is_every=is_every)

    def run(self, stopped: threading.Event) -> None:
        """Examine the files that others put into the folder, until `stopped` is set."""
        while not stopped.wait(STEP_SECONDS):
            try:
                self.step(stopped)
            except (StoreUnavailable, Interrupted):
                continue
            except Exception:  # a bug must not end the thread: everything is tried again
                log.exception("Data sets cannot be examined")

    def step(self, stopped: threading.Event, *, quiet: timedelta = QUIET) -> None:
        """Examine each data set of which not everything is known.

        Args:
            stopped: set when the process ends.
            quiet: leave out those that were written to within this time.

        Raises:
            StoreUnavailable: the database cannot be used.
            Interrupted: `stopped` was set.
        """
        facts = self._table.facts()
        for entry in self._inputs.list_entries():
            known = _current(entry, facts)
            is_recent = abs(datetime.now(UTC) - entry.modified) < quiet
            key = entry.path, entry.version
            if (known and known.content is not None) or is_recent or key in self._unreadable:
                continue
            try:
                self._knowledge.examined(entry.path, stopped.is_set)
            except OSError as error:
                self._unreadable.add(key)
                log.warning("The data set %r cannot be read: %s", entry.path, error)


def _current(entry: Entry, facts: Mapping[str, Facts]) -> Facts | None:
    """Return what is known of this version of a data set."""
    known = facts.get(entry.path)
    return known if known and known.version == entry.version else None


def _usage(entry: Entry, usage: Mapping[str, Usage] | None) -> Usage | None:
    return None if usage is None else usage.get(entry.path, Usage())
