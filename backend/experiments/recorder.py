"""Brings experiments in line with what a launcher observed of their Jobs."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from backend.domain.attempt import Diagnosis
from backend.domain.exceptions import OutputMissing
from backend.domain.execution.usage import NOTHING_KNOWN, highest, memory_sentence
from backend.domain.experiment import Experiment, Transition, in_order
from backend.domain.status import LIVE, REQUEUED, Status, path
from backend.experiments.archive import Archive, Record
from backend.experiments.gangs.worker_logs import GangLogs
from backend.files.outputs import Outputs
from backend.launchers.base import Observation, Phase
from backend.store.queries import Store

RESTARTING = Diagnosis(
    "restarting",
    "The trainer was interrupted, and has not been started again yet.",
    "Nothing: it continues from its checkpoint.",
)
OUT_OF_MEMORY = "out_of_memory"  # the reason of a diagnosis
NO_DIAGNOSIS: dict[str, Any] = {"reason": None, "message": None, "remedy": None}


class Recorder:
    """Changes the status of experiments, by compare-and-set.

    Every method raises StoreUnavailable if the database cannot be used.
    """

    def __init__(self, store: Store, outputs: Outputs, logs: GangLogs, archive: Archive) -> None:
        self._store, self._outputs = store, outputs
        self._logs, self._archive = logs, archive

    def record(self, experiment: Experiment, observation: Observation) -> None:
        """Record what the launcher observed of a live experiment's Job."""
        if self.apply(experiment, observation):
            self._archive.update_run_file(experiment)

    def record_gone(self, experiment: Experiment) -> None:
        """Record the end of a live experiment because its Job no longer exists."""
        # Read again: it may have been cancelled, and its Job deleted for that, since it was read.
        known = self._archive.by_ids([experiment.experiment_id])
        current = known.get(experiment.experiment_id)
        if current and (current.uid, current.attempt) == (experiment.uid, experiment.attempt):
            experiment = current
        diagnosis = Diagnosis(
            "job_deleted",
            f"The Job {experiment.job} no longer exists, and its end was not observed: "
            "it was deleted.",
            "Retry the experiment: it continues from its checkpoint.",
        )
        self.record(
            experiment, Observation(experiment.uid, Phase.LOST, None, datetime.now(UTC), diagnosis)
        )

    def record_submitted(
        self, experiment: Experiment, history: list[Transition]
    ) -> Experiment | None:
        """Record that the Job of an experiment with this history was submitted: it is `queued`.

        Returns:
            The experiment as it is then, or None if it no longer exists.
        """
        now = datetime.now(UTC)
        [at] = in_order(history[-1].at, [now]) if history else [now]
        old, new = Status.SUBMITTING, Status.QUEUED
        is_changed = self._store.advance(
            experiment,
            path=(old, new),
            times=[at],
            values=NO_DIAGNOSIS,
            at=now,
        )
        expected: Record | None = None
        if is_changed:
            queued = replace(experiment, status=new, updated_at=now, **NO_DIAGNOSIS)
            expected = queued, [*history, Transition(experiment.attempt, old, new, None, at)]
        return self._archive.update_run_file(experiment, expected)

    def apply(self, experiment: Experiment, observation: Observation) -> bool:
        """Record an observation in the database, but not in run.json.

        Returns:
            Whether the status has changed.
        """
        if observation.uid != experiment.uid:
            return False
        self._logs.save_leaving(experiment, observation.leaving)
        if observation.phase is Phase.UNKNOWN:
            return False
        is_lost = observation.phase is Phase.LOST
        if is_lost:
            try:
                self._outputs.check()
            except OutputMissing:  # whether it has finished cannot be known without its folder
                return False
            observation = self._conclude(experiment, observation)
        is_back = experiment.status is Status.RUNNING and observation.phase is Phase.QUEUED
        if is_back and not observation.suspended:
            # It starts again by itself: the diagnosis says that nothing trains at the moment.
            observation = replace(observation, diagnosis=observation.diagnosis or RESTARTING)
        if observation.used != NOTHING_KNOWN:
            self._store.raise_peaks([(experiment, observation.used)])
        observation = _with_memory(experiment, observation)
        status = Status(observation.phase)
        diagnosis = asdict(observation.diagnosis) if observation.diagnosis else NO_DIAGNOSIS
        if observation.image:
            diagnosis = diagnosis | {"image": observation.image}
        is_requeued = is_back and observation.suspended
        steps = REQUEUED if is_requeued else path(experiment.status, status)
        if steps:
            if status not in LIVE:
                self._logs.save(experiment)
                if is_lost:
                    self._logs.note_unheard(experiment, has_begun=self._has_begun(experiment))
            return self._advance(experiment, steps, diagnosis, observation)
        if diagnosis != {name: getattr(experiment, name) for name in diagnosis}:
            self.update(experiment, diagnosis)
        return False

    def update(self, experiment: Experiment, values: dict[str, Any]) -> bool:
        """Set columns of a live experiment other than the status.

        Returns:
            False if its status has changed since it was read; nothing was changed then.
        """
        if experiment.status not in LIVE:
            return False
        return self._store.update(experiment, values)

    def _has_begun(self, experiment: Experiment) -> bool:
        """Return whether the current attempt is known to have run."""
        return experiment.status is Status.RUNNING or self._outputs.has_traces(
            experiment.experiment_id, experiment.attempt
        )

    def _conclude(self, experiment: Experiment, observation: Observation) -> Observation:
        """Return how a Job ended whose end was not observed: a finished one left its summary."""
        if self._outputs.has_summary(experiment.experiment_id):
            return replace(observation, phase=Phase.SUCCEEDED, diagnosis=None)
        if experiment.cancel_requested_at:
            return replace(observation, phase=Phase.CANCELLED, diagnosis=None)
        return replace(observation, phase=Phase.FAILED)

    def _advance(
        self,
        experiment: Experiment,
        steps: Sequence[Status],
        diagnosis: dict[str, Any],
        observation: Observation,
    ) -> bool:
        now = datetime.now(UTC)
        values = dict(diagnosis)
        if observation.started_at:
            # The pods of the time before it was suspended are gone: it was started earlier.
            first = min(experiment.started_at or observation.started_at, observation.started_at)
            values["started_at"] = first
        if steps[-1] not in LIVE:
            values["finished_at"] = observation.finished_at or now
        times = {Status.RUNNING: observation.started_at, steps[-1]: values.get("finished_at")}
        latest = min(now, times[steps[-1]] or now)  # of steps that were not observed
        return self._store.advance(
            experiment,
            path=steps,
            times=[min(times.get(step) or latest, now) for step in steps[1:]],
            values=values,
            at=now,
            check_order=True,
        )


def _with_memory(experiment: Experiment, observation: Observation) -> Observation:
    """Return the observation; if memory ran out, its diagnosis says how much was used."""
    found = observation.diagnosis
    if found is None or found.reason != OUT_OF_MEMORY:
        return observation
    peak = highest(experiment.peaks, observation.used).memory
    message = found.message + memory_sentence(peak, observation.memory_limit)
    return replace(observation, diagnosis=replace(found, message=message))
