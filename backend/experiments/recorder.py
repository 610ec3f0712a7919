"""Writes down how runs are: brings an experiment in line with what a launcher saw of its run."""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from backend.domain.attempt import Diagnosis
from backend.domain.experiment import Experiment, Transition
from backend.domain.status import LIVE, Status, path
from backend.experiments.archive import Archive, Found
from backend.experiments.logs import Logs
from backend.files.outputs import Outputs
from backend.launchers.base import Observation, Phase
from backend.store.queries import Store

NO_DIAGNOSIS: dict[str, Any] = {"reason": None, "message": None, "remedy": None}


class Recorder:
    """Moves experiments from status to status, by compare-and-set.

    Every method raises StoreUnavailable when the database is away.
    """

    def __init__(self, store: Store, outputs: Outputs, logs: Logs, archive: Archive) -> None:
        """Work on these."""
        self._store, self._outputs = store, outputs
        self._logs, self._archive = logs, archive

    def record(self, experiment: Experiment, seen: Observation) -> None:
        """Bring a live experiment in line with what the launcher saw of its run."""
        if self.apply(experiment, seen):
            self._archive.update_run_file(experiment)

    def record_gone(self, experiment: Experiment) -> None:
        """Bring a live experiment to its end whose run the launcher does not know any more."""
        why = _deleted(experiment)
        self.record(
            experiment, Observation(experiment.uid, Phase.LOST, None, datetime.now(UTC), why)
        )

    def record_submitted(
        self, experiment: Experiment, history: list[Transition]
    ) -> Experiment | None:
        """Bring an experiment with this history, whose run was just submitted, to `queued`.

        Returns:
            The experiment as it then is, or None if it is there no more.
        """
        now = datetime.now(UTC)
        old, new = Status.SUBMITTING, Status.QUEUED
        moved = self._store.advance(
            experiment.id,
            attempt=experiment.attempt,
            path=(old, new),
            times=[now],
            values=NO_DIAGNOSIS,
            at=now,
        )
        expected: Found | None = None
        if moved:
            queued = replace(experiment, status=new, updated_at=now, **NO_DIAGNOSIS)
            expected = queued, [*history, Transition(experiment.attempt, old, new, None, now)]
        return self._archive.update_run_file(experiment, expected)

    def apply(self, experiment: Experiment, seen: Observation) -> bool:
        """Write what was seen into the database alone.

        Returns:
            Whether the status has changed.
        """
        if seen.uid != experiment.uid:
            return False
        if seen.leaving:
            self._logs.save_parts(experiment, seen.leaving)
        if seen.phase is Phase.UNKNOWN:
            return False
        if seen.phase is Phase.LOST:
            seen = self._conclude(experiment, seen)
        status = Status(seen.phase)
        diagnosis = asdict(seen.diagnosis) if seen.diagnosis else NO_DIAGNOSIS
        steps = path(experiment.status, status)
        if steps:
            if status not in LIVE:
                self._logs.save(experiment)
            return self._move(experiment, steps, diagnosis, seen)
        if diagnosis != {name: getattr(experiment, name) for name in diagnosis}:
            self.update(experiment, diagnosis)
        return False

    def update(self, experiment: Experiment, values: dict[str, Any]) -> bool:
        """Set further columns of a live experiment.

        Returns:
            False if it has moved on since it was read: nothing changed.
        """
        if experiment.status not in LIVE:
            return False
        return self._store.update(
            experiment.id, attempt=experiment.attempt, status=experiment.status, values=values
        )

    def _conclude(self, experiment: Experiment, seen: Observation) -> Observation:
        """Say how a run ended that nobody saw end: once it was done, its summary is there."""
        if self._outputs.has_summary(experiment.experiment_id):
            return replace(seen, phase=Phase.SUCCEEDED, diagnosis=None)
        if experiment.cancel_requested_at:
            return replace(seen, phase=Phase.CANCELLED, diagnosis=None)
        return replace(seen, phase=Phase.FAILED)

    def _move(
        self,
        experiment: Experiment,
        steps: list[Status],
        diagnosis: dict[str, Any],
        seen: Observation,
    ) -> bool:
        values = dict(diagnosis)
        if seen.started_at:
            values["started_at"] = seen.started_at
        if steps[-1] not in LIVE:
            values["finished_at"] = seen.finished_at or datetime.now(UTC)
        times = {Status.RUNNING: seen.started_at, steps[-1]: values.get("finished_at")}
        now = datetime.now(UTC)
        return self._store.advance(
            experiment.id,
            attempt=experiment.attempt,
            path=steps,
            times=[times.get(step) or now for step in steps[1:]],
            values=values,
            at=now,
        )


def _deleted(experiment: Experiment) -> Diagnosis:
    return Diagnosis(
        "job_deleted",
        f"The Job {experiment.job} is gone, and was not seen to end: somebody deleted it.",
        "Retry: it goes on from its checkpoint.",
    )
