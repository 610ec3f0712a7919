"""Experiments: what they are, how they change, and how one is submitted.

Knows no Flask and no Kubernetes; the store, the launcher and the folders are handed in.
"""

import logging
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import Any

from backend.inputs import Inputs
from backend.launchers.base import (
    Job,
    Launcher,
    LauncherRefused,
    LauncherUnavailable,
    Observation,
    Phase,
    Run,
)
from backend.outputs import FolderTaken, Outputs
from backend.refusals import (
    OtherParameters,
    OutputUnwritable,
    SubmissionRefused,
    UnknownDataset,
    UnknownExperiment,
)
from backend.settings import Settings
from backend.store.engine import StoreUnavailable
from backend.store.queries import Store
from backend.timestamps import to_text

MODEL = "autoencoder"  # the one that AE_MODEL_IMAGE_URL holds

log = logging.getLogger(__name__)


class Status(StrEnum):
    """Where an experiment stands."""

    SUBMITTING = "submitting"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


LIVE = (Status.SUBMITTING, Status.QUEUED, Status.RUNNING)
_STEPS = (Status.SUBMITTING, Status.QUEUED, Status.RUNNING, Status.SUCCEEDED)

NO_DIAGNOSIS = {"reason": None, "message": None, "remedy": None}


def path(old: Status, new: Status) -> list[Status]:
    """List the statuses from `old` to `new`, both included; empty if there is no way.

    submitting -> queued -> running -> succeeded, and from each of the first three to failed or
    cancelled. What has ended stays as it is.
    """
    if old not in LIVE:
        return []
    if new not in _STEPS:
        return [old, new]
    first, last = _STEPS.index(old), _STEPS.index(new)
    return list(_STEPS[first : last + 1]) if first < last else []


@dataclass(frozen=True)
class Parameters:
    """What a person chose. Two submissions of one id are the same if these are equal."""

    model: str
    learning_rate: float
    epoch: int
    dataset: str | None


@dataclass(frozen=True)
class Experiment:
    """One experiment as the database knows it. Times are aware, in UTC."""

    id: int
    experiment_id: str
    uid: str
    model: str
    learning_rate: float
    epoch: int
    dataset: str | None
    status: Status
    attempt: int
    job: str
    reason: str | None
    message: str | None
    remedy: str | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def from_row(cls, row: Any) -> "Experiment":
        """Read a row of the table."""
        values = dict(row._mapping)
        return cls(**values | {"status": Status(values["status"])})

    @property
    def parameters(self) -> Parameters:
        """Give what a person chose."""
        return Parameters(self.model, self.learning_rate, self.epoch, self.dataset)

    @property
    def run(self) -> Run:
        """Give what a launcher needs to know of the current attempt."""
        return Run(
            experiment_id=self.experiment_id,
            uid=self.uid,
            model=self.model,
            learning_rate=self.learning_rate,
            epoch=self.epoch,
            dataset=self.dataset,
            attempt=self.attempt,
        )


@dataclass(frozen=True)
class Transition:
    """One change of an experiment's status."""

    attempt: int
    from_status: str | None
    to_status: str
    reason: str | None
    at: datetime


class Outcome(Enum):
    """What a submission came to."""

    CREATED = "the run was started"
    ACCEPTED = "the run will be started"
    EXISTING = "the same run was submitted before"


