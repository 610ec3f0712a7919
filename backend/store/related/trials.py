"""The trials of sweeps in the database. Only those that have changed are read again.

A request for a sweep of 1,000 trials would otherwise spend 40 ms on rows that it has read before.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import String, bindparam, func, select, type_coerce

from backend.domain.catalogue import Goal
from backend.domain.metric_summary import MetricSummary
from backend.domain.status import LIVE, Status
from backend.domain.sweeps.sweep import Trial
from backend.store.database import Database
from backend.store.tables import experiment, metric_summaries
from backend.store.tables import metric as metric_rows

MAX_KEPT = 10_000  # trials of all sweeps together
KEYS_AT_ONCE = 100  # with more of them, the whole sweep is read

_VERSIONS = (
    select(
        experiment.c.id,
        experiment.c.status,
        experiment.c.attempt,
        # As the driver returns it: a conversion would take as long as all the rest.
        type_coerce(experiment.c.updated_at, String),
        metric_summaries.c.version,
        metric_summaries.c.is_final,
    )
    .outerjoin(metric_summaries, metric_summaries.c.experiment == experiment.c.id)
    .where(experiment.c.sweep_id == bindparam("of"))
    .order_by(experiment.c.trial)
)
_SELECT = (
    select(
        experiment.c.trial,
        experiment.c.experiment_id,
        experiment.c.id,
        experiment.c.status,
        experiment.c.attempt,
        experiment.c.learning_rate,
        experiment.c.epoch,
        experiment.c.model_parameters,
        experiment.c.reason,
        experiment.c.message,
        experiment.c.remedy,
        experiment.c.started_at,
        experiment.c.finished_at,
        experiment.c.cancel_requested_at,
        metric_summaries.c.attempt.label("summary_attempt"),
        metric_summaries.c.is_final,
        metric_summaries.c.content,
    )
    .outerjoin(metric_summaries, metric_summaries.c.experiment == experiment.c.id)
    .order_by(experiment.c.trial)
)
_TRIALS = _SELECT.where(experiment.c.sweep_id == bindparam("of"))

_PLACE = "place"  # of a trial among those of its sweep, by value


class TrialRows:
    """Reads the trials of sweeps. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Mapping[Any, Trial]] = OrderedDict()  # by the uid of the sweep

    def read(self, uid: str, sweep_id: str, metric: str, goal: Goal) -> list[Trial]:
        """Return the trials of a sweep by number, with their stored figures of the objective.

        Args:
            uid: of the sweep; its objective never changes.
            sweep_id: of the sweep.
            metric: of the objective.
            goal: which values of it are good.
        """
        versions = self._rows(_VERSIONS, of=sweep_id)
        with self._lock:
            kept = self._kept.get(uid, {})
        changed = [version[0] for version in versions if version not in kept]
        if changed:
            few = _TRIALS.where(experiment.c.id.in_(changed))
            rows = self._rows(few if len(changed) <= KEYS_AT_ONCE else _TRIALS, of=sweep_id)
            new = {row[2]: _to_trial(row, metric, goal) for row in rows}
            # A row may have changed since its version was read: then it is read again next time.
            found = {version: kept.get(version) or new.get(version[0]) for version in versions}
            kept = {version: trial for version, trial in found.items() if trial}
        elif len(kept) > len(versions):
            kept = {version: kept[version] for version in versions}
        self._keep(uid, kept)
        return list(kept.values())

    def best(self, sweep_ids: Sequence[str], metric: str, goal: Goal) -> dict[str, Trial]:
        """Return the best trial of each sweep that has one, by sweep_id, in two queries.

        Args:
            sweep_ids: sweeps with the same objective.
            metric: of the objective.
            goal: which values of it are good.
        """
        value = metric_rows.c.min if goal is Goal.MINIMIZE else metric_rows.c.max.desc()
        place = func.row_number().over(
            partition_by=experiment.c.sweep_id, order_by=(value, experiment.c.trial)
        )
        # The table of metrics has no attempts; it is written with that of summaries.
        ranked = (
            select(experiment.c.id, experiment.c.sweep_id, place.label(_PLACE))
            .join(metric_summaries, metric_summaries.c.experiment == experiment.c.id)
            .join(metric_rows, metric_rows.c.experiment == experiment.c.id)
            .where(
                experiment.c.sweep_id.in_(sweep_ids),
                experiment.c.status != Status.FAILED,
                metric_summaries.c.attempt == experiment.c.attempt,
                metric_rows.c.name == metric,
            )
            .subquery()
        )
        winners = select(ranked.c.id, ranked.c.sweep_id).where(ranked.c[_PLACE] == 1)
        sweeps = {row[0]: row[1] for row in self._rows(winners)}
        rows = self._rows(_SELECT.where(experiment.c.id.in_(list(sweeps)))) if sweeps else ()
        found = {sweeps[row[2]]: _to_trial(row, metric, goal) for row in rows}
        return {sweep_id: trial for sweep_id, trial in found.items() if trial.is_result}

    def _keep(self, uid: str, trials: Mapping[Any, Trial]) -> None:
        with self._lock:
            self._kept[uid] = trials
            self._kept.move_to_end(uid)
            size = sum(map(len, self._kept.values()))
            while size > MAX_KEPT and len(self._kept) > 1:
                size -= len(self._kept.popitem(last=False)[1])

    def _rows(self, query: Any, **values: Any) -> Sequence[Any]:
        return self._database.read(
            lambda connection: [tuple(row) for row in connection.execute(query, values)]
        )


def _to_trial(row: Any, metric: str, goal: Goal) -> Trial:
    """Return the trial of a row of _SELECT. Reading it by name would take twice as long."""
    number, experiment_id, key, status, attempt, learning_rate, epoch, others, *rest = row
    reason, message, remedy, started_at, finished_at, cancel_requested_at, *summary = rest
    summary_attempt, is_final, content = summary
    value, value_epoch, last_epoch = None, None, None
    is_current = content is not None and summary_attempt == attempt
    if is_current and (found := orjson.loads(content).get(metric)):
        value, value_epoch, last_epoch = figures(MetricSummary(**found), goal)
    chosen = {"learning_rate": learning_rate, "epoch": epoch}
    return Trial(
        number,
        experiment_id,
        key,
        Status(status),
        attempt,
        chosen | orjson.loads(others) if others else chosen,
        epoch,
        reason,
        message,
        remedy,
        started_at,
        finished_at,
        cancel_requested_at,
        value,
        value_epoch,
        last_epoch,
        is_current and bool(is_final) and status not in LIVE,
    )


def figures(summary: MetricSummary, goal: Goal) -> tuple[float, float, float]:
    """Return the best value of an objective, its first epoch, and the last epoch."""
    if goal is Goal.MINIMIZE:
        return summary.min, summary.min_epoch, summary.last_epoch
    return summary.max, summary.max_epoch, summary.last_epoch
