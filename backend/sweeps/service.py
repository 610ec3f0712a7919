"""What clients do with sweeps: start, list, pause, resume, cancel, extend, delete.

Requests are committed to the row of the sweep; the driver carries them out.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from backend.domain.catalogue import Entry, Goal
from backend.domain.data_sets.pins import choice_text, chosen_names
from backend.domain.exceptions import FolderTaken, OutputUnwritable
from backend.domain.identifiers import stored_form, trial_id
from backend.domain.sweeps.exceptions import (
    OtherSweep,
    TooFewTrials,
    TrialIdTaken,
    UnknownSweep,
    WrongSweepStatus,
)
from backend.domain.sweeps.sweep import (
    MAX_TRIALS,
    Standing,
    Sweep,
    SweepStatus,
    Trial,
    new_sweep_values,
)
from backend.domain.timestamps import to_text
from backend.experiments.services import Services
from backend.experiments.submission import Outcome, target_of
from backend.files.curve_table import Curve
from backend.files.curves import Budget
from backend.files.sweeps.sweep_files import SweepFiles
from backend.launchers import slots_of
from backend.settings import Settings
from backend.store.related.sweeps import SweepTable
from backend.sweeps import sweep_file
from backend.sweeps.plan import DEFAULT_TRIALS, Plan
from backend.sweeps.samplers import Method
from backend.sweeps.spaces import grid_size

NO_DIAGNOSIS: dict[str, Any] = {"reason": None, "message": None, "remedy": None}
CLUSTER_PARALLEL = 4  # trials at the same time on Kubernetes, unless a sweep says so
FILE_BYTES = 256 * 1024  # more than a sweep.json takes

log = logging.getLogger(__name__)


class Sweeps:
    """All sweeps, and everything that can be done with them.

    Every method raises StoreUnavailable if the database cannot be used. `by`, where a method takes
    it, is the name of the token of the person who asks for it.
    """

    def __init__(self, services: Services, *, parallel: int) -> None:
        """Work on the sweeps of a database.

        Args:
            services: the services of experiments.
            parallel: how many trials a sweep has at the same time unless it says so.
        """
        self.table = SweepTable(services.store.database)
        self.files = SweepFiles(services.outputs)
        self._experiments, self._inputs = services.experiments, services.inputs
        self._outputs, self._models = services.outputs, services.models
        self._data_sets, self._curves = services.data_sets, services.curves
        self._store, self._launcher = services.store, services.launcher
        self._parallel = parallel

    def start(
        self, sweep_id: str, plan: Plan, entry: Entry, *, by: str | None = None
    ) -> tuple[Outcome, Sweep]:
        """Start a sweep, unless it was started before with the same plan.

        Raises:
            OtherSweep: the id is that of a sweep with another plan.
            FolderTaken: its folder holds files, or an experiment has its id.
            TrialIdTaken: an experiment has the id of one of its trials.
            UnknownDataset: there is no such data set.
            InputsUnusable: the files do not fit together, or cannot be read.
            OutputUnwritable: the output folder is missing, or cannot be written.
        """
        sweep_id = self.stored_id(sweep_id)
        if plan.dataset is not None:
            names = map(self._inputs.stored_name, chosen_names(plan.dataset))
            plan = replace(plan, dataset=choice_text(names))
        existing = self.table.get(sweep_id)
        if existing:
            return Outcome.EXISTING, _same(existing, plan)
        trials = plan.trials or DEFAULT_TRIALS
        if plan.method is Method.GRID:
            trials = plan.trials or grid_size(plan.space)
        self._check(sweep_id, plan, entry, trials)
        values = new_sweep_values(
            sweep_id,
            plan.model,
            plan.to_text(),
            trials=trials,
            parallel=plan.parallel or self._parallel,
            by=by,
        )
        row_id = self.table.insert(values, entry=entry.content)
        if row_id is None:  # another process was faster, or the answer to an earlier try was lost
            existing = self.table.get(sweep_id)
            if existing is None:
                raise FolderTaken
            is_ours = existing.uid == values["uid"]
            return Outcome.CREATED if is_ours else Outcome.EXISTING, _same(existing, plan)
        sweep = Sweep.from_columns(values | {"id": row_id})
        problem = self.write_file(sweep)
        return Outcome.ACCEPTED if problem else Outcome.CREATED, sweep

    def stored_id(self, sweep_id: str) -> str:
        """Return the id of the sweep that is called so in one of the forms of Unicode."""
        return stored_form(sweep_id, self.table.get)

    def get(self, sweep_id: str) -> Sweep:
        """Return one sweep.

        Raises:
            UnknownSweep: there is none of that id.
        """
        sweep = self.table.get(sweep_id)
        if sweep is None:
            raise UnknownSweep(sweep_id)
        return sweep

    def page(self, *, limit: int, before: int | None = None) -> list[Sweep]:
        """Return at most `limit` sweeps, newest first, whose keys are lower than `before`."""
        return self.table.page(limit=limit, before=before)

    def standings(self, sweeps: Sequence[Sweep]) -> dict[str, Standing]:
        """Return the counts of outcomes and the best trial of each sweep, by sweep_id."""
        if not sweeps:
            return {}
        counts = self.table.counts([sweep.sweep_id for sweep in sweeps])
        alike = defaultdict[tuple[str, Goal], list[str]](list)
        for sweep in sweeps:
            plan = Plan.from_text(sweep.definition)
            alike[plan.metric, plan.goal].append(sweep.sweep_id)
        best = dict[str, Trial]()
        for (metric, goal), sweep_ids in alike.items():
            best |= self.table.best(sweep_ids, metric, goal)
        return {
            sweep_id: Standing(outcomes, best.get(sweep_id))
            for sweep_id, outcomes in counts.items()
        }

    def trials(self, sweep: Sweep) -> list[Trial]:
        """Return the trials of a sweep, by number."""
        plan = Plan.from_text(sweep.definition)
        return self.table.trials(sweep, plan.metric, plan.goal)

    def curves(
        self, sweep: Sweep, *, first: int, limit: int, max_points: int
    ) -> Iterator[tuple[Trial, Curve]]:
        """Yield trials with their curves, by number; those of the highest numbers if many.

        All together are read up to the budget of one request; see `Curve.complete`.

        Args:
            sweep: of which sweep.
            first: the lowest number.
            limit: the largest number of trials.
            max_points: of each curve, as in `files.curves.Curves.read`.
        """
        budget = Budget()
        chosen = [trial for trial in self.trials(sweep) if trial.number >= first]
        for trial in chosen[-limit:]:
            yield (
                trial,
                self._curves.read(
                    trial.experiment_id,
                    max_points=max_points,
                    ended=not trial.is_live,
                    budget=budget,
                ),
            )

    def pause(self, sweep_id: str, *, by: str | None = None) -> Sweep:
        """Submit no more trials; those that are live go on.

        Raises:
            UnknownSweep, WrongSweepStatus: there is no such sweep, or it has ended.
        """

        def change(sweep: Sweep) -> dict[str, Any] | None:
            if sweep.status is SweepStatus.PAUSED:
                return None
            _check_status(sweep, SweepStatus.RUNNING, remedy="only a running sweep can be paused.")
            return {"status": SweepStatus.PAUSED}

        return self._change(sweep_id, change, "paused", by)

    def resume(self, sweep_id: str, *, by: str | None = None) -> Sweep:
        """Submit trials again, also of a sweep that has failed and has trials left.

        Raises:
            UnknownSweep, WrongSweepStatus: there is no such sweep, or it has ended otherwise.
        """

        def change(sweep: Sweep) -> dict[str, Any] | None:
            if sweep.status is SweepStatus.RUNNING:
                return None
            remedy = "only a paused or failed sweep can be resumed."
            _check_status(sweep, SweepStatus.PAUSED, SweepStatus.FAILED, remedy=remedy)
            if sweep.issued >= sweep.trials and sweep.status is SweepStatus.FAILED:
                raise WrongSweepStatus(
                    sweep.sweep_id, sweep.status, "it has had all its trials: send more with PATCH."
                )
            return _running_again(sweep)

        return self._change(sweep_id, change, "resumed", by)

    def cancel(self, sweep_id: str, *, by: str | None = None) -> Sweep:
        """End a sweep and its live trials. It is no error if it was cancelled before.

        Raises:
            UnknownSweep, WrongSweepStatus: there is no such sweep, or it has ended otherwise.
        """

        def change(sweep: Sweep) -> dict[str, Any] | None:
            if sweep.status is SweepStatus.CANCELLED:
                return None
            allowed = (SweepStatus.RUNNING, SweepStatus.PAUSED)
            _check_status(sweep, *allowed, remedy="it has ended already.")
            return {
                "status": SweepStatus.CANCELLED,
                "is_cancelling": True,
                "finished_at": datetime.now(UTC),
            }

        return self._change(sweep_id, change, "cancelled", by)

    def extend(
        self,
        sweep_id: str,
        *,
        trials: int | None = None,
        parallel: int | None = None,
        by: str | None = None,
    ) -> Sweep:
        """Change how many trials a sweep may have, in all or at the same time.

        One that has succeeded or failed runs again if it gets more trials.

        Raises:
            UnknownSweep, WrongSweepStatus: there is no such sweep, or it was cancelled.
            TooFewTrials: it has had more trials already, or its grid has fewer points.
        """

        def change(sweep: Sweep) -> dict[str, Any] | None:
            if sweep.status is SweepStatus.CANCELLED or sweep.delete_requested_at:
                status = "being deleted" if sweep.delete_requested_at else sweep.status.value
                raise WrongSweepStatus(sweep_id, status, "it cannot be changed.")
            values: dict[str, Any] = {"parallel": parallel} if parallel else {}
            if trials and trials != sweep.trials:
                _check_trials(sweep, trials)
                values["trials"] = trials
                if sweep.is_ended and trials > sweep.issued:
                    values |= _running_again(sweep)
            return values or None

        return self._change(sweep_id, change, "changed", by)

    def delete(self, sweep_id: str, *, outputs: bool, by: str | None = None) -> Sweep:
        """Request the deletion of a sweep that has ended, and of its trials.

        The folders stay unless `outputs` is true. The driver carries it out.

        Raises:
            UnknownSweep: there is no such sweep.
            WrongSweepStatus: it has not ended, or one of its trials has not.
        """

        def change(sweep: Sweep) -> dict[str, Any] | None:
            if sweep.delete_requested_at and (sweep.delete_outputs or not outputs):
                return None
            remedy = "cancel it first, or wait until it has ended."
            is_cancelled = sweep.status is SweepStatus.CANCELLED  # its trials end by themselves
            if not sweep.is_ended or (
                not is_cancelled and any(trial.is_live for trial in self.trials(sweep))
            ):
                status = "still training" if sweep.is_ended else sweep.status.value
                raise WrongSweepStatus(sweep_id, status, remedy)
            return {"delete_requested_at": datetime.now(UTC), "delete_outputs": outputs}

        return self._change(sweep_id, change, "to be deleted", by)

    def write_file(self, sweep: Sweep, *, make_folder: bool = True) -> OSError | FolderTaken | None:
        """Write sweep.json; return why that is not possible, or None if it was written."""
        try:
            content = sweep_file.render(sweep)
            self.files.write(sweep.sweep_id, content, make_folder=make_folder)
        except (OSError, FolderTaken) as error:
            log.warning("sweep.json of %r cannot be written: %r", sweep.sweep_id, error)
            return error
        return None

    def remove_folder(self, sweep: Sweep) -> bool:
        """Remove the folder of a deleted sweep, or mark it; return False if that is impossible."""
        try:
            if sweep.delete_outputs:
                self.files.remove(sweep.sweep_id, sweep.uid)
            else:
                forgotten = {"uid": sweep.uid, "forgotten_at": to_text(datetime.now(UTC))}
                self.files.write_tombstone(sweep.sweep_id, forgotten)
        except OSError as error:
            log.warning("The folder of the sweep %r cannot be removed: %r", sweep.sweep_id, error)
            return False
        return True

    def _change(
        self,
        sweep_id: str,
        change: Callable[[Sweep], dict[str, Any] | None],
        what: str,
        by: str | None,
    ) -> Sweep:
        """Change a sweep by compare-and-set, and its file; `change` returns None for no change."""
        while True:
            sweep = self.get(sweep_id)
            values = change(sweep)
            if values is None:
                return sweep
            if self.table.update(sweep, values):
                break
        log.info("The sweep %r is %s by %s", sweep_id, what, by or "anyone")
        current = self.get(sweep_id)
        self.write_file(current, make_folder=False)
        return current

    def _check(self, sweep_id: str, plan: Plan, entry: Entry, trials: int) -> None:
        """Raise if a new sweep could not start."""
        self._inputs.check(chosen_names(plan.dataset))
        self._outputs.check()
        taken = self.table.others_with_ids_of_trials(sweep_id)
        if taken:
            raise TrialIdTaken(*taken)
        try:
            names = [sweep_id, *(trial_id(sweep_id, number + 1) for number in range(trials))]
            if not all(map(self._outputs.is_free, names)):
                raise FolderTaken
            self._outputs.check_space(FILE_BYTES)
            self._data_sets.pin(plan.dataset, target_of(plan.fixed, entry))
        except OSError as error:
            raise OutputUnwritable(error) from error


def make_sweeps(services: Services, settings: Settings) -> Sweeps:
    """Return the sweeps of these services."""
    return Sweeps(services, parallel=slots_of(settings) or CLUSTER_PARALLEL)


def _same(existing: Sweep, plan: Plan) -> Sweep:
    """Return the existing sweep if it has that plan."""
    if not Plan.from_text(existing.definition).same_as(plan):
        raise OtherSweep(existing.sweep_id)
    return existing


def _check_status(sweep: Sweep, *allowed: SweepStatus, remedy: str) -> None:
    if sweep.delete_requested_at:
        raise WrongSweepStatus(sweep.sweep_id, "being deleted", "it cannot be changed.")
    if sweep.status not in allowed:
        raise WrongSweepStatus(sweep.sweep_id, sweep.status, remedy)


def _running_again(sweep: Sweep) -> dict[str, Any]:
    """Return the columns of a sweep that runs again; earlier failures no longer count."""
    running: dict[str, Any] = {"status": SweepStatus.RUNNING, "finished_at": None}
    return running | NO_DIAGNOSIS | {"counted_from": sweep.issued}


def _check_trials(sweep: Sweep, trials: int) -> None:
    if trials < sweep.issued:
        raise TooFewTrials(f"must be at least {sweep.issued}: so many were submitted already.")
    plan = Plan.from_text(sweep.definition)
    most = grid_size(plan.space) if plan.method is Method.GRID else MAX_TRIALS
    if trials > most:
        raise TooFewTrials(f"must be at most {most}: the grid has no more points.")