class Experiments:
    """All experiments, and everything that can be done with them.

    Every method raises StoreUnavailable when the database is away.
    """

    def __init__(self, store: Store, launcher: Launcher, outputs: Outputs, inputs: Inputs) -> None:
        """Work on these."""
        self._store, self._launcher = store, launcher
        self._outputs, self._inputs = outputs, inputs

    @classmethod
    def from_settings(cls, settings: Settings, launcher: Launcher) -> "Experiments":
        """Work on the database and the folders that the settings name."""
        return cls(
            Store(settings.database_url),
            launcher,
            Outputs(settings.output_dir),
            Inputs(settings.input_dir),
        )

    def check_ready(self) -> None:
        """Make sure that the database answers and has the schema that this version needs."""
        self._store.ping()

    def close(self) -> None:
        """Close all connections to the database; the next question opens new ones."""
        self._store.close()

    def submit(self, experiment_id: str, parameters: Parameters) -> tuple[Outcome, Experiment]:
        """Start a run, once, however often and from wherever this is called.

        The intent is committed before anything is started, and the Job's name is made from the
        id: whatever breaks in between, the reconciler finds the intent and starts the same Job.

        Raises:
            OtherParameters: the id is taken.
            FolderTaken: its output folder holds files of something else.
            UnknownDataset: there is no such data set.
            OutputUnwritable: the output folder cannot be written.
            SubmissionRefused: the launcher will never start it.
        """
        existing = self._find(experiment_id)
        if existing is None:
            self._check_dataset(parameters.dataset)
            values = _new(experiment_id, parameters)
            job = self._launcher.render(_run(values))
            if self._folder_is_free(experiment_id):
                self._store.insert(values)
            existing = self._find(experiment_id)
            if existing is None:
                raise FolderTaken
            if existing.uid == values["uid"]:  # nobody was quicker
                return self._start_new(existing, job)
        if existing.parameters != parameters:
            raise OtherParameters(experiment_id, existing.parameters)
        return Outcome.EXISTING, existing

    def get(self, experiment_id: str) -> Experiment:
        """Find one experiment.

        Raises:
            UnknownExperiment: there is none of that id.
        """
        experiment = self._find(experiment_id)
        if experiment is None:
            raise UnknownExperiment(experiment_id)
        return experiment

    def history(self, experiment: Experiment) -> list[Transition]:
        """List its changes of status, oldest first."""
        return [
            Transition(row.attempt, row.from_status, row.to_status, row.reason, row.at)
            for row in self._store.history(experiment.experiment_id)
        ]

    def last_metrics(self, experiment: Experiment) -> dict[str, Any] | None:
        """Give the metrics of the last epoch that its trainer has written down, if any."""
        return self._outputs.last_metrics(experiment.experiment_id)

    def page(
        self,
        *,
        limit: int,
        after: int | None = None,
        status: str | None = None,
        model: str | None = None,
        text: str | None = None,
    ) -> Sequence[Experiment]:
        """List experiments, newest first; see Store.page."""
        rows = self._store.page(limit=limit, after=after, status=status, model=model, text=text)
        return [Experiment.from_row(row) for row in rows]

    def live(self) -> list[Experiment]:
        """List every experiment that has not ended, oldest first."""
        return [Experiment.from_row(row) for row in self._store.in_status(LIVE)]

    def launch(self, experiment: Experiment) -> Experiment:
        """Start the run of a `submitting` experiment; harmless if it was started already.

        Returns:
            The experiment as it then is: queued, or submitting with a diagnosis.

        Raises:
            OutputUnwritable, FolderTaken: its folder cannot be used.
            SubmissionRefused: the launcher will never start it; it is marked failed.
        """
        return self._launch(experiment, self._launcher.render(experiment.run))

    def observe(self, experiment: Experiment, seen: Observation) -> None:
        """Bring a live experiment in line with what the launcher saw of its run."""
        if seen.phase is Phase.UNKNOWN or seen.uid != experiment.uid:
            return
        status = Status(seen.phase)
        diagnosis = asdict(seen.diagnosis) if seen.diagnosis else NO_DIAGNOSIS
        steps = path(experiment.status, status)
        if steps:
            self._move(experiment, steps, diagnosis, seen)
        elif diagnosis != {name: getattr(experiment, name) for name in diagnosis}:
            self._store.note(
                experiment.id,
                attempt=experiment.attempt,
                status=experiment.status,
                values=diagnosis,
            )

    def _start_new(self, experiment: Experiment, job: Job) -> tuple[Outcome, Experiment]:
        try:
            started = self._launch(experiment, job)
        except (OutputUnwritable, FolderTaken):
            self._store.forget(experiment.experiment_id, experiment.uid)
            raise
        except StoreUnavailable:  # away since the intent was committed; the reconciler goes on
            log.warning("%r is submitted; the database went away meanwhile", experiment)
            return Outcome.ACCEPTED, experiment
        if started.status is Status.SUBMITTING:
            return Outcome.ACCEPTED, started
        return Outcome.CREATED, started

    def _launch(self, experiment: Experiment, job: Job) -> Experiment:
        try:
            self._outputs.write_run(experiment.experiment_id, _record(experiment))
        except OSError as error:
            raise OutputUnwritable(error) from error
        try:
            self._launcher.submit(job)
        except LauncherUnavailable as error:
            values = asdict(error.diagnosis)
            self._store.note(
                experiment.id,
                attempt=experiment.attempt,
                status=experiment.status,
                values=values,
            )
            return replace(experiment, **values)
        except LauncherRefused as error:
            failed = Observation(
                experiment.uid, Phase.FAILED, None, datetime.now(UTC), error.diagnosis
            )
            self.observe(experiment, failed)
            raise SubmissionRefused(error.diagnosis) from error
        self.observe(experiment, Observation(experiment.uid, Phase.QUEUED))
        return self.get(experiment.experiment_id)

    def _move(
        self,
        experiment: Experiment,
        steps: list[Status],
        diagnosis: dict[str, Any],
        seen: Observation,
    ) -> None:
        values = dict(diagnosis)
        if seen.started_at:
            values["started_at"] = seen.started_at
        if steps[-1] not in LIVE:
            values["finished_at"] = seen.finished_at or datetime.now(UTC)
        times = {Status.RUNNING: seen.started_at, steps[-1]: values.get("finished_at")}
        now = datetime.now(UTC)
        moved = self._store.move(
            experiment.id,
            attempt=experiment.attempt,
            path=steps,
            times=[times.get(step) or now for step in steps[1:]],
            values=values,
        )
        if moved and steps[-1] not in LIVE:
            self._record_end(experiment.experiment_id)

    def _record_end(self, experiment_id: str) -> None:
        """Write the end into run.json too: the folder outlives the database."""
        try:
            self._outputs.write_run(experiment_id, _record(self.get(experiment_id)))
        except (OSError, FolderTaken, UnknownExperiment) as error:
            log.warning("run.json of %r cannot be written: %r", experiment_id, error)

    def _folder_is_free(self, experiment_id: str) -> bool:
        try:
            return self._outputs.is_free(experiment_id)
        except OSError as error:
            raise OutputUnwritable(error) from error

    def _find(self, experiment_id: str) -> Experiment | None:
        row = self._store.get(experiment_id)
        return Experiment.from_row(row) if row else None

    def _check_dataset(self, dataset: str | None) -> None:
        if dataset is None:
            return
        try:
            names = self._inputs.names()
        except OSError:
            names = []
        if dataset not in names:
            raise UnknownDataset(dataset, names)


def _new(experiment_id: str, parameters: Parameters) -> dict[str, Any]:
    now = datetime.now(UTC)
    values = asdict(parameters) | {
        "experiment_id": experiment_id,
        "uid": uuid.uuid4().hex,
        "status": Status.SUBMITTING,
        "attempt": 1,
        "created_at": now,
        "updated_at": now,
    }
    return values | {"job": _run(values).handle}


def _run(values: dict[str, Any]) -> Run:
    names = ("experiment_id", "uid", "model", "learning_rate", "epoch", "dataset", "attempt")
    return Run(**{name: values[name] for name in names})


def _record(experiment: Experiment) -> dict[str, Any]:
    """Give what run.json says: all but the database's own key."""
    return {
        name: to_text(value) if isinstance(value, datetime) else value
        for name, value in asdict(experiment).items()
        if name != "id"
    }
