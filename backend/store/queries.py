"""The queries and changes of experiments.

A status only changes by compare-and-set: the update names the status and the attempt that the
decision was based on, and changes nothing if they are no longer current.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
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

from backend.domain.experiment import Experiment, Transition
from backend.domain.selection import ALL, Cursor, Listing, Selection
from backend.store import pages
from backend.store.database import Database
from backend.store.engine import ANSWER_SECONDS
from backend.store.pages import Columns
from backend.store.tables import experiment, transition
from backend.store.transitions import TRANSITION_COLUMNS, TransitionLog, history_of

Values = Mapping[str, Any]  # column values by name


class Store:
    """The experiments in the database.

    Every method raises StoreUnavailable if the database cannot be used, and SchemaError if its
    tables must not be changed.

    Attributes:
        database: where they are stored.
        transitions: the changes of their statuses.
    """

    def __init__(self, url: URL, *, answer_seconds: int = ANSWER_SECONDS) -> None:
        """Prepare to use the database at `url`; the first query connects.

        Args:
            url: the database.
            answer_seconds: how long a database server may take for one statement.
        """
        self.database = Database(url, answer_seconds=answer_seconds)
        self.transitions = TransitionLog(self.database)

    def prepare(self) -> None:
        """Migrate the schema if needed.

        Every other method does so too, so a server may start before its database.
        """
        self.database.prepare()

    def close(self) -> None:
        """Close all connections; the next query opens new ones."""
        self.database.close()

    def ping(self) -> None:
        """Check that the database answers."""
        self.database.ping()

    def insert(self, values: Values, *, actor: str | None = None) -> int | None:
        """Add an experiment, and its first transition, caused by `actor`.

        Returns:
            The key of its row; None if its experiment_id is taken.
        """

        def work(connection: Connection) -> int:
            row_id = _insert(connection, values)
            first = {
                "experiment": row_id,
                "attempt": values["attempt"],
                "to_status": values["status"],
                "at": values["created_at"],
                "actor": actor,
            }
            connection.execute(insert(transition), first)
            return row_id

        try:
            return self.database.write(work)
        except IntegrityError:
            return None

    def restore(
        self,
        experiments: Sequence[tuple[Values, Sequence[Transition]]],
        is_wanted: Callable[[Values], bool],
    ) -> list[str]:
        """Add experiments as they were, with their histories; existing ones stay as they are.

        `is_wanted` is called for each one after its row was added, when no other process can add
        or delete it; if it returns False, the row is removed again.

        Returns:
            The experiment_ids that were added.
        """
        ids = [values["experiment_id"] for values, _ in experiments]
        query = select(experiment.c.experiment_id).where(experiment.c.experiment_id.in_(ids))

        def work(connection: Connection) -> list[str]:
            existing, added = set(connection.scalars(query)), []
            for values, history in experiments:
                if values["experiment_id"] in existing:
                    continue
                row_id = _insert(connection, values)
                if not is_wanted(values):
                    connection.execute(delete(experiment).where(experiment.c.id == row_id))
                    continue
                steps = [vars(step) | {"experiment": row_id} for step in history]
                connection.execute(insert(transition), steps)
                added.append(values["experiment_id"])
            return added

        for _ in experiments:
            try:
                return self.database.write(work)
            except IntegrityError:  # another process has just added one of them: it exists now
                continue
        return self.database.write(work) if experiments else []

    def delete(self, row_id: int, *, attempt: int, status: str) -> bool:
        """Remove an experiment and its history.

        Returns:
            False if it is no longer in that status and attempt; nothing was changed then.
        """
        expected = _expected(row_id, status, attempt)
        return self.database.write(
            lambda connection: connection.execute(_DELETE, expected).rowcount == 1
        )

    def get(self, experiment_id: str) -> Experiment | None:
        """Return one experiment, or None if there is none of that id."""
        found = self._experiments(_SELECT.where(experiment.c.experiment_id == experiment_id))
        return found[0] if found else None

    def with_history(self, experiment_id: str) -> tuple[Experiment, list[Transition]] | None:
        """Return one experiment and its transitions, oldest first, both as of one moment."""
        query = _WITH_HISTORY.where(experiment.c.experiment_id == experiment_id)
        rows = self.database.read(lambda connection: connection.execute(query).all())
        if not rows:
            return None
        width = len(_COLUMNS)
        history = [Transition(*row[width:]) for row in rows]
        return _to_experiment(rows[0]), [step for step in history if step.to_status]

    def history(self, experiment_id: str) -> list[Transition]:
        """Return the transitions of one experiment, oldest first."""
        query = history_of(experiment_id)
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return [Transition(*row) for row in rows]

    def is_unchanged(self, known: Experiment) -> bool:
        """Return whether the database still holds `known`: every change sets `updated_at`."""
        query = _LAST_CHANGE.where(experiment.c.id == known.id)
        row = self.database.read(lambda connection: connection.execute(query).one_or_none())
        return row == (known.attempt, known.status, known.updated_at)

    def by_ids(self, experiment_ids: Sequence[str]) -> list[Experiment]:
        """Return the experiments of these ids that exist, in no particular order."""
        return self._experiments(_SELECT.where(experiment.c.experiment_id.in_(experiment_ids)))

    def by_jobs(self, jobs: Sequence[str]) -> list[Experiment]:
        """Return the experiments whose current attempt has one of these Jobs."""
        return self._experiments(_SELECT.where(experiment.c.job.in_(jobs)))

    def last_changed(self, number: int) -> list[Experiment]:
        """Return the `number` experiments that were changed last."""
        return self._experiments(_SELECT.order_by(experiment.c.updated_at.desc()).limit(number))

    def in_status(self, statuses: Sequence[str]) -> list[Experiment]:
        """Return every experiment in one of these statuses, oldest first."""
        return self._experiments(
            _SELECT.where(experiment.c.status.in_(statuses)).order_by(experiment.c.id)
        )

    def page(
        self, *, limit: int, after: Cursor | None = None, selection: Selection = ALL
    ) -> list[Experiment]:
        """Return at most `limit` experiments of `selection` that follow `after`."""
        query = pages.statement(selection, has_cursor=after is not None, columns=Columns.ALL)
        return self._experiments(query, pages.parameters(limit, after))

    def listing(
        self, *, limit: int, after: Cursor | None = None, selection: Selection = ALL
    ) -> Listing:
        """Return at most `limit` experiments that follow `after`, ready for JSON.

        This is the fast path of the most frequent request: the database formats the times, and no
        Experiment is made. See docs/performance.md, "Lists".
        """
        query = pages.statement(selection, has_cursor=after is not None, columns=Columns.LISTED)
        values = pages.parameters(limit + 1, after)
        rows = self.database.read(lambda connection: connection.execute(query, values).all())
        return pages.to_listing(rows, limit, selection)

    def listing_version(
        self, *, limit: int, after: Cursor | None = None, selection: Selection = ALL
    ) -> str:
        """Return the version of that listing at about half of its cost."""
        query = pages.statement(selection, has_cursor=after is not None, columns=Columns.VERSION)
        values = pages.parameters(limit + 1, after)
        return pages.to_version(
            self.database.read(lambda connection: connection.execute(query, values).scalar_one())
        )

    def counts(self) -> dict[str, int]:
        """Return the number of experiments of each status that has any."""
        query = select(experiment.c.status, func.count()).group_by(experiment.c.status)
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return {row[0]: row[1] for row in rows}

    def unfinished_jobs(self, before: datetime) -> list[str]:
        """Return the Jobs that have yet to be submitted or, while live, cancelled.

        Those to be submitted only if their experiments have not changed since `before`.
        """
        submitting = and_(experiment.c.status == "submitting", experiment.c.updated_at < before)
        cancelling = and_(
            experiment.c.status.in_(("queued", "running")),
            experiment.c.cancel_requested_at.is_not(None),
        )
        query = select(experiment.c.job).where(or_(submitting, cancelling))
        return list(self.database.read(lambda connection: connection.scalars(query).all()))

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
        """Move an experiment along `path`, from the first of these statuses to the last.

        The actor of a cancellation is the person who requested it.

        Args:
            row_id: the experiment's key.
            attempt: the attempt it is expected to be in.
            path: statuses; it is expected to be in the first.
            times: when it reached each of the others.
            values: further columns to set.
            at: its new `updated_at`.

        Returns:
            False if it is no longer in that status and attempt; nothing was changed then.
        """
        changes = {**values, "status": path[-1], "updated_at": at}
        changes |= _expected(row_id, path[0], attempt)

        def work(connection: Connection) -> bool:
            if connection.execute(_UPDATE, changes).rowcount != 1:
                return False
            actor = None
            if path[-1] == "cancelled":
                query = select(experiment.c.cancel_requested_by).where(experiment.c.id == row_id)
                actor = connection.execute(query).scalar()
            steps = [
                {
                    "experiment": row_id,
                    "attempt": attempt,
                    "from_status": old,
                    "to_status": new,
                    "reason": values.get("reason") if new == path[-1] else None,
                    "at": time,
                    "actor": actor if new == path[-1] else None,
                }
                for old, new, time in zip(path[:-1], path[1:], times, strict=True)
            ]
            connection.execute(insert(transition), steps)
            return True

        return self.database.write(work)

    def update(self, row_id: int, *, attempt: int, status: str, values: Values) -> bool:
        """Set columns other than the status, for example a diagnosis.

        Returns:
            False if it is no longer in that status and attempt; nothing was changed then.
        """
        changes = {**values, "updated_at": datetime.now(UTC)}
        changes |= _expected(row_id, status, attempt)
        return self.database.write(
            lambda connection: connection.execute(_UPDATE, changes).rowcount == 1
        )

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
        """Begin another attempt of an experiment that has ended, whose Job will be `job`.

        `following` is the number of that attempt, by default the next one.

        Returns:
            False if it is no longer in that status and attempt; nothing was changed then.
        """
        now = datetime.now(UTC)
        following = following or attempt + 1
        changes = dict.fromkeys(_OF_AN_ATTEMPT)
        changes |= {"status": "submitting", "attempt": following, "job": job, "updated_at": now}
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
            if connection.execute(_UPDATE, changes).rowcount != 1:
                return False
            connection.execute(insert(transition), [step])
            return True

        return self.database.write(work)

    def _experiments(self, query: Select[Any], values: Values | None = None) -> list[Experiment]:
        rows = self.database.read(lambda connection: connection.execute(query, values).all())
        return [_to_experiment(row) for row in rows]


_COLUMNS = [field.name for field in fields(Experiment)]  # the table has them in the same order
_OF_AN_ATTEMPT = (  # what a retry clears
    "reason",
    "message",
    "remedy",
    "started_at",
    "finished_at",
    "cancel_requested_at",
    "cancel_requested_by",
)
# These parameters have other names than any column, which UPDATE needs for the new values.
_EXPECTED = and_(
    experiment.c.id == bindparam("expected_id"),
    experiment.c.status == bindparam("expected_status"),
    experiment.c.attempt == bindparam("expected_attempt"),
)
_SELECT = select(experiment)
_DELETE = delete(experiment).where(_EXPECTED)
_UPDATE = update(experiment).where(_EXPECTED)
_LAST_CHANGE = select(experiment.c.attempt, experiment.c.status, experiment.c.updated_at)
_WITH_HISTORY = (
    select(experiment, *TRANSITION_COLUMNS)
    .outerjoin(transition, transition.c.experiment == experiment.c.id)
    .order_by(transition.c.id)
)


def _expected(row_id: int, status: str, attempt: int) -> dict[str, Any]:
    """Return the parameters of _EXPECTED."""
    return {"expected_id": row_id, "expected_status": status, "expected_attempt": attempt}


def _insert(connection: Connection, values: Values) -> int:
    """Insert the row of an experiment and return its key."""
    key = connection.execute(insert(experiment), values).inserted_primary_key
    row_id: int = key[0] if key else 0
    return row_id


def _to_experiment(row: Row[Any]) -> Experiment:
    """Return the experiment whose columns a row begins with."""
    return Experiment.from_columns(dict(zip(_COLUMNS, row, strict=False)))
