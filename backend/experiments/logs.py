"""What a run has printed: from its launcher while that has it, then as kept in the run's folder."""

import logging
import math
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import BinaryIO

from backend.domain.exceptions import UnknownAttempt
from backend.domain.experiment import Experiment
from backend.domain.status import LIVE
from backend.experiments.events import AttemptWatch
from backend.files.log_files import LogFiles
from backend.files.log_lines import LineSplitter, numbered, stands_for
from backend.files.outputs import Outputs
from backend.files.sizes import PIECE_BYTES
from backend.launchers.base import Launcher, LauncherUnavailable, LogSource

LOOK_SECONDS = 0.5  # between looks at a file that grows
PAUSE_SECONDS = 1.0  # between looks for the next pod
OPEN_SECONDS = 2.0  # how long a cancel waits until last words are listened to
LAST_WORDS_SECONDS = 120.0  # above what a pod may take to end

log = logging.getLogger(__name__)

Line = tuple[int, bytes]  # numbered from 1 within the attempt's log


class Logs:
    """The logs of all attempts of all runs."""

    def __init__(self, launcher: Launcher, outputs: Outputs, *, max_bytes: int) -> None:
        """Work on these; of a longer log than `max_bytes`, head and tail are kept."""
        self._source, self._max_bytes = launcher.log_source, max_bytes
        self._files = LogFiles(outputs)
        self._listening: set[str] = set()
        self._owed: dict[str, Experiment] = {}  # by Job; logs that could not be kept yet
        self._lock = threading.Lock()

    def read(
        self, experiment: Experiment, attempt: int, *, last: int | None = None
    ) -> Iterable[bytes]:
        """Give the lines that an attempt has printed so far, or at least the last so many.

        Raises:
            UnknownAttempt: there has been no such attempt.
            LauncherUnavailable: nothing is kept, and the launcher cannot be asked.
        """
        experiment_id = experiment.experiment_id
        if attempt > experiment.attempt:
            raise UnknownAttempt(experiment_id, attempt, experiment.attempt)
        is_kept = self._files.exists(experiment_id, attempt)
        over = attempt < experiment.attempt or experiment.status not in LIVE
        if self._source is None or (is_kept and over):
            return self._files.lines(experiment_id, attempt, last=last)
        try:
            return self._printed(experiment, attempt)
        except LauncherUnavailable:
            if is_kept:
                return self._files.lines(experiment_id, attempt, last=last)
            raise

    def follow(
        self, experiment: Experiment, attempt: AttemptWatch, *, after: int = 0
    ) -> Iterator[Line | None]:
        """Give the lines of an attempt from the first to the last as they come.

        While there is no new one, None comes at least once a second or so; lines up to the number
        `after` are left out. A launcher that is away is waited for.
        """
        given = 0
        for line in self._as_printed(experiment, attempt):
            if line is None:
                yield None
                continue
            given += stands_for(line)
            if given > after:
                yield given, line
        if self._source is not None:  # what it did not have any more
            for at, line in numbered(self._files.lines(experiment.experiment_id, attempt.number)):
                if at > max(given, after):
                    yield at, line

    def save(self, experiment: Experiment) -> bool:
        """Bring the current attempt's log so far into the run's folder.

        Returns:
            Whether nothing is lost if the launcher forgets the run now.
        """
        experiment_id, attempt = experiment.experiment_id, experiment.attempt
        try:
            if self._source is None:
                self._files.shorten(experiment_id, attempt, self._max_bytes)
            elif lines := self._printed(experiment, attempt):
                self._files.write(experiment_id, attempt, lines, self._max_bytes)
        except (LauncherUnavailable, OSError) as error:
            log.warning("The log of %r cannot be kept yet: %s", experiment_id, error)
            self._owed[experiment.job] = experiment
            return False
        self._owed.pop(experiment.job, None)
        return True

    def save_pending(self) -> None:
        """Try again to keep what could not be kept before."""
        for experiment in list(self._owed.values()):
            self.save(experiment)

    def save_final_output(self, experiment: Experiment) -> None:
        """Keep the log before a run is cancelled, and again once its pods have ended.

        Returns as soon as what they print is being read; if this process ends before them, what
        was printed until now is kept.
        """
        if self._source is None or not self.save(experiment):
            return
        experiment_id, number = experiment.experiment_id, experiment.attempt
        try:
            kept = self._files.parts(experiment_id, number)
            parts = [part for part in self._source.parts(experiment.job) if part not in kept]
        except LauncherUnavailable:
            return
        before = chain.from_iterable(self._files.lines(experiment_id, number, one) for one in kept)
        connected = self._listen(experiment, parts, before, "")
        if self._files.exists(experiment_id, number):  # else it may not have begun to print
            connected.wait(OPEN_SECONDS)

    def save_parts(self, experiment: Experiment, parts: Sequence[str]) -> None:
        """Keep parts of the log whose pods are leaving while the run goes on; return at once."""
        kept = self._files.parts(experiment.experiment_id, experiment.attempt)
        for part in parts:
            if part not in kept:
                self._listen(experiment, [part], (), part)

    def _printed(self, experiment: Experiment, attempt: int) -> list[bytes]:
        """Give all lines: of the parts that are kept, then of those that the launcher has."""
        assert self._source is not None  # noqa: S101  (for mypy)
        handle = replace(experiment.current_attempt, number=attempt).handle
        kept = self._files.parts(experiment.experiment_id, attempt)
        live = [part for part in self._source.parts(handle) if part not in kept]
        old = (self._files.lines(experiment.experiment_id, attempt, part) for part in kept)
        return list(chain(chain.from_iterable(old), *map(self._source.read, live)))

    def _as_printed(self, experiment: Experiment, attempt: AttemptWatch) -> Iterator[bytes | None]:
        if self._source is None:
            return self._as_written(experiment.experiment_id, attempt)
        if attempt.is_over and self._files.exists(experiment.experiment_id, attempt.number):
            return iter(())
        return self._as_the_launcher_has_it(self._source, experiment, attempt)

    def _as_written(self, experiment_id: str, attempt: AttemptWatch) -> Iterator[bytes | None]:
        """Follow a file that its runner writes."""
        file: BinaryIO | None = None
        text = LineSplitter()
        try:
            while True:
                over = attempt.is_over  # first: what is read after the end is all there is
                file = file or self._files.open(experiment_id, attempt.number)
                if piece := file.read(PIECE_BYTES) if file else b"":
                    lines = text.add(piece)
                    yield from lines
                    if not lines:  # so that a client that has gone is noticed
                        yield None
                elif over:
                    break
                else:
                    yield None
                    attempt.wait(LOOK_SECONDS)
            if text.rest:
                yield text.rest
        finally:
            if file:
                file.close()

    def _as_the_launcher_has_it(
        self, source: LogSource, experiment: Experiment, attempt: AttemptWatch
    ) -> Iterator[bytes | None]:
        """Follow one part after the other; those that are gone are kept in the folder."""
        number = attempt.number
        handle = replace(experiment.current_attempt, number=number).handle
        done = self._files.parts(experiment.experiment_id, number)
        for part in done:
            yield from self._files.lines(experiment.experiment_id, number, part)
        while True:
            over = attempt.is_over  # first: the parts that are listed after the end are all
            try:
                fresh = [part for part in source.parts(handle) if part not in done]
            except LauncherUnavailable:
                fresh = []
            if fresh:
                yield from _while_it_lasts(source.follow(fresh[0]), attempt)
                done.append(fresh[0])
            elif over:
                return
            else:
                yield None
                attempt.wait(PAUSE_SECONDS)

    def _listen(
        self, experiment: Experiment, parts: Sequence[str], before: Iterable[bytes], kept_as: str
    ) -> threading.Event:
        """Keep what parts print until they end, after other lines, as a log or a part of one.

        Returns:
            What is set once the last of them is being read.
        """
        source, key = self._source, kept_as or experiment.job
        connected = threading.Event()
        with self._lock:
            if source is None or key in self._listening:
                connected.set()
                return connected
            self._listening.add(key)

        def lines() -> Iterator[bytes]:
            yield from before
            deadline = time.monotonic() + LAST_WORDS_SECONDS
            for part in parts:
                is_last = part == parts[-1]
                for line in source.follow(part, connected.set if is_last else lambda: None):
                    if line is not None:
                        yield line
                    elif time.monotonic() > deadline:
                        break

        def listen() -> None:
            experiment_id, number = experiment.experiment_id, experiment.attempt
            try:
                self._files.write(experiment_id, number, lines(), self._max_bytes, kept_as)
                if kept_as and self._files.exists(experiment_id, number):  # it has ended meanwhile
                    self.save(experiment)
            except OSError as error:
                log.warning("The last words of %r cannot be kept: %s", experiment_id, error)
            finally:
                connected.set()
                with self._lock:
                    self._listening.discard(key)

        threading.Thread(target=listen, name=f"last-words-{key}", daemon=True).start()
        return connected


def _while_it_lasts(lines: Iterator[bytes | None], attempt: AttemptWatch) -> Iterator[bytes | None]:
    """Give lines, but do not wait for ever for the end of a pod whose node is gone."""
    late = math.inf
    for line in lines:
        yield line
        if line is None and attempt.is_over:
            late = min(late, time.monotonic() + LAST_WORDS_SECONDS)
            if time.monotonic() > late:
                return
