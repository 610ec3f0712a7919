"""The logs of gangs: that of rank 0 is the experiment's, and those of the others lie beside it."""

import logging
import threading
from collections.abc import Iterator, Sequence

from backend.domain.execution.exceptions import UnknownWorker
from backend.domain.experiment import Experiment
from backend.experiments.logs import Logs
from backend.files.log_files import LogFiles
from backend.files.outputs import Outputs
from backend.launchers.base import Launcher

log = logging.getLogger(__name__)


class GangLogs(Logs):
    """The logs of all attempts of all experiments, with those of every worker of a gang."""

    def __init__(self, launcher: Launcher, outputs: Outputs, *, max_bytes: int) -> None:
        """Use these; of a log longer than `max_bytes`, only head and tail are saved."""
        super().__init__(launcher, outputs, max_bytes=max_bytes)
        self._launcher, self._outputs = launcher, outputs
        self._others = dict[int, Logs]()  # by rank, from 1
        self._others_lock = threading.Lock()

    def of_worker(self, experiment: Experiment, rank: int) -> Logs:
        """Return the logs of the workers with this rank.

        Raises:
            UnknownWorker: the experiment has no such worker.
        """
        nodes = experiment.nodes or 1
        if not 0 <= rank < nodes:
            raise UnknownWorker(experiment.experiment_id, rank, nodes)
        if rank == 0:
            return self
        with self._others_lock:
            if rank not in self._others:
                self._others[rank] = Logs(
                    self._launcher, self._outputs, max_bytes=self._max_bytes, rank=rank
                )
                self._others[rank].on_lost_end = lambda: self.on_lost_end()
            return self._others[rank]

    def save(self, experiment: Experiment) -> bool:
        """Save the logs of the current attempt; see `Logs.save`."""
        saved = [logs.save(experiment) for logs in self._other_workers(experiment)]
        return super().save(experiment) and all(saved)

    def save_pending(self) -> None:
        """Try again to save the logs that could not be saved before."""
        super().save_pending()
        with self._others_lock:
            others = list(self._others.values())
        for logs in others:
            logs.save_pending()

    def save_final_output(self, experiment: Experiment) -> None:
        """Save the logs before a Job is cancelled; see `Logs.save_final_output`."""
        for logs in self._other_workers(experiment):
            logs.save_final_output(experiment)
        super().save_final_output(experiment)

    def save_leaving(self, experiment: Experiment, parts: Sequence[tuple[int, str]]) -> None:
        """Save parts whose pods are leaving, each given after the rank of its worker.

        See `Logs.save_parts`.
        """
        for rank, part in parts:
            if rank < (experiment.nodes or 1):
                self.of_worker(experiment, rank).save_parts(experiment, [part])

    def note_unheard(self, experiment: Experiment, *, has_begun: bool) -> None:
        """Mark the logs of an attempt whose pods are gone and whose ends nobody has heard.

        Those that are saved, or are being saved by whoever cancelled it, are left alone. One that
        is not known to have begun had nothing to say, unless somebody has listened to a pod.
        """
        if self._source is None:
            return
        name = experiment.experiment_id
        for rank in range(experiment.nodes or 1):
            files = LogFiles(self._outputs, rank)
            try:
                if not files.write_unheard(
                    name, experiment.attempt, self._max_bytes, has_begun=has_begun
                ):
                    continue
            except OSError as error:
                log.warning("It cannot be said that a log of %r is lost: %s", name, error)
                continue
            log.warning("The end of the log of %r is lost", name)
            self.on_lost_end()

    def _other_workers(self, experiment: Experiment) -> Iterator[Logs]:
        return (self.of_worker(experiment, rank) for rank in range(1, experiment.nodes or 1))
