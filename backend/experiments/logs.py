"""The logs of attempts: read from the launcher while it has them, then from the output folder."""

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

FILE_POLL_SECONDS = 0.5  # between reads of a file that grows
PART_POLL_SECONDS = 1.0  # between looks for the next pod
CONNECT_SECONDS = 2.0  # that a cancellation waits until the final output is being read
FINAL_OUTPUT_SECONDS = 120.0  # longer than a pod may take to end

log = logging.getLogger(__name__)

Line = tuple[int, bytes]  # numbered from 1 within the attempt's log


class Logs:
    """The logs of all attempts of all experiments.

    A log consists of parts, one for each pod of the attempt. Parts whose pods leave early are
    saved one by one; the whole log is saved when the attempt ends.
    """

    def __init__(self, launcher: Launcher, outputs: Outputs, *, max_bytes: int) -> None:
        """Use these; of a log longer than `max_bytes`, only head and tail are saved."""
        self._source, self._max_bytes = launcher.log_source, max_bytes
        self._files = LogFiles(outputs)
        self._recording: set[str] = set()  # Jobs and parts whose output is being saved
        self._pending: dict[str, Experiment] = {}  # by Job; logs that could not be saved yet
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

        Lines up to the number `after` are skipped. None is yielded about once a second while there
        is no new line. A launcher that cannot be reached is waited for.
        """
        number = 0
        for line in self._live_lines(experiment, attempt):
            if line is None:
                yield None
                continue
            number += stands_for(line)
            if number > after:
                yield number, line
        if self._source is not None:  # it may have lost lines that were saved
            saved = self._files.lines(experiment.experiment_id, attempt.number)
            for position, line in numbered(saved):
                if position > max(number, after):
                    yield position, line

    def save(self, experiment: Experiment) -> bool:
        """Save the log of the current attempt, as far as it goes, in the output folder.

        Returns:
            Whether nothing is lost if its Job is deleted now.
        """
        experiment_id, attempt = experiment.experiment_id, experiment.attempt
        try:
            if self._source is None:
                self._files.shorten(experiment_id, attempt, self._max_bytes)
            elif lines := self._all_lines(self._source, experiment, attempt):
                self._files.write(experiment_id, attempt, lines, self._max_bytes)
        except (LauncherUnavailable, OSError) as error:
            log.warning("The log of %r cannot be saved yet: %s", experiment_id, error)
            self._pending[experiment.job] = experiment
            return False
        self._pending.pop(experiment.job, None)
        return True

    def save_pending(self) -> None:
        """Try again to save the logs that could not be saved before."""
        for experiment in list(self._pending.values()):
            self.save(experiment)

    def save_final_output(self, experiment: Experiment) -> None:
        """Save the log before a Job is cancelled, and what its pods write until they end.

        Returns as soon as their output is being read, in another thread; if this process ends
        before they do, the log up to now is saved.
        """
        if self._source is None or not self.save(experiment):
            return
        experiment_id, number = experiment.experiment_id, experiment.attempt
        try:
            saved = self._files.parts(experiment_id, number)
            parts = [part for part in self._source.parts(experiment.job) if part not in saved]
        except LauncherUnavailable:
            return
        before = chain.from_iterable(
            self._files.lines(experiment_id, number, part) for part in saved
        )
        connected = self._record(experiment, parts, before, "")
        if self._files.exists(experiment_id, number):  # otherwise there may be no output yet
            connected.wait(CONNECT_SECONDS)

    def save_parts(self, experiment: Experiment, parts: Sequence[str]) -> None:
        """Save parts whose pods are leaving while the attempt continues; return at once."""
        saved = self._files.parts(experiment.experiment_id, experiment.attempt)
        for part in parts:
            if part not in saved:
                self._record(experiment, [part], (), part)

    def _all_lines(self, source: LogSource, experiment: Experiment, attempt: int) -> list[bytes]:
        """Return the lines of the saved parts, then those of the parts that the launcher has."""
        experiment_id = experiment.experiment_id
        handle = replace(experiment.current_attempt, number=attempt).handle
        saved = self._files.parts(experiment_id, attempt)
        unsaved = [part for part in source.parts(handle) if part not in saved]
        lines: list[bytes] = []
        for part in saved:
            lines.extend(self._files.lines(experiment_id, attempt, part))
        for part in unsaved:
            lines.extend(source.read(part))
        return lines

    def _live_lines(self, experiment: Experiment, attempt: AttemptWatch) -> Iterator[bytes | None]:
        if self._source is None:
            return self._lines_of_file(experiment.experiment_id, attempt)
        if attempt.is_over and self._files.exists(experiment.experiment_id, attempt.number):
            return iter(())
        return self._lines_of_launcher(self._source, experiment, attempt)

    def _lines_of_file(self, experiment_id: str, attempt: AttemptWatch) -> Iterator[bytes | None]:
        """Follow a log file that a local runner writes."""
        file: BinaryIO | None = None
        splitter = LineSplitter()
        try:
            while True:
                is_over = attempt.is_over  # before reading: a read after the end is complete
                file = file or self._files.open(experiment_id, attempt.number)
                piece = file.read(PIECE_BYTES) if file else b""
                if piece:
                    lines = splitter.add(piece)
                    yield from lines
                    if not lines:  # lets the caller notice that its client has gone
                        yield None
                elif is_over:
                    break
                else:
                    yield None
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
            lines = chain(before, _final_output(source, parts, connected))
            try:
                self._files.write(experiment_id, number, lines, self._max_bytes, saved_as)
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
    source: LogSource, parts: Sequence[str], connected: threading.Event
) -> Iterator[bytes]:
    """Yield the lines of parts; set `connected` once the last one is being read."""
    deadline = time.monotonic() + FINAL_OUTPUT_SECONDS
    for part in parts:
        is_last = part == parts[-1]
        for line in source.follow(part, connected.set if is_last else lambda: None):
            if line is not None:
                yield line
            elif time.monotonic() > deadline:
                break


def _until_end(lines: Iterator[bytes | None], attempt: AttemptWatch) -> Iterator[bytes | None]:
    """Yield lines, but give up on a pod that does not end because its node is gone."""
    deadline = math.inf
    for line in lines:
        yield line
        if line is None and attempt.is_over:
            deadline = min(deadline, time.monotonic() + FINAL_OUTPUT_SECONDS)
            if time.monotonic() > deadline:
                return
