"""Starts experiments: the intent is committed first, then the Job is created from it.

Both are made from an entry of the catalogue of models, which is stored for retries.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from backend.domain.attempt import Attempt, Diagnosis, Program
from backend.domain.catalogue import Choice, Entry
from backend.domain.data_sets.exceptions import InputsUnusable
from backend.domain.data_sets.pins import choice_text, chosen_names
from backend.domain.exceptions import (
    FolderTaken,
    OtherParameters,
    OutputMissing,
    OutputUnwritable,
    StoreUnavailable,
    SubmissionRefused,
    UnknownDataset,
    UnknownExperiment,
)
from backend.domain.experiment import Experiment, Parameters, Transition, new_values
from backend.domain.identifiers import trial_id
from backend.domain.status import Status
from backend.domain.sweeps.exceptions import TrialIdTaken
from backend.domain.sweeps.sweep import Sweep
from backend.experiments.archive import Archive
from backend.experiments.data_sets.service import DataSets
from backend.experiments.models import Models
from backend.experiments.recorder import Recorder
from backend.files.inputs import Inputs
from backend.files.outputs import Outputs
from backend.launchers.base import (
    Job,
    Launcher,
    LauncherRefused,
    LauncherUnavailable,
    Observation,
    Phase,
    output_missing,
)
from backend.store.queries import Store

TARGET = "target"  # the parameter that names the column of the labels
INDENTED = 4  # times as large as compact JSON is indented JSON at most

log = logging.getLogger(__name__)


class Outcome(Enum):
    """The result of a submission."""

    CREATED = "the Job was created"
    ACCEPTED = "the Job will be created"
    EXISTING = "the same experiment was submitted before"


class Submission:
    """Submits experiments and launches their attempts.

    Every method raises StoreUnavailable if the database cannot be used.
    """

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        inputs: Inputs,
        data_sets: DataSets,
        outputs: Outputs,
        archive: Archive,
        recorder: Recorder,
        models: Models,
    ) -> None:
        self._store, self._launcher = store, launcher
        self._inputs, self._data_sets, self._outputs = inputs, data_sets, outputs
        self._archive, self._recorder, self._models = archive, recorder, models

    def submit(
        self,
        experiment_id: str,
        parameters: Parameters,
        *,
        choice: Choice | None = None,
        by: str | None = None,
    ) -> tuple[Outcome, Experiment]:
        """Start an experiment exactly once, however often this is called, by any process.

        The intent is committed before anything is started, and the name of the Job is derived from
        the id. Whatever fails in between, the reconciler finds the intent and starts the same Job.

        Args:
            experiment_id: the id of the experiment.
            parameters: what was chosen.
            choice: where the parameters come from.
            by: the name of the token of the person who submits it.

        Raises:
            OtherParameters: the id is taken by an experiment with other parameters.
            FolderTaken: its output folder holds files of something else.
            UnknownDataset: there is no such data set.
            InputsUnusable: the files do not fit together, or cannot be read.
            OutputUnwritable: the output folder is missing, or cannot be written.
            SubmissionRefused: the launcher refused the Job for good.
        """
        entry = choice.entry if choice else None
        if entry:
            parameters = replace(parameters, entry_sha256=entry.sha256, nodes=entry.gang_nodes)
        if parameters.dataset is not None:
            names = map(self._inputs.stored_name, chosen_names(parameters.dataset))
            parameters = replace(parameters, dataset=choice_text(names))
        values = new_values(experiment_id, parameters, by)
        job = self._render(Attempt.from_columns(values), entry)
        problem, inputs = self._prepare(experiment_id, parameters, entry)
        values["inputs"] = inputs
        row_id = None
        if problem is None:
            row_id = self._store.insert(values, actor=by, entry=entry.content if entry else None)
        if row_id:
            return self._start(Experiment.from_columns(values | {"id": row_id}), job, entry, by)
        existing = self._store.get(experiment_id)
        if existing is None:
            raise problem or FolderTaken()
        if existing.uid == values["uid"]:  # inserted by an earlier try whose answer was lost
            return self._start(existing, job, entry, by)
        parameters = self._models.as_submitted(parameters, choice, existing)
        if not existing.parameters.same_as(parameters):
            raise OtherParameters(experiment_id, existing.parameters)
        return Outcome.EXISTING, existing

    def submit_trial(self, sweep: Sweep, parameters: Parameters, entry: Entry) -> Experiment | None:
        """Start the next trial of a sweep, unless another process has done so or has ended it.

        The number of the trial is counted in the transaction that commits the intent. So there is
        one trial of each number, and none after the sweep was paused or ended.

        Args:
            sweep: as the parameters were chosen for; its next trial is number `issued + 1`.
            parameters: what was chosen.
            entry: of the model.

        Returns:
            The trial; None if the sweep has changed meanwhile.

        Raises:
            TrialIdTaken: an experiment of another kind has the id of the trial.
            FolderTaken, UnknownDataset, InputsUnusable, OutputUnwritable, SubmissionRefused: as
                `submit`.
        """
        experiment_id = trial_id(sweep.sweep_id, sweep.issued + 1)
        parameters = replace(parameters, entry_sha256=entry.sha256, nodes=entry.gang_nodes)
        values = new_values(experiment_id, parameters, sweep.created_by, sweep.sweep_id)
        job = self._render(Attempt.from_columns(values), entry)
        existing = self._store.get(experiment_id)
        if existing is None:
            pinned = self._pinned_by(sweep)
            problem, values["inputs"] = self._prepare(experiment_id, parameters, entry, pinned)
            if problem:
                raise problem
            row_id = self._store.insert(
                values, actor=sweep.created_by, entry=entry.content, trial_of=sweep
            )
            if row_id:
                started = Experiment.from_columns(values | {"id": row_id})
                return self._start(started, job, entry, sweep.created_by)[1]
            existing = self._store.get(experiment_id)
        if existing is None:
            return None
        if existing.sweep_id != sweep.sweep_id:
            raise TrialIdTaken(experiment_id)
        if existing.uid == values["uid"]:  # inserted by an earlier try whose answer was lost
            return self._start(existing, job, entry, sweep.created_by)[1]
        return None

    def launch(self, experiment: Experiment) -> Experiment:
        """Submit the Job of a `submitting` experiment; harmless if it was submitted already.

        Returns:
            The experiment as it is then: queued, or submitting with a diagnosis.

        Raises:
            UnknownExperiment: it was deleted meanwhile.
            SubmissionRefused: the launcher refused the Job for good; the experiment has failed.
        """
        record = self._archive.find(experiment.experiment_id)
        if record is None:
            raise UnknownExperiment(experiment.experiment_id)
        current, history = record
        expected = (experiment.uid, experiment.attempt, Status.SUBMITTING)
        if (current.uid, current.attempt, current.status) != expected:
            return current  # another process has launched it
        return self._launch(current, history)

    def write_files(self, experiment: Experiment) -> None:
        """Write the files of a `submitting` experiment that will have no Job, if that is possible.

        Whoever committed its intent may have been killed before. Without run.json, no rebuild would
        restore it.
        """
        record = self._archive.find(experiment.experiment_id)
        if record is None or (record[0].uid, record[0].status) != (
            experiment.uid,
            Status.SUBMITTING,
        ):
            return
        try:
            self._outputs.check()
            self._archive.create_run_file(*record, self._models.entry_of(experiment))
        except (LauncherRefused, OSError, FolderTaken, OutputMissing) as error:
            log.warning("%r has no files: %r", experiment.experiment_id, error)

    def _start(
        self, experiment: Experiment, job: Job, entry: Entry | None, by: str | None
    ) -> tuple[Outcome, Experiment]:
        now, status = experiment.created_at, experiment.status
        history = [Transition(experiment.attempt, None, status, None, now, by)]
        try:
            started = self._launch(experiment, history, (job, entry))
        except StoreUnavailable:  # the intent is committed; the reconciler continues from there
            log.warning(
                "%r is submitted; its row will be updated once the database answers again",
                experiment.experiment_id,
            )
            return Outcome.ACCEPTED, experiment
        if started.status is Status.SUBMITTING:
            return Outcome.ACCEPTED, started
        return Outcome.CREATED, started

    def _launch(
        self,
        experiment: Experiment,
        history: list[Transition],
        rendered: tuple[Job, Entry | None] | None = None,
    ) -> Experiment:
        try:
            job, entry = rendered or self._rendered(experiment)
            self._outputs.check()
            self._archive.create_run_file(experiment, history, entry)
            self._launcher.submit(job)
        except LauncherUnavailable as error:
            return self._delay(experiment, error.diagnosis)
        except (OSError, FolderTaken, OutputMissing) as error:
            return self._delay(experiment, folder_diagnosis(error))
        except LauncherRefused as error:
            failed = Observation(
                experiment.uid, Phase.FAILED, None, datetime.now(UTC), error.diagnosis
            )
            self._recorder.record(experiment, failed)
            raise SubmissionRefused(error.diagnosis) from error
        current = self._recorder.record_submitted(experiment, history)
        if current is None or current.has_superseded(experiment.current_attempt):
            self._launcher.cancel(experiment.job)  # it was cancelled or deleted meanwhile
        if current is None:
            raise UnknownExperiment(experiment.experiment_id)
        return current

    def _rendered(self, experiment: Experiment) -> tuple[Job, Entry | None]:
        """Return the Job of the current attempt, made from the stored entry, and that entry."""
        entry = self._models.entry_of(experiment)
        return self._render(experiment.current_attempt, entry), entry

    def _render(self, attempt: Attempt, entry: Entry | None) -> Job:
        program = entry.program(attempt.size) if entry else Program()
        return self._launcher.render(replace(attempt, program=program))

    def _delay(self, experiment: Experiment, diagnosis: Diagnosis) -> Experiment:
        """Record why a Job cannot be created yet; the reconciler tries again."""
        values = asdict(diagnosis)
        self._recorder.update(experiment, values)
        return replace(experiment, **values)

    def _pinned_by(self, sweep: Sweep) -> str | None:
        """Return the files of the trials of a sweep, as they are stored; None before the first one.

        Trials that train on different data cannot be compared. Each has the files of the ones
        before it: the first, or the last one if that was deleted.
        """
        numbers = {1, sweep.issued} if sweep.issued else set()
        known = self._store.by_ids([trial_id(sweep.sweep_id, number) for number in numbers])
        ours = (one.inputs for one in known if one.sweep_id == sweep.sweep_id)
        return next(filter(None, ours), None)

    def _prepare(
        self,
        experiment_id: str,
        parameters: Parameters,
        entry: Entry | None,
        pinned: str | None = None,
    ) -> tuple[UnknownDataset | InputsUnusable | FolderTaken | OutputUnwritable | None, str | None]:
        """Return why a new experiment cannot start, and the files that it uses if it can.

        This is before its intent is committed for good. `pinned` are the files of its sweep.
        """
        try:
            self._inputs.check(chosen_names(parameters.dataset))
            self._outputs.check()
            if not self._outputs.is_free(experiment_id):
                return FolderTaken(), None
            chosen = (entry.content if entry else "") + (parameters.model_parameters or "")
            self._outputs.check_space(INDENTED * len(chosen.encode()))
            target = target_of(parameters.values, entry)
            return None, pinned or self._data_sets.pin(parameters.dataset, target)
        except (UnknownDataset, InputsUnusable, OutputMissing) as error:
            return error, None
        except OSError as error:
            return OutputUnwritable(error), None


def target_of(values: Mapping[str, Any], entry: Entry | None) -> str | None:
    """Return the column of the labels that a model with these parameters reads; None if none."""
    if entry is None or TARGET not in entry.parameters:
        return None
    return str(values.get(TARGET) or "")


def folder_diagnosis(error: OSError | FolderTaken | OutputMissing) -> Diagnosis:
    """Return why an output folder cannot be used yet."""
    if isinstance(error, FolderTaken):
        return Diagnosis(
            "output_taken",
            "The output folder holds the run.json of another experiment.",
            "Move that folder away. The experiment then starts by itself.",
        )
    if isinstance(error, OutputMissing):
        return output_missing("The experiment then starts by itself.")
    unwritable = OutputUnwritable(error)
    return Diagnosis(
        "output_full" if unwritable.full else "output_unwritable",
        f"The output folder of the experiment cannot be written: {unwritable.why}.",
        "Free space, or correct the permissions of the output folder. The experiment then starts "
        "by itself.",
    )
