"""The sweeps in the database, and the trials that they consist of."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import (
    Connection,
    Row,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from backend.domain.catalogue import Goal
from backend.domain.identifiers import trial_id, trial_number
from backend.domain.status import Status
from backend.domain.sweeps.sweep import MAX_TRIALS, PRUNED, Sweep, SweepStatus, Trial
from backend.store.database import Database
from backend.store.related.trials import TrialRows
from backend.store.tables import experiment, model_entries, sweep

Values = Mapping[str, Any]  # column values by name

_COLUMNS = [field.name for field in fields(Sweep)]  # the table has them in the same order
_SELECT = select(sweep)
_EXPECTED = and_(
    sweep.c.id == bindparam("expected_id"),
    sweep.c.uid == bindparam("expected_uid"),
    sweep.c.status == bindparam("expected_status"),
)
_VERSION = (
    select(experiment.c.status, func.count(), func.max(experiment.c.updated_at))
    .where(experiment.c.sweep_id == bindparam("of"))
    .group_by(experiment.c.status)
)
_INSERT_ENTRY = (  # unless it is there
    insert(model_entries)
    .prefix_with("IGNORE", dialect="mysql")
    .prefix_with("OR IGNORE", dialect="sqlite")
)


class SweepTable:
    """Reads and changes sweeps. Every method raises StoreUnavailable, as those of Store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._trials = TrialRows(database)

    def get(self, sweep_id: str) -> Sweep | None:
        """Return one sweep, or None if there is none of that id."""
        query = _SELECT.where(sweep.c.sweep_id == sweep_id)
        row = self._database.read(lambda connection: connection.execute(query).one_or_none())
        return _to_sweep(row) if row else None

    def page(self, *, limit: int, before: int | None = None) -> list[Sweep]:
        """Return at most `limit` sweeps, newest first, whose keys are lower than `before`."""
        query = _SELECT.order_by(sweep.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(sweep.c.id < before)
        return self._all(query)

    def unfinished(self) -> list[Sweep]:
        """Return every sweep that has something left to do, oldest first."""
        left = or_(
            sweep.c.status.in_((SweepStatus.RUNNING, SweepStatus.PAUSED)),
            sweep.c.is_cancelling,
            sweep.c.delete_requested_at.is_not(None),
        )
        return self._all(_SELECT.where(left).order_by(sweep.c.id))

    def changed_since(self, at: datetime) -> list[Sweep]:
        """Return the sweeps that were changed at `at` or later, the one changed first at first."""
        return self._all(_SELECT.where(sweep.c.updated_at >= at).order_by(sweep.c.updated_at))

    def last_change(self) -> datetime | None:
        """Return when a sweep was changed last, or None if there is none."""
        query = select(func.max(sweep.c.updated_at))
        last: datetime | None = self._database.read(
            lambda connection: connection.execute(query).scalar()
        )
        return last

    def insert(self, values: Values, *, entry: str) -> int | None:
        """Add a sweep, unless its id is that of a sweep or an experiment, and its model's entry.

        Returns:
            The key of its row; None if its id is taken.
        """
        taken = select(experiment.c.id).where(experiment.c.experiment_id == values["sweep_id"])
        sha256 = orjson.loads(values["definition"])["entry_sha256"]

        def work(connection: Connection) -> int | None:
            if connection.execute(taken).first():
                return None
            connection.execute(_INSERT_ENTRY, {"sha256": sha256, "content": entry})
            key = connection.execute(insert(sweep), values).inserted_primary_key
            return int(key[0]) if key else None

        try:
            return self._database.write(work)
        except IntegrityError:
            return None

    def restore(self, values: Values) -> bool:
        """Add a sweep as it was; return False if there is one of its id.

        Trials that the database knows by now count as issued.
        """
        last = select(func.max(experiment.c.trial)).where(
            experiment.c.sweep_id == values["sweep_id"]
        )

        def work(connection: Connection) -> bool:
            issued = max(connection.execute(last).scalar() or 0, values["issued"])
            connection.execute(insert(sweep), {**values, "issued": issued})
            return True

        try:
            return self._database.write(work)
        except IntegrityError:
            return False

    def update(self, known: Sweep, values: Values) -> bool:
        """Set columns of a sweep.

        Returns:
            False if its status has changed since it was read; nothing was changed then.
        """
        changes = {"updated_at": datetime.now(UTC), **values} | {
            "expected_id": known.id,
            "expected_uid": known.uid,
            "expected_status": known.status,
        }
        query = update(sweep).where(_EXPECTED)
        return self._database.write(
            lambda connection: connection.execute(query, changes).rowcount == 1
        )

    def delete(self, known: Sweep) -> None:
        """Remove the row of a sweep."""
        query = delete(sweep).where(sweep.c.id == known.id, sweep.c.uid == known.uid)
        self._database.write(lambda connection: connection.execute(query))

    def counts(self, sweep_ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """Return how many trials of these sweeps have each status, or were pruned."""
        is_pruned = and_(experiment.c.status == Status.CANCELLED, experiment.c.reason == PRUNED)
        outcome = case((is_pruned, PRUNED), else_=experiment.c.status)
        query = (
            select(experiment.c.sweep_id, outcome, func.count())
            .where(experiment.c.sweep_id.in_(sweep_ids))
            .group_by(experiment.c.sweep_id, outcome)
        )
        found: dict[str, dict[str, int]] = {sweep_id: {} for sweep_id in sweep_ids}
        for sweep_id, name, count in self._database.read(
            lambda connection: connection.execute(query).all()
        ):
            found[sweep_id][name] = count
        return found

    def best(self, sweep_ids: Sequence[str], metric: str, goal: Goal) -> dict[str, Trial]:
        """Return the best trial of each of these sweeps that has one; they share an objective."""
        return self._trials.best(sweep_ids, metric, goal)

    def trials(self, known: Sweep, metric: str, goal: Goal) -> list[Trial]:
        """Return the trials of a sweep by number, with their stored figures of the objective."""
        return self._trials.read(known.uid, known.sweep_id, metric, goal)

    def trials_version(self, known: Sweep) -> frozenset[tuple[Any, ...]]:
        """Return what changes whenever a trial does; much cheaper than the trials."""
        rows = self._database.read(
            lambda connection: connection.execute(_VERSION, {"of": known.sweep_id}).all()
        )
        return frozenset(tuple(row) for row in rows)

    def others_with_ids_of_trials(self, sweep_id: str) -> list[str]:
        """Return ids that trials of a sweep would have, but that other experiments have."""
        column = experiment.c.experiment_id
        # Between the first and the last id of a trial there are few others.
        query = select(column).where(
            column >= trial_id(sweep_id, 1),
            column <= trial_id(sweep_id, MAX_TRIALS),
            or_(experiment.c.sweep_id.is_(None), experiment.c.sweep_id != sweep_id),
        )
        ids: Sequence[str] = self._database.read(
            lambda connection: connection.scalars(query.limit(2 * MAX_TRIALS)).all()
        )
        return [one for one in ids if trial_number(sweep_id, one)]

    def _all(self, query: Any) -> list[Sweep]:
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return [_to_sweep(row) for row in rows]


def _to_sweep(row: Row[Any]) -> Sweep:
    return Sweep.from_columns(dict(zip(_COLUMNS, row, strict=True)))
