"""What a run has printed: from its launcher while that has it, then as kept in the run's folder."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice

from backend.launchers.base import Launcher, LauncherUnavailable
from backend.outputs import Outputs
from backend.records import Experiment

log = logging.getLogger(__name__)


class Logs:
    """The logs of all attempts of all runs."""

    def __init__(self, launcher: Launcher, outputs: Outputs, *, max_bytes: int) -> None:
        """Work on these; of a longer log than `max_bytes`, head and tail are kept."""
        self._launcher, self._outputs, self._max_bytes = launcher, outputs, max_bytes

    def read(self, experiment: Experiment, attempt: int) -> Iterator[bytes]:
        """Give what an attempt has printed so far, in pieces.

        Raises:
            LauncherUnavailable: it is not kept yet, and the launcher cannot be asked.
        """
        if self._outputs.has_log(experiment.experiment_id, attempt):
            return self._outputs.read_log(experiment.experiment_id, attempt)
        lines = self._launcher.logs(replace(experiment.run, attempt=attempt).handle)
        return iter([line.encode(errors="replace") + b"\n" for line in lines])

    def keep(self, experiment: Experiment) -> None:
        """Bring the log so far into the run's folder, before its Job is gone with it."""
        if self._launcher.keeps_logs:
            return
        experiment_id, attempt = experiment.experiment_id, experiment.attempt
        try:
            lines = self._launcher.logs(experiment.job)
            first = list(islice(lines, 1))
            if first:  # of a Job that is gone, what was kept before is all there is
                whole = chain(first, lines)
                self._outputs.write_log(experiment_id, attempt, whole, self._max_bytes)
        except (LauncherUnavailable, OSError) as error:
            log.warning("The log of %r cannot be kept: %s", experiment_id, error)
