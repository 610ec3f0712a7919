"""Digest and content of each data set, worked out once for each version of its file.

A version changes with inode, size and time of modification, so a file of 10 GB is read once.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from backend.domain.data_sets.content import Content, Facts
from backend.domain.data_sets.fitting import Look
from backend.domain.exceptions import StoreUnavailable
from backend.files.data_sets.examination import digest, examine, look_at
from backend.files.inputs import Inputs
from backend.files.untrusted import Entry
from backend.store.related.data_sets import DataSetTable

REMEMBERED = 2000  # data sets whose facts this process holds in memory

T = TypeVar("T")


class Recent(Generic[T]):
    """Remembers the values that were used last, by key."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit, self._lock = limit, threading.Lock()
        self._values: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable) -> T | None:
        """Return the value of a key, or None if it is not remembered."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: Hashable, value: T) -> None:
        """Remember the value of a key, and forget the one that was not used for longest."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._limit:
                self._values.popitem(last=False)


class Knowledge:
    """What is known of the data sets.

    Every method that returns facts raises StoreUnavailable if the database cannot be used.
    """

    def __init__(self, table: DataSetTable, inputs: Inputs) -> None:
        self._table, self._inputs = table, inputs
        self._facts: Recent[Facts] = Recent()
        self._looks: Recent[Look] = Recent()
        self._digesting = threading.Lock()

    def known(self, entry: Entry, *, is_digest_enough: bool = False) -> Facts | None:
        """Return what is known of this version of a data set, without reading its file."""
        facts = self._facts.get((entry.path, entry.version))
        if facts is not None and (is_digest_enough or facts.content is not None):
            return facts
        stored = self._table.facts(entry.path).get(entry.path)
        if stored is None or stored.version != entry.version:
            return facts
        self._facts.put((entry.path, entry.version), stored)
        return stored

    def learn(self, name: str, facts: Facts) -> None:
        """Store what is known of a data set now."""
        self._table.save(name, facts)
        self._facts.put((name, facts.version), facts)

    def digested(self, name: str) -> tuple[Entry, str] | None:
        """Return a data set and its digest, for which the file is read if it is not known.

        None if the file cannot be opened, or is written to meanwhile.

        Raises:
            OSError: the file cannot be read.
        """
        entry = self._inputs.find(name)
        if entry is None:
            return None
        if facts := self.known(entry, is_digest_enough=True):
            return entry, facts.sha256
        with self._digesting:  # of several submissions, one reads the file
            facts = self.known(entry, is_digest_enough=True) or self._read(name, examined=False)
        return (entry, facts.sha256) if facts and facts.version == entry.version else None

    def examined(
        self, name: str, is_stopped: Callable[[], bool] = lambda: False
    ) -> tuple[Entry, Facts] | None:
        """Return a data set and everything about it, for which its whole file is read if needed.

        None as of `digested`.

        Raises:
            OSError: the file cannot be read.
            Interrupted: `is_stopped` returned true.
        """
        entry = self._inputs.find(name)
        if entry is None:
            return None
        facts = self.known(entry)
        if facts is None or facts.content is None:
            facts = self._read(name, examined=True, is_stopped=is_stopped, before=facts)
        return (entry, facts) if facts and facts.version == entry.version else None

    def look(self, name: str) -> Look | None:
        """Return what the beginning of a data set shows; None if the file cannot be opened.

        Raises:
            OSError: the file cannot be read.
        """
        file = self._inputs.open(name)
        if file is None:
            return None
        with file:
            version = self._inputs.entry(name, file).version
            look = self._looks.get((name, version))
            if look is None:
                look = look_at(name, file)
                self._looks.put((name, version), look)
            return look

    def _read(
        self,
        name: str,
        *,
        examined: bool,
        is_stopped: Callable[[], bool] = lambda: False,
        before: Facts | None = None,
    ) -> Facts | None:
        """Read a file and store what is known of it then; None if it has changed meanwhile."""
        file = self._inputs.open(name)
        if file is None:
            return None
        with file:
            version = self._inputs.entry(name, file).version
            is_same = before is not None and before.version == version
            sha256 = before.sha256 if before and is_same else digest(file, is_stopped)
            content = (examine(name, file) or Content()) if examined else None
            if self._inputs.entry(name, file).version != version:
                return None
        uploaded = (before.uploaded_at, before.uploaded_by) if before and is_same else (None, None)
        facts = Facts(version, sha256, content, *uploaded)
        try:
            self.learn(name, facts)
        except StoreUnavailable:
            if not examined:
                raise
        return facts
