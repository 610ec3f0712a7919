"""The logs of attempts: read from the launcher while it has them, then from the output folder."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import BinaryIO

from backend.domain.exceptions import UnknownAttempt
from backend.domain.experiment import Experiment
from backend.domain.status import LIVE
from backend.experiments.events import AttemptWatch
from backend.files.log_files import LogFiles, read_piece, skip_lines
from backend.files.log_lines import (
    UNHEARD,
    LineSplitter,
    Unfinished,
    marker,
    numbered,
    stands_for,
)
from backend.files.outputs import Outputs
from backend.launchers.base import Launcher, LauncherUnavailable, LogSource

FILE_POLL_SECONDS = 0.5  # between reads of a file that grows
PART_POLL_SECONDS = 1.0  # between looks for the next pod
CONNECT_SECONDS = 2.0  # that a cancellation waits until the final output is being read
FINAL_OUTPUT_SECONDS = 120.0  # longer than a pod may take to end
UNFINISHED_SECONDS = 0.5  # between two states of a line that has not ended
SKIPPED_AT_ONCE = 1000  # lines that a follower has seen, between two looks for its end
SAVE_SECONDS = 2.0  # that a call waits for a log to be saved; long ones take longer
OTHERS_PATIENCE = 0.1  # of those times, for each worker of a gang but rank 0
MAX_SAVINGS = 8  # logs that are being saved at the same time

log = logging.getLogger(__name__)

Line = tuple[int, bytes]  # numbered from 1 within the attempt's log


@dataclass
class _Saving:
    """A log that is being saved by another thread."""

    done: threading.Event = field(default_factory=threading.Event)
    is_saved: bool = False


class Logs:
    """The logs of all attempts of all experiments.

    A log consists of parts, one for each pod of the attempt. Parts whose pods leave early are
    saved one by one; the whole log is saved when the attempt ends.

    Attributes:
        on_lost_end: called when a log was saved whose end was lost.
    """

    on_lost_end: Callable[[], object]

    def __init__(
        self, launcher: Launcher, outputs: Outputs, *, max_bytes: int, rank: int = 0
    ) -> None:
        """Use these; of a log longer than `max_bytes`, only head and tail are saved.

        The logs are those of the workers with this rank. Only for that of 0 a caller has to wait.
        """
        source = launcher.log_source
        self._source = source.of_worker(rank) if source and rank else source
        self._max_bytes, self._patience = max_bytes, 1.0 if rank == 0 else OTHERS_PATIENCE
        self._files = LogFiles(outputs, rank)
        self.on_lost_end = lambda: None
        self._recording: set[str] = set()  # Jobs and parts whose output is being saved
        self._pending: dict[str, Experiment] = {}  # by Job; logs that could not be saved yet
        self._savings: dict[str, _Saving] = {}  # by Job, or name of a part
        self._lock = threading.Lock()

    def read(
        self, experiment: Experiment, attempt: int, *, last: int | None = None
    ) -> Iterable[bytes]:
        """Return the lines of an attempt's log so far, at least the last `last` ones.

        Raises:
            UnknownAttempt: there has been no such attempt.
            LauncherUnavailable: nothing is saved, and the launcher cannot be reached.
        """
        experiment_id = experiment.experiment_id
        if attempt > experiment.attempt:
            raise UnknownAttempt(experiment_id, attempt, experiment.attempt)
        is_saved = self._files.exists(experiment_id, attempt)
        is_over = attempt < experiment.attempt or experiment.status not in LIVE
        if self._source is None or (is_saved and is_over):
            return self._files.lines(experiment_id, attempt, last=last)
        try:
            return self._all_lines(self._source, experiment, attempt)
        except LauncherUnavailable:
            if is_saved:
                return self._files.lines(experiment_id, attempt, last=last)
            raise

    def follow(
        self, experiment: Experiment, attempt: AttemptWatch, *, after: int = 0
    ) -> Iterator[Line | None]:
        """Yield the lines of an attempt as they are written, until it ends.

        Lines up to the number `after` are skipped. The text of a line that has not ended yet is
        yielded as an `Unfinished`, at most every UNFINISHED_SECONDS, with the number that the line
        will have. None is yielded about once a second while there is no new line. A launcher that
        cannot be reached is waited for.
        """
        number = 0
        for line in _less_unfinished(self._live_lines(experiment, attempt, after)):
            if line is None or (isinstance(line, Unfinished) and number < after):
                yield None
                continue
            if isinstance(line, Unfinished):
                yield number + 1, line
                continue
            number += stands_for(line)
            if number > after:
                yield number, line
            elif number % SKIPPED_AT_ONCE == 0:
                yield None
        if self._source is not None:  # it may have lost lines that were saved
            saved = self._files.lines(experiment.experiment_id, attempt.number)
            for position, line in numbered(saved):
                if position > max(number, after):
                    yield position, line

    def counts(self, experiment: Experiment, attempt: int) -> Iterable[int]:
        """Return numbers whose sum is how many lines a log has so far. Raises as `read` does."""
        if self._source is None:
            return self._files.counts(experiment.experiment_id, attempt)
        return map(stands_for, self.read(experiment, attempt))

    def save(self, experiment: Experiment) -> bool:
        """Save the log of the current attempt, as far as it goes, in the output folder.

        Another thread saves it, and continues if that takes longer than SAVE_SECONDS: one long log
        holds up no other experiment.

        Returns:
            Whether nothing is lost if its Job is deleted now.
        """
        if self._save_within(experiment, experiment.job):
            self._pending.pop(experiment.job, None)
            return True
        self._pending[experiment.job] = experiment
        return False

    def _save_within(self, experiment: Experiment, key: str) -> bool:
        """Save a log; return False if that failed, or takes longer than SAVE_SECONDS.

        The outcome of a call that took longer is returned by a later call with the same key.
        """
        with self._lock:
            running = sum(not saving.done.is_set() for saving in self._savings.values())
            saving = self._savings.get(key)
            if saving is None:
                if running >= MAX_SAVINGS:
                    return False
                saving = self._savings[key] = _Saving()
                threading.Thread(
                    target=self._save_now,
                    args=(experiment, saving),
                    name=f"save-{key}",
                    daemon=True,
                ).start()
        # The more logs are being saved, the less this one is waited for.
        if not saving.done.wait(self._patience * SAVE_SECONDS / (1 + running)):
            log.info("The log of %r is long and still being saved", experiment.experiment_id)
            return False
        with self._lock:
            self._savings.pop(key, None)
        return saving.is_saved

    def _save_now(self, experiment: Experiment, saving: _Saving) -> None:
        experiment_id, attempt = experiment.experiment_id, experiment.attempt
        try:
            if self._source is None:
                self._files.shorten(experiment_id, attempt, self._max_bytes)
            else:
                lines = self._all_lines(self._source, experiment, attempt)
                for first in lines:  # nothing is saved of a log without lines
                    self._files.write(
                        experiment_id, attempt, chain([first], lines), self._max_bytes
                    )
            saving.is_saved = True
        except (LauncherUnavailable, OSError) as error:
            log.warning("The log of %r cannot be saved yet: %s", experiment_id, error)
        finally:
            saving.done.set()

    def save_pending(self) -> None:
        """Try again to save the logs that could not be saved before."""
        for experiment in list(self._pending.values()):
            self.save(experiment)

    def save_final_output(self, experiment: Experiment) -> None:
        """Save the log before a Job is cancelled, and what its pods write until they end.

        Returns as soon as their output is being read, in another thread; if this process ends
        before they do, the log up to now is saved.
        """
        with self._lock:
            if self._source is None or experiment.job in self._recording:
                return
        if not self.save(experiment) and not self._is_saving(experiment):
            return
        experiment_id, number = experiment.experiment_id, experiment.attempt
        try:
            saved = self._files.parts(experiment_id, number)
            parts = [part for part in self._source.parts(experiment.job) if part not in saved]
        except LauncherUnavailable:
            return
        if not parts:
            return
        before = chain.from_iterable(
            self._files.lines(experiment_id, number, part) for part in saved
        )
        connected = self._record(experiment, parts, before, "")
        if self._files.exists(experiment_id, number):  # otherwise there may be no output yet
            connected.wait(self._patience * CONNECT_SECONDS)

    def save_parts(self, experiment: Experiment, parts: Sequence[str]) -> None:
        """Save parts whose pods are leaving while the attempt continues; return at once.

        They are known to have started: of one that is gone already, it is saved that it is lost.
        """
        saved = self._files.parts(experiment.experiment_id, experiment.attempt)
        for part in parts:
            if part not in saved:
                self._record(experiment, [part], (), part)

    def _is_saving(self, experiment: Experiment) -> bool:
        with self._lock:
            return experiment.job in self._savings

    def _all_lines(
        self, source: LogSource, experiment: Experiment, attempt: int
    ) -> Iterator[bytes]:
        """Return the lines of the saved parts, then those of the parts that the launcher has."""
        experiment_id = experiment.experiment_id
        handle = replace(experiment.current_attempt, number=attempt).handle
        saved = self._files.parts(experiment_id, attempt)
        unsaved = [part for part in source.parts(handle) if part not in saved]
        # Both requests are made at once, so that a launcher that is not there is noticed here.
        printed = [source.read(part) for part in unsaved]
        before = (self._files.lines(experiment_id, attempt, part) for part in saved)
        return chain.from_iterable(chain(before, printed))

    def _live_lines(
        self, experiment: Experiment, attempt: AttemptWatch, after: int
    ) -> Iterator[bytes | None]:
        if self._source is None:
            return self._lines_of_file(experiment.experiment_id, attempt, after)
        if attempt.is_over and self._files.exists(experiment.experiment_id, attempt.number):
            return iter(())
        return self._lines_of_launcher(self._source, experiment, attempt)

    def _lines_of_file(
        self, experiment_id: str, attempt: AttemptWatch, after: int
    ) -> Iterator[bytes | None]:
        """Follow a log file that a local runner writes; a marker stands for lines up to `after`."""
        file: BinaryIO | None = None
        splitter = LineSplitter()
        try:
            while True:
                is_over = attempt.is_over  # before reading: a read after the end is complete
                if file is None and (file := self._files.open(experiment_id, attempt.number)):
                    while skipped := skip_lines(file, after):
                        after -= skipped
                        yield marker(skipped)
                piece = read_piece(file) if file else b""
                if piece:
                    lines = splitter.add(piece)
                    yield from lines
                    if not lines:  # lets the caller notice that its client has gone
                        yield None
                elif is_over:
                    break
                else:
                    yield Unfinished(splitter.rest) if splitter.rest else None
                    attempt.wait(FILE_POLL_SECONDS)
            if splitter.rest:
                yield splitter.rest
        finally:
            if file:
                file.close()

    def _lines_of_launcher(
        self, source: LogSource, experiment: Experiment, attempt: AttemptWatch
    ) -> Iterator[bytes | None]:
        """Follow one part after the other, beginning with those that are saved."""
        number = attempt.number
        handle = replace(experiment.current_attempt, number=number).handle
        done = self._files.parts(experiment.experiment_id, number)
        for part in done:
            yield from self._files.lines(experiment.experiment_id, number, part)
        while True:
            is_over = attempt.is_over  # before listing: a list made after the end is complete
            try:
                new = [part for part in source.parts(handle) if part not in done]
            except LauncherUnavailable:
                new = []
            if new:
                yield from _until_end(source.follow(new[0]), attempt)
                done.append(new[0])
            elif is_over:
                return
            else:
                yield None
                attempt.wait(PART_POLL_SECONDS)

    def _record(
        self, experiment: Experiment, parts: Sequence[str], before: Iterable[bytes], saved_as: str
    ) -> threading.Event:
        """Save the output of parts until they end, in another thread.

        Args:
            experiment: whose current attempt they belong to.
            parts: the parts.
            before: lines that come before theirs.
            saved_as: the name of the part to save, or "" for the whole log.

        Returns:
            An event that is set once the last part is being read.
        """
        source, key = self._source, saved_as or experiment.job
        connected = threading.Event()
        with self._lock:
            if source is None or key in self._recording:
                connected.set()
                return connected
            self._recording.add(key)

        def record() -> None:
            experiment_id, number = experiment.experiment_id, experiment.attempt
            printed = _final_output(source, parts, connected, have_started=bool(saved_as))
            lines = chain(before, printed)
            try:
                self._files.write(experiment_id, number, lines, self._max_bytes, saved_as)
                # Unless another process has heard more.
                if UNHEARD in self._files.lines(experiment_id, number, saved_as, last=1):
                    log.warning("The end of the log of %r is lost", experiment_id)
                    self.on_lost_end()
                if saved_as and self._files.exists(experiment_id, number):
                    self.save(experiment)  # the attempt has ended meanwhile
            except OSError as error:
                log.warning("The final output of %r cannot be saved: %s", experiment_id, error)
            finally:
                connected.set()
                with self._lock:
                    self._recording.discard(key)

        threading.Thread(target=record, name=f"final-output-{key}", daemon=True).start()
        return connected


def _final_output(
    source: LogSource, parts: Sequence[str], connected: threading.Event, *, have_started: bool
) -> Iterator[bytes]:
    """Yield the lines of parts; set `connected` once the last one is being read."""
    deadline = time.monotonic() + FINAL_OUTPUT_SECONDS
    for part in parts:
        is_last = part == parts[-1]
        notify = connected.set if is_last else lambda: None
        for line in source.follow(part, notify, has_started=have_started):
            if line is not None and not isinstance(line, Unfinished):
                yield line
            elif time.monotonic() > deadline:
                break


def _less_unfinished(lines: Iterable[bytes | None]) -> Iterator[bytes | None]:
    """Yield lines, and None instead of an unfinished one that is unchanged or comes too soon."""
    seen, due = b"", 0.0
    for line in lines:
        if not isinstance(line, Unfinished):
            yield line
        elif line == seen or time.monotonic() < due:
            yield None
        else:
            seen, due = line, time.monotonic() + UNFINISHED_SECONDS
            yield line


def _until_end(lines: Iterator[bytes | None], attempt: AttemptWatch) -> Iterator[bytes | None]:
    """Yield lines, but give up on a pod that does not end because its node is gone."""
    deadline = math.inf
    for line in lines:
        yield line
        if line is None and attempt.is_over:
            deadline = min(deadline, time.monotonic() + FINAL_OUTPUT_SECONDS)
            if time.monotonic() > deadline:
                return
