"""Every question that is put to the database, and every change.

A status changes by compare-and-set alone: the update names the status and attempt that it was
decided on, and changes nothing if they are no longer so.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from backend.store import pages, schema
from backend.store.engine import CircuitBreaker, StoreUnavailable, make_engine, transact
from backend.store.pages import ALL, Columns, Cursor, Selection
from backend.store.tables import experiment, transition

PENDING = 1000  # more than there are transactions at once

T = TypeVar("T")
Values = Mapping[str, Any]


class Store:
    """The experiments in the database. Every method raises StoreUnavailable when it is away."""

    def __init__(self, url: URL) -> None:
        """Use the database at `url`; the first question connects."""
        self._url = url
        self._engine = make_engine(url)
        self._reader = self._engine.execution_options(reading=True)
        self._breaker = CircuitBreaker()
        self._is_server = url.get_backend_name() != "sqlite"
        self._prepared = False

    def prepare(self) -> None:
        """Make sure that the schema is the one this version needs; migrate if it is not.

        Every other method does it too, so a server may start before its database.

        Raises:
            StoreUnavailable: the database cannot be used now.
            SchemaError: it holds something that must not be touched.
        """
        if not schema.is_current(self._reader):
            schema.migrate(self._url)
        self._prepared = True

    def close(self) -> None:
        """Close all connections; the next question opens new ones."""
        self._engine.dispose()

    def ping(self) -> None:
        """Ask the database for an answer."""
        self._read(lambda connection: connection.execute(select(1)))

    def insert(self, values: Values, *, actor: str | None = None) -> int | None:
        """Add an experiment, and its first transition, which `actor` made.

        Returns:
            The key of its row; None if its experiment_id is taken.
        """

        def work(connection: Connection) -> int:
            key = connection.execute(insert(experiment), values).inserted_primary_key
            row_id: int = key[0] if key else 0
            first = {"attempt": values["attempt"], "to_status": values["status"]}
            first |= {"experiment": row_id, "at": values["created_at"], "actor": actor}
            connection.execute(insert(transition), first)
            return row_id

        try:
            return self._write(work)
        except IntegrityError:
            return None

    def restore(
        self, runs: Sequence[tuple[Values, Sequence[Values]]], is_wanted: Callable[[Values], bool]
    ) -> list[str]:
        """Add experiments as they once were, each with its history; what is there stays.

        `is_wanted` is asked of each one when nobody else can add it or forget it any more; what
        is not wanted then is not added.

        Returns:
            The experiment_ids that were added.
        """

        def work(connection: Connection) -> list[str]:
            ids = [values["experiment_id"] for values, _ in runs]
            query = select(experiment.c.experiment_id).where(experiment.c.experiment_id.in_(ids))
            there, added = set(connection.scalars(query)), []
            for values, steps in runs:
                if values["experiment_id"] in there:
                    continue
                key = connection.execute(insert(experiment).values(**values)).inserted_primary_key
                row_id = key[0] if key else None
                if not is_wanted(values):
                    connection.execute(delete(experiment).where(experiment.c.id == row_id))
                    continue
                connection.execute(
                    insert(transition), [{**step, "experiment": row_id} for step in steps]
                )
                added.append(values["experiment_id"])
            return added

        for _ in runs:
            try:
                return self._write(work)
            except IntegrityError:  # somebody has just added one of them: now it is there
                continue
        return self._write(work) if runs else []

    def delete(self, row_id: int, *, attempt: int, status: str) -> bool:
        """Remove an experiment and its history.

        Returns:
            False if it is not in that status, in that attempt, any more: nothing changed.
        """
        statement = delete(experiment).where(_EXPECTED)
        expected = _expected(row_id, status, attempt)
        return self._write(lambda connection: connection.execute(statement, expected).rowcount == 1)

    def get(self, experiment_id: str) -> Row[Any] | None:
        """Find one experiment by its id."""
        query = select(experiment).where(experiment.c.experiment_id == experiment_id)
        return self._read(lambda connection: connection.execute(query).one_or_none())

    def with_history(self, experiment_id: str) -> tuple[Values, list[Values]] | None:
        """Find one experiment and its transitions, oldest first, both as of one moment."""
        query = _WITH_HISTORY.where(experiment.c.experiment_id == experiment_id)
        rows = self._read(lambda connection: connection.execute(query).all())
        if not rows:
            return None
        columns, width = experiment.c.keys(), len(experiment.c)
        steps = [dict(zip(_STEP.keys(), row[width:], strict=True)) for row in rows]
        return dict(zip(columns, rows[0], strict=False)), [s for s in steps if s["to_status"]]

    def last_change(self, row_id: int) -> Row[int, str, datetime] | None:
        """Give an experiment's attempt, status and `updated_at`: every change gives it others."""
        query = _LAST_CHANGE.where(experiment.c.id == row_id)
        return self._read(lambda connection: connection.execute(query).one_or_none())

    def by_ids(self, experiment_ids: Sequence[str]) -> Sequence[Row[Any]]:
        """Find experiments by their ids, in no order."""
        query = select(experiment).where(experiment.c.experiment_id.in_(experiment_ids))
        return self._read(lambda connection: connection.execute(query).all())

    def last_changed(self, number: int) -> Sequence[Row[Any]]:
        """List the `number` experiments that were changed last."""
        query = select(experiment).order_by(experiment.c.updated_at.desc()).limit(number)
        return self._read(lambda connection: connection.execute(query).all())

    def history(self, experiment_id: str) -> Sequence[Row[Any]]:
        """List the transitions of one experiment, oldest first."""
        query = (
            select(transition)
            .join(experiment, experiment.c.id == transition.c.experiment)
            .where(experiment.c.experiment_id == experiment_id)
            .order_by(transition.c.id)
        )
        return self._read(lambda connection: connection.execute(query).all())

    def page(
        self,
        *,
        limit: int,
        after: Cursor | None = None,
        selection: Selection = ALL,
        columns: Columns = Columns.WHOLE,
    ) -> Sequence[Row[Any]]:
        """List at most `limit` experiments that follow `after`, newest first unless told."""
        query = pages.page(selection, goes_on=after is not None, columns=columns)
        values = pages.parameters(limit, after)
        return self._read(lambda connection: connection.execute(query, values).all())

    def counts(self) -> dict[str, int]:
        """Count the experiments of each status that has any."""
        query = select(experiment.c.status, func.count()).group_by(experiment.c.status)
        rows = self._read(lambda connection: connection.execute(query).all())
        return {row[0]: row[1] for row in rows}

    def in_status(self, statuses: Sequence[str]) -> Sequence[Row[Any]]:
        """List every experiment that is in one of the statuses, oldest first."""
        query = (
            select(experiment).where(experiment.c.status.in_(statuses)).order_by(experiment.c.id)
        )
        return self._read(lambda connection: connection.execute(query).all())

    def advance(
        self,
        row_id: int,
        *,
        attempt: int,
        path: Sequence[str],
        times: Sequence[datetime],
        values: Values,
        at: datetime,
    ) -> bool:
        """Take an experiment along `path`, a list of statuses, from the first to the last.

        It is changed `at` that time. Each step becomes a row of its history, at its own one of
        `times`; `values` are further columns to set. Whoever asked for its end is the one who
        cancelled it.

        Returns:
            False if it is not in the first status, in that attempt, any more: nothing changed.
        """
        changes = {**values, "status": path[-1], "updated_at": at}
        changes |= _expected(row_id, path[0], attempt)

        def work(connection: Connection) -> bool:
            if connection.execute(_UPDATE, changes).rowcount != 1:
                return False
            actor = None
            if path[-1] == "cancelled":
                asked = select(experiment.c.cancel_requested_by).where(experiment.c.id == row_id)
                actor = connection.execute(asked).scalar()
            steps = [
                {
                    "experiment": row_id,
                    "attempt": attempt,
                    "from_status": old,
                    "to_status": new,
                    "reason": values.get("reason") if new == path[-1] else None,
                    "at": at,
                    "actor": actor if new == path[-1] else None,
                }
                for old, new, at in zip(path[:-1], path[1:], times, strict=True)
            ]
            connection.execute(insert(transition), steps)
            return True

        return self._write(work)

    def update(self, row_id: int, *, attempt: int, status: str, values: Values) -> bool:
        """Set further columns (a diagnosis, say) if the experiment still is in that status."""
        changes = {**values, "updated_at": datetime.now(UTC)}
        changes |= _expected(row_id, status, attempt)
        return self._write(lambda connection: connection.execute(_UPDATE, changes).rowcount == 1)

    def retry(
        self,
        row_id: int,
        *,
        attempt: int,
        status: str,
        job: str,
        following: int | None = None,
        reason: str = "retry",
        actor: str | None = None,
    ) -> bool:
        """Begin the next attempt of an experiment that has ended, whose Job is to be `job`.

        `following` is that attempt, if it is not the next one.

        Returns:
            False if it is not in that status, in that attempt, any more: nothing changed.
        """
        now = datetime.now(UTC)
        following = following or attempt + 1
        cleared = dict.fromkeys(
            (
                *("reason", "message", "remedy", "started_at", "finished_at"),
                *("cancel_requested_at", "cancel_requested_by"),
            )
        )
        changes = {"status": "submitting", "attempt": following, "job": job, "updated_at": now}
        changes |= _expected(row_id, status, attempt)
        step = {
            "experiment": row_id,
            "attempt": following,
            "from_status": status,
            "to_status": "submitting",
            "reason": reason,
            "at": now,
            "actor": actor,
        }

        def work(connection: Connection) -> bool:
            if connection.execute(_UPDATE, cleared | changes).rowcount != 1:
                return False
            connection.execute(insert(transition), [step])
            return True

        return self._write(work)

    def by_job(self, jobs: Sequence[str]) -> Sequence[Row[Any]]:
        """List the experiments whose current attempt has one of these Jobs."""
        query = select(experiment).where(experiment.c.job.in_(jobs))
        return self._read(lambda connection: connection.execute(query).all())

    def unsettled(self, before: datetime) -> Sequence[Row[Any]]:
        """List experiments (their `job`) that are to be submitted or, while live, cancelled.

        Those to be submitted only if they have not changed since `before`.
        """
        submitting = and_(experiment.c.status == "submitting", experiment.c.updated_at < before)
        cancelling = and_(
            experiment.c.status.in_(("queued", "running")),
            experiment.c.cancel_requested_at.is_not(None),
        )
        query = select(experiment.c.job).where(or_(submitting, cancelling))
        return self._read(lambda connection: connection.execute(query).all())

    def last_transition(self) -> int:
        """Give the id of the last transition, 0 if there is none; later ones have a higher one."""
        query = select(func.max(transition.c.id))
        last = self._read(lambda connection: connection.execute(query).scalar()) or 0
        if self._is_server:
            self._settled(transition.c.id.between(last - PENDING, last))
        return last

    def transitions(self, after: int, limit: int) -> Sequence[Row[Any]]:
        """List the transitions of all experiments from the one that follows id `after`.

        None of a lower id than those given is still to come.
        """
        query = _transitions(transition.c.id > after).limit(limit)
        rows = self._read(lambda connection: connection.execute(query).all())
        if self._is_server and rows and rows[-1].id - after > len(rows):
            # Ids are missing: of transactions that are not committed yet, or never will be.
            return self._settled(and_(transition.c.id > after, transition.c.id <= rows[-1].id))
        return rows

    def _settled(self, chosen: ColumnElement[bool]) -> Sequence[Row[Any]]:
        """List transitions once every transaction that is adding one of them has ended.

        A locking read waits for them; "read committed" lets others go on adding (MySQL's manual,
        InnoDB locking).
        """
        engine = self._engine.execution_options(read_committed=True)
        query = _transitions(chosen).with_for_update(read=True, of=transition)
        # Not through the circuit breaker: a database that lets us wait here is not away.
        return transact(engine, lambda connection: connection.execute(query).all())

    def _read(self, work: Callable[[Connection], T]) -> T:
        return self._transact(self._reader, work)

    def _write(self, work: Callable[[Connection], T]) -> T:
        return self._transact(self._engine, work)

    def _transact(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        with self._breaker.call():
            if not self._prepared:
                self.prepare()
            try:
                return transact(engine, work)
            except StoreUnavailable:
                self._prepared = False  # what answers next may be another one, without our tables
                raise


# Its parameters have names that no column has.
_EXPECTED = and_(
    experiment.c.id == bindparam("expected_id"),
    experiment.c.status == bindparam("expected_status"),
    experiment.c.attempt == bindparam("expected_attempt"),
)
_UPDATE = update(experiment).where(_EXPECTED)
_LAST_CHANGE = select(experiment.c.attempt, experiment.c.status, experiment.c.updated_at)
_STEP = transition.c["attempt", "from_status", "to_status", "reason", "at", "actor"]
_WITH_HISTORY = (
    select(experiment, *_STEP)
    .outerjoin(transition, transition.c.experiment == experiment.c.id)
    .order_by(transition.c.id)
)


def _expected(row_id: int, status: str, attempt: int) -> dict[str, Any]:
    """Give the parameters of _EXPECTED."""
    return {"expected_id": row_id, "expected_status": status, "expected_attempt": attempt}


def _transitions(chosen: ColumnElement[bool]) -> Select[Any]:
    return (
        select(transition, experiment.c.experiment_id)
        .join(experiment, experiment.c.id == transition.c.experiment)
        .where(chosen)
        .order_by(transition.c.id)
    )
