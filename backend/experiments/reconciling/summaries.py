"""Keeps the summaries of metrics in the database in step with the files that trainers write."""

import logging
import threading
import time
from collections.abc import Iterable

from backend.domain.exceptions import OutputMissing, SchemaError, StoreUnavailable
from backend.domain.experiment import Experiment
from backend.domain.status import LIVE, Status
from backend.files.curves import Curves
from backend.files.outputs import Outputs
from backend.store.queries import Store
from backend.store.related.metrics import MetricSummaries
from backend.store.related.named import NamedValues

POLL_SECONDS = 0.5  # between looks for experiments that have ended
LIVE_SECONDS = 5.0  # between two summaries of an experiment that is running
MAX_READS = 8  # of one curve at a time; each one reads up to the budget of a request
EVENTS_AT_ONCE = 500
FILLED_AT_ONCE = 100  # experiments of an older version, at each look
HIGHEST_KEY = 2**63 - 1

log = logging.getLogger(__name__)


class Summaries:
    """Writes the summaries: of a running experiment every LIVE_SECONDS, of an ended one at once.

    Rows of an older version get what lists are filtered by, too.

    They are written by a thread of their own, because a large curve takes seconds, in which the
    statuses of other experiments must not wait.
    """

    def __init__(
        self,
        store: Store,
        table: MetricSummaries,
        outputs: Outputs,
        curves: Curves,
        values: NamedValues,
    ) -> None:
        self._store, self._table, self._values = store, table, values
        self._outputs, self._curves = outputs, curves
        self._wake = threading.Event()
        self._last_event: int | None = None
        self._saved: dict[tuple[int, int], str] = {}  # versions, by key and attempt, if running
        self._next_look = 0.0
        self._next_key: int | None = HIGHEST_KEY  # to be filled in below it; None if all are

    def run(self, stopped: threading.Event) -> None:
        """Write summaries until `stopped` is set."""
        while not stopped.is_set():
            try:
                self.step()
            except (StoreUnavailable, SchemaError, OutputMissing):  # the reconciler logs it
                pass
            except Exception:  # a bug must not end the thread: everything is tried again
                log.exception("Summaries of metrics cannot be written")
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()

    def wake(self) -> None:
        """Make the next step at once: an experiment may have ended."""
        self._wake.set()

    def finish(self, experiment_ids: Iterable[str]) -> None:
        """Write the summaries of experiments that have ended, if `step` has not done so yet.

        Raises:
            StoreUnavailable: the database cannot be used.
            OutputMissing: the output folder is missing.
        """
        names = list(experiment_ids)
        for begin in range(0, len(names), EVENTS_AT_ONCE):
            self._save_all(self._store.by_ids(names[begin : begin + EVENTS_AT_ONCE]))

    def step(self, *, all_running: bool = False) -> None:
        """Write what has to be written now.

        Args:
            all_running: whether to look at running experiments before LIVE_SECONDS have passed.

        Raises:
            StoreUnavailable: the database cannot be used; the next call goes on.
            OutputMissing: the output folder is missing; as above.
        """
        if self._last_event is None:
            self._last_event = self._store.transitions.last_id()
        while events := self._store.transitions.after(self._last_event, EVENTS_AT_ONCE):
            ended = [one for one in events if one.transition.to_status not in LIVE]
            ids = list(dict.fromkeys(event.experiment_id for event in ended))
            self._save_all(self._store.by_ids(ids) if ids else [])
            self._last_event = events[-1].id
        if all_running or time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LIVE_SECONDS
            running = self._store.in_status([Status.RUNNING])
            self._save_all(running)
            keys = {(one.id, one.attempt) for one in running}
            self._saved = {key: version for key, version in self._saved.items() if key in keys}
        self._values.fill(FILLED_AT_ONCE)
        self._fill()

    def _fill(self) -> None:
        """Write the summaries of some ended experiments that have none, the newest first.

        An older version has left them, or a process that was killed at their end.
        """
        if self._next_key is None:
            return
        unfinished = self._table.unfinished(self._next_key, FILLED_AT_ONCE)
        self._save_all(self._store.by_ids([name for _, name in unfinished]) if unfinished else [])
        self._next_key = unfinished[-1][0] if unfinished else None

    def _save_all(self, experiments: Iterable[Experiment]) -> None:
        for experiment in experiments:
            try:
                self._save(experiment)
            except (StoreUnavailable, OutputMissing):
                raise
            except Exception:  # what a trainer has written must not hide the metrics of others
                log.exception("The metrics of %r cannot be summarised", experiment.experiment_id)

    def _save(self, experiment: Experiment) -> None:
        key, is_final = (experiment.id, experiment.attempt), experiment.status not in LIVE
        version = self._curves.version(experiment.experiment_id)
        if not is_final and self._saved.get(key) == version:
            return
        for _ in range(MAX_READS):
            summaries, complete = self._curves.summaries(experiment.experiment_id, ended=is_final)
            if complete:
                break
        if not summaries:
            self._outputs.check()  # or what cannot be read now would count as no metrics for good
        self._table.save(experiment, summaries, version=version, is_final=is_final)
        self._saved[key] = version
