"""What the curves of trials say: the best value of each, and how each has done up to its marks.

Everything here is read from files and rows again whenever it may have changed; what is kept in
memory only saves that work.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.domain.sweeps.sweep import Trial
from backend.files.curves import Curves
from backend.store.related.trials import figures
from backend.sweeps.plan import Plan
from backend.sweeps.stopping import Progress, best_at

ENDED = "ended"  # the version of a curve that was read after the end of its trial
MAX_READS = 8  # of one curve at a time; each one reads up to the budget of a request

Values = tuple[float | None, ...]


@dataclass
class _Known:
    """What is kept of one sweep.

    Attributes:
        version: of its rows.
        ended: the trials that have ended, with their figures, by key and attempt.
        values: the values at the marks, by key and attempt, with the version of the file.
    """

    version: Any = None
    trials: list[Trial] = field(default_factory=list)
    ended: dict[tuple[int, int], Trial] = field(default_factory=dict)
    values: dict[tuple[int, int], tuple[str, Values]] = field(default_factory=dict)


class TrialCurves:
    """Reads the curves of the trials of all sweeps."""

    def __init__(self, curves: Curves) -> None:
        self._curves = curves
        self._known: dict[str, _Known] = {}  # by the uid of the sweep

    def retain(self, uids: Collection[str]) -> None:
        """Drop what is kept of all other sweeps."""
        self._known = {uid: self._known[uid] for uid in self._known.keys() & set(uids)}

    def trials(
        self, uid: str, plan: Plan, version: object, read: Callable[[], list[Trial]]
    ) -> list[Trial]:
        """Return the trials of a sweep with their figures, by number.

        The stored figures of a trial that has just ended may not be those of its end yet.

        Args:
            uid: of the sweep.
            plan: of the sweep.
            version: changes whenever the rows do.
            read: reads the rows.
        """
        known = self._known.setdefault(uid, _Known())
        if known.version != version:
            trials = [self._with_figures(known, plan, trial) for trial in read()]
            known.trials, known.version = trials, version
            keys = {(trial.key, trial.attempt) for trial in trials}
            known.ended = {key: known.ended[key] for key in known.ended.keys() & keys}
            known.values = {key: known.values[key] for key in known.values.keys() & keys}
        return known.trials

    def progress(self, uid: str, plan: Plan, trials: Sequence[Trial]) -> dict[int, Progress]:
        """Return how each trial has done up to the marks of the stop rule, by number."""
        known = self._known.setdefault(uid, _Known())
        marks = plan.rule.marks(plan.most_epochs)
        if not marks:
            return {}
        return {
            trial.number: Progress(
                self._values(known, plan, trial, marks),
                may_stop=trial.is_live and trial.attempt == 1 and not trial.cancel_requested_at,
            )
            for trial in trials
        }

    def _with_figures(self, known: _Known, plan: Plan, trial: Trial) -> Trial:
        if trial.is_live or trial.is_final:
            return trial
        key = trial.key, trial.attempt
        if key not in known.ended:
            summaries, _ = self._curves.summaries(trial.experiment_id, ended=True)
            found = summaries.get(plan.metric)
            if found:
                value, value_epoch, last_epoch = figures(found, plan.goal)
                trial = trial._replace(value=value, value_epoch=value_epoch, last_epoch=last_epoch)
            known.ended[key] = trial._replace(is_final=True)
        return known.ended[key]

    def _values(self, known: _Known, plan: Plan, trial: Trial, marks: Sequence[int]) -> Values:
        key = trial.key, trial.attempt
        before = known.values.get(key)
        version = self._curves.version(trial.experiment_id) if trial.is_live else ENDED
        if before and before[0] == version:
            return before[1]
        for _ in range(MAX_READS):
            curve = self._curves.read(trial.experiment_id, ended=not trial.is_live)
            if curve.complete:
                break
        series = curve.series.get(plan.metric, [None] * len(curve.epochs))
        values = best_at(curve.epochs, series, marks, plan.goal)
        known.values[key] = version, values
        return values
