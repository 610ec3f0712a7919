"""Carries sweeps on: submits their trials, stops the hopeless ones, and ends them.

Level-triggered: each step works out from the rows what is missing, so a restart, a second driver or
a missed step does no harm. Which parameters a number gets is decided once, by the transaction that
counts the trial. A driver runs in a thread of the process that reconciles, because a suggestion
takes up to half a second, in which the statuses of experiments must not wait.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from backend.domain.attempt import Diagnosis
from backend.domain.catalogue import Entry, InvalidParameters
from backend.domain.data_sets.exceptions import InputsUnusable
from backend.domain.exceptions import (
    FolderTaken,
    HasEnded,
    NotRetriable,
    OutputMissing,
    OutputNotDeleted,
    OutputUnwritable,
    StillLive,
    StoreUnavailable,
    SubmissionRefused,
    UnknownDataset,
    UnknownExperiment,
)
from backend.domain.parameter import Value
from backend.domain.status import LIVE, Status
from backend.domain.sweeps.exceptions import TrialIdTaken
from backend.domain.sweeps.sweep import Sweep, SweepStatus, Trial
from backend.experiments.reconciling.isolation import Isolation
from backend.experiments.services import Services
from backend.experiments.submission import folder_diagnosis
from backend.launchers.base import LauncherUnavailable
from backend.sweeps.analysis import analysis_of, is_analysis_due
from backend.sweeps.plan import Plan
from backend.sweeps.progress import failures_in_a_row
from backend.sweeps.samplers import suggest
from backend.sweeps.service import NO_DIAGNOSIS, Sweeps
from backend.sweeps.stopping import explain, promoted, should_stop
from backend.sweeps.trial_curves import TrialCurves

POLL_SECONDS = 0.5  # between looks at curves and requests, if no pass of the reconciler wakes it

log = logging.getLogger(__name__)


class Driver:
    """Takes every unfinished sweep one step further at a time.

    Attributes:
        count_failure: called for each unforeseen error in one of them.
    """

    def __init__(self, sweeps: Sweeps, services: Services) -> None:
        """Drive `sweeps`, whose trials are experiments of `services`."""
        self.count_failure: Callable[[], None] = lambda: None
        self._sweeps, self._table = sweeps, sweeps.table
        self._experiments, self._models = services.experiments, services.models
        self._curves, self._summaries = TrialCurves(services.curves), services.summaries
        self._isolation = Isolation(lambda: self.count_failure())
        self._written: dict[str, Sweep] = {}  # by uid, as their files were written last
        self._wake = threading.Event()

    def run(self, stopped: threading.Event) -> None:
        """Make steps until `stopped` is set."""
        while not stopped.is_set():
            try:
                self.step()
            except (StoreUnavailable, LauncherUnavailable) as error:
                log.warning("Sweeps wait: %s", error)
            except Exception:  # a bug must not end the thread: everything is tried again
                log.exception("Sweeps cannot be carried on")
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()

    def wake(self) -> None:
        """Make the next step at once: a trial may have ended."""
        self._wake.set()

    def step(self) -> None:
        """Take every unfinished sweep one step further.

        Raises:
            StoreUnavailable, LauncherUnavailable: they cannot be used now.
        """
        unfinished = self._table.unfinished()
        for sweep in unfinished:
            self._isolation.run(f"sweep {sweep.sweep_id}", partial(self._advance, sweep))
        uids = {sweep.uid for sweep in unfinished}
        self._isolation.retain({f"sweep {sweep.sweep_id}" for sweep in unfinished})
        self._written = {uid: self._written[uid] for uid in self._written.keys() & uids}
        self._curves.retain(uids)

    def _advance(self, sweep: Sweep) -> None:
        if sweep.is_cancelling:
            self._cancel_trials(sweep, self._sweeps.trials(sweep))
        if sweep.delete_requested_at:
            self._delete(sweep)
            return
        if not self._write_file(sweep):
            return
        plan = Plan.from_text(sweep.definition)
        trials = self._trials(sweep, plan)
        if sweep.is_ended:
            return
        self._prune(sweep, plan, trials)
        if sweep.status is SweepStatus.RUNNING:
            try:
                has_ended = self._end(sweep, plan, trials)
            except OutputMissing as error:
                self._wait(sweep, folder_diagnosis(error))
                return
            if not has_ended:
                self._submit(sweep, plan, trials)
        self._analyse(sweep, plan, trials)

    def _write_file(self, sweep: Sweep) -> bool:
        """Write sweep.json if it may be older than the row: a web worker was killed before.

        Without it, a rebuild would lose the sweep, so nothing is submitted.
        """
        known = replace(sweep, issued=0, analysis=None, reason=None, message=None, remedy=None)
        if self._written.get(sweep.uid) != known:
            problem = self._sweeps.write_file(sweep)
            if problem:
                self._wait(sweep, folder_diagnosis(problem))
                return False
            self._written[sweep.uid] = known
        return True

    def _trials(self, sweep: Sweep, plan: Plan) -> list[Trial]:
        """Return the trials with the figures of their curves, by number."""
        read = partial(self._table.trials, sweep, plan.metric, plan.goal)
        return self._curves.trials(sweep.uid, plan, self._table.trials_version(sweep), read)

    def _cancel_trials(self, sweep: Sweep, trials: list[Trial]) -> None:
        for trial in trials:
            if trial.is_live and not trial.cancel_requested_at:
                try:
                    self._experiments.cancel(trial.experiment_id)
                except (UnknownExperiment, HasEnded):
                    continue
        self._table.update(sweep, {"is_cancelling": False})

    def _prune(self, sweep: Sweep, plan: Plan, trials: list[Trial]) -> None:
        """Request the end of hopeless trials. What a person has retried is left alone."""
        curves = self._curves.progress(sweep.uid, plan, trials)
        by_number = {trial.number: trial for trial in trials}
        for number, verdict in should_stop(curves, plan.rule, plan.most_epochs).items():
            trial, because = by_number[number], explain(verdict, plan.rule, plan.metric)
            log.info("%r is stopped: %s", trial.experiment_id, because)
            self._experiments.prune(trial.experiment_id, trial.attempt, because)

    def _promote(self, sweep: Sweep, plan: Plan, trials: list[Trial]) -> bool:
        """Continue pruned trials that were stopped too early; return whether there are any.

        No rule stops them again, as after a retry by a person, so that this comes to an end.
        """
        pruned = {trial.number: trial for trial in trials if trial.is_pruned}
        curves = self._curves.progress(sweep.uid, plan, trials)
        chosen = promoted(curves, pruned.keys(), plan.rule, plan.most_epochs)[: sweep.parallel]
        for number in chosen:
            name = pruned[number].experiment_id
            log.info("%r goes on: it is among the best of its rung by now", name)
            # Another driver may have been faster, or a person may have deleted it.
            with suppress(NotRetriable, SubmissionRefused, UnknownExperiment):
                self._experiments.retry(name, by=sweep.created_by)
        return bool(chosen)

    def _end(self, sweep: Sweep, plan: Plan, trials: list[Trial]) -> bool:
        """End a sweep that has had all its trials, or too many failures; return whether it has.

        Raises:
            OutputMissing: the values of its last trials cannot be read.
        """
        failed = failures_in_a_row(trials, sweep.counted_from)
        values: dict[str, Any] = {"finished_at": datetime.now(UTC)}
        if len(failed) >= plan.max_failed:
            last = failed[0]
            values |= {"status": SweepStatus.FAILED, "reason": last.reason or "trials_failed"}
            values["message"] = (
                f"The last {len(failed)} trials have failed. {last.experiment_id}: "
                f"{last.message or 'it has failed.'}"
            )
            values["remedy"] = f"{last.remedy or ''} Then resume the sweep.".strip()
        elif sweep.issued >= sweep.trials and not any(trial.is_live for trial in trials):
            if plan.promote and self._promote(sweep, plan, trials):
                return False
            has_result = any(trial.status is Status.SUCCEEDED for trial in trials)
            values |= {"status": SweepStatus.SUCCEEDED, **NO_DIAGNOSIS}
            if not has_result:
                values |= asdict(NO_RESULT) | {"status": SweepStatus.FAILED}
        else:
            return False
        # Who waits for the end reads the best value at once.
        self._summaries.finish(
            trial.experiment_id
            for trial in self._sweeps.trials(sweep)
            if not trial.is_live and not trial.is_final
        )
        analysis = analysis_of(plan, trials) or sweep.analysis
        if self._table.update(sweep, values | {"analysis": analysis}):
            current = self._table.get(sweep.sweep_id)
            log.info("The sweep %r has %s", sweep.sweep_id, values["status"])
            if current:
                self._sweeps.write_file(current, make_folder=False)
        return True

    def _submit(self, sweep: Sweep, plan: Plan, trials: list[Trial]) -> None:
        """Submit trials until enough are live, or another process has changed the sweep."""
        live = sum(trial.is_live for trial in trials)
        history = list(trials)
        while live < sweep.parallel and sweep.issued < sweep.trials:
            entry = self._models.entry(plan.model, plan.entry_sha256)
            number = sweep.issued + 1
            values = suggest(
                plan.space, history, plan.seed, number, method=plan.method, goal=plan.goal
            )
            trial = self._submit_one(sweep, plan, entry, {**plan.fixed, **values})
            if trial is None:
                return
            history.append(trial)
            live += trial.is_live
            sweep = replace(sweep, issued=number)

    def _submit_one(
        self, sweep: Sweep, plan: Plan, entry: Entry | None, values: dict[str, Value]
    ) -> Trial | None:
        """Submit the next trial; return None if that is not possible now, and record why."""
        try:
            if entry is None or (plan.size and plan.size not in entry.sizes):
                raise InvalidParameters({})
            parameters = plan.parameters(entry.parse(values))
            submitted = self._experiments.submit_trial(sweep, parameters, entry)
        except InvalidParameters:
            self._wait(sweep, _model_changed(plan.model))
            return None
        except UnknownDataset as error:
            remedy = "Restore it in the input folder. The sweep then goes on by itself."
            self._wait(sweep, Diagnosis("dataset_missing", str(error), remedy))
            return None
        except InputsUnusable as error:
            remedy = "Correct these files. The sweep then goes on by itself."
            self._wait(sweep, Diagnosis("input_unusable", str(error), remedy))
            return None
        except TrialIdTaken as error:
            remedy = "Delete that experiment. The sweep then goes on by itself."
            self._wait(sweep, Diagnosis("trial_id_taken", str(error), remedy))
            return None
        except (FolderTaken, OutputMissing) as error:
            self._wait(sweep, folder_diagnosis(error))
            return None
        except OutputUnwritable as error:
            cause = error.__cause__ or error.__context__
            known = cause if isinstance(cause, OSError) else OSError(str(error))
            self._wait(sweep, folder_diagnosis(known))
            return None
        except (SubmissionRefused, UnknownExperiment):  # it has failed, or was deleted, at once
            return None
        if submitted is None:
            return None
        if sweep.reason:
            self._table.update(sweep, NO_DIAGNOSIS)
        return Trial(
            number=sweep.issued + 1,
            experiment_id=submitted.experiment_id,
            key=submitted.id,
            status=submitted.status if submitted.status in LIVE else Status.RUNNING,
            attempt=submitted.attempt,
            parameters=submitted.parameters.values,
            epochs=submitted.epoch,
        )

    def _wait(self, sweep: Sweep, diagnosis: Diagnosis) -> None:
        """Record why a sweep cannot go on now; the next step tries again."""
        values = asdict(diagnosis)
        if values != {name: getattr(sweep, name) for name in values}:
            log.warning("The sweep %r waits: %s", sweep.sweep_id, diagnosis.message)
            self._table.update(sweep, values)

    def _analyse(self, sweep: Sweep, plan: Plan, trials: list[Trial]) -> None:
        """Store the importance of the parameters, once enough trials have ended since the last."""
        if is_analysis_due(sweep.analysis, trials):
            analysis = analysis_of(plan, trials)
            if analysis:
                self._table.update(sweep, {"analysis": analysis, "updated_at": sweep.updated_at})

    def _delete(self, sweep: Sweep) -> None:
        """Delete the trials of a sweep, its folder and its row, as far as that is possible now."""
        is_complete = True
        for trial in self._sweeps.trials(sweep):
            try:
                self._experiments.delete(trial.experiment_id, outputs=sweep.delete_outputs)
            except UnknownExperiment:
                continue
            except StillLive:  # it is being cancelled
                is_complete = False
            except OutputNotDeleted as error:
                is_complete = False
                log.warning("The sweep %r cannot be deleted yet: %s", sweep.sweep_id, error)
        if is_complete and self._sweeps.remove_folder(sweep):
            self._table.delete(sweep)


NO_RESULT = Diagnosis(
    "no_trial_succeeded",
    "No trial has succeeded.",
    "Look at the trials: each says why it has failed. Then extend the sweep, or start another one.",
)


def _model_changed(model: str) -> Diagnosis:
    return Diagnosis(
        "model_changed",
        f"The entry of the model {model!r} that this sweep was made from is lost, and the "
        "catalogue has none that allows the same parameters.",
        f"Restore the entry of {model!r} in MODELS_DIR. The sweep then goes on by itself.",
    )
