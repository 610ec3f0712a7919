"""The changes of experiments, each in one transaction.

A status only changes by compare-and-set: the update names the status and the attempt that the
decision was based on, and changes nothing if they are no longer current.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from backend.domain.data_sets.pins import chosen_names, pins_from_text
from backend.domain.execution.usage import PEAKS, Usage
from backend.domain.experiment import Experiment, Transition, in_order, read_tags
from backend.domain.sweeps.sweep import PRUNED, Sweep, SweepStatus
from backend.store.database import Database
from backend.store.related.named import index_columns, insert_parameters, insert_tags
from backend.store.related.outbox import keep_notices
from backend.store.related.peaks import raise_peaks
from backend.store.tables import (
    experiment,
    experiment_input,
    model_entries,
    note,
    sweep,
    transition,
)

Values = Mapping[str, Any]  # column values by name; in those of a new row, also its note

_OF_AN_ATTEMPT = (  # what a retry clears
    "reason",
    "message",
    "remedy",
    "started_at",
    "finished_at",
    "cancel_requested_at",
    "cancel_requested_by",
    "image",
    "pruned_because",
    *PEAKS,
)
# These parameters have other names than any column, which UPDATE needs for the new values.
_EXPECTED = and_(
    experiment.c.id == bindparam("expected_id"),
    experiment.c.uid == bindparam("expected_uid"),  # SQLite may use the key of a removed row again
    experiment.c.status == bindparam("expected_status"),
    experiment.c.attempt == bindparam("expected_attempt"),
)
_INSERT_ENTRY = (  # unless it is there
    insert(model_entries)
    .prefix_with("IGNORE", dialect="mysql")
    .prefix_with("OR IGNORE", dialect="sqlite")
)
_DELETE = delete(experiment).where(_EXPECTED)
_UPDATE = update(experiment).where(_EXPECTED)
_RETRY = _UPDATE.where(experiment.c.delete_requested_at.is_(None))
_LOCK_DELETED = (
    select(experiment.c.id)
    .where(_EXPECTED, experiment.c.delete_requested_at.is_not(None))
    .with_for_update()
)
_REQUEST = select(experiment.c.cancel_requested_by, experiment.c.pruned_because).where(
    experiment.c.id == bindparam("row_id")
)
PRUNED_REMEDY = "Nothing. Retry the experiment to let it go on from its checkpoint all the same."
_LAST_STEP = select(func.max(transition.c.at)).where(transition.c.experiment == bindparam("row_id"))


class Changes:
    """Adds, changes and removes experiments.

    Every method raises StoreUnavailable if the database cannot be used, and SchemaError if its
    tables must not be changed.

    Attributes:
        database: where they are stored.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._known_entries: set[str] = set()  # digests of those that are stored

    def insert(
        self,
        values: Values,
        *,
        actor: str | None = None,
        entry: str | None = None,
        trial_of: Sweep | None = None,
    ) -> int | None:
        """Add an experiment, and its first transition, caused by `actor`.

        Args:
            values: its columns.
            actor: the name of a token.
            entry: the content of its model's entry, whose digest is among the values.
            trial_of: the sweep whose next trial it is.

        Returns:
            The key of its row; None if its experiment_id is taken, or if the sweep has been ended
            or paused, or has had a trial of this number.
        """
        sha256 = values.get("entry_sha256")

        def work(connection: Connection) -> int | None:
            if trial_of and not _issue(connection, trial_of, values["trial"]):
                return None
            if entry is not None and sha256 not in self._known_entries:
                connection.execute(_INSERT_ENTRY, {"sha256": sha256, "content": entry})
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
            row_id = self.database.write(work)
        except IntegrityError:
            return None
        if sha256 and row_id is not None:
            self._known_entries.add(sha256)
        return row_id

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

    def delete(self, known: Experiment) -> bool:
        """Remove an experiment and its history.

        Returns:
            False if its status or attempt has changed since; nothing was changed then.
        """
        expected = _expected(known)

        def work(connection: Connection) -> bool:
            keep_notices(connection, known, datetime.now(UTC))
            return connection.execute(_DELETE, expected).rowcount == 1

        return self.database.write(work)

    def while_deleting(self, known: Experiment, work: Callable[[], None]) -> None:
        """Call `work` if the deletion of an experiment was requested, while its row is locked.

        Its id cannot be used again before `work` returns. `work` may be called twice, after a
        deadlock or a lost connection.
        """
        expected = _expected(known)

        def locked(connection: Connection) -> None:
            if connection.execute(_LOCK_DELETED, expected).first():
                work()

        self.database.write(locked)

    def advance(
        self,
        known: Experiment,
        *,
        path: Sequence[str],
        times: Sequence[datetime],
        values: Values,
        at: datetime,
        check_order: bool = False,
    ) -> bool:
        """Move an experiment along `path`, from the first of these statuses to the last.

        The actor of a cancellation is the person who requested it; if a sweep did, the reason is
        that of the sweep.

        Args:
            known: the experiment, as the decision was based on.
            path: statuses, from the one that it has.
            times: when it reached each of the others. Those of another clock may be out of order;
                the history has them in order.
            values: further columns to set.
            at: its new `updated_at`.
            check_order: whether `times` may be earlier than the last transition so far.

        Returns:
            False if its status or attempt has changed since; nothing was changed then.
        """
        changes = {**values, "status": path[-1], "updated_at": at} | _expected(known)

        def work(connection: Connection) -> bool:
            if connection.execute(_UPDATE, changes).rowcount != 1:
                return False
            actor, reason = None, values.get("reason")
            if path[-1] == "cancelled":
                asked = connection.execute(_REQUEST, {"row_id": known.id}).one()
                actor = asked.cancel_requested_by
                if asked.pruned_because and not reason:
                    reason = PRUNED
                    pruned = {"message": asked.pruned_because, "remedy": PRUNED_REMEDY}
                    query = update(experiment).where(experiment.c.id == known.id)
                    connection.execute(query, pruned | {"reason": reason})
            last = _last_step(connection, known.id) if check_order else None
            ordered = in_order(last or times[0], times)
            steps = [
                {
                    "experiment": known.id,
                    "attempt": known.attempt,
                    "from_status": old,
                    "to_status": new,
                    "reason": reason if new == path[-1] else None,
                    "at": time,
                    "actor": actor if new == path[-1] else None,
                }
                for old, new, time in zip(path[:-1], path[1:], ordered, strict=True)
            ]
            connection.execute(insert(transition), steps)
            return True

        return self.database.write(work)

    def update(self, known: Experiment, values: Values) -> bool:
        """Set columns other than the status, for example a diagnosis.

        Returns:
            False if its status or attempt has changed since; nothing was changed then.
        """
        changes = {**values, "updated_at": datetime.now(UTC)} | _expected(known)
        return self.database.write(
            lambda connection: connection.execute(_UPDATE, changes).rowcount == 1
        )

    def raise_peaks(self, used: Sequence[tuple[Experiment, Usage]]) -> None:
        """Raise the peaks of attempts to what they have used, where that is more."""
        self.database.write(lambda connection: raise_peaks(connection, used))

    def retry(
        self,
        known: Experiment,
        *,
        job: str,
        following: int | None = None,
        reason: str = "retry",
        actor: str | None = None,
    ) -> bool:
        """Begin another attempt of an experiment that has ended, whose Job will be `job`.

        `following` is the number of that attempt, by default the next one.

        Returns:
            False if its status or attempt has changed since, or it is being deleted; nothing was
            changed then.
        """
        now = datetime.now(UTC)
        following = following or known.attempt + 1
        changes = dict.fromkeys(_OF_AN_ATTEMPT)
        changes |= {"status": "submitting", "attempt": following, "job": job, "updated_at": now}
        changes |= _expected(known)
        step = {
            "experiment": known.id,
            "attempt": following,
            "from_status": known.status,
            "to_status": "submitting",
            "reason": reason,
            "actor": actor,
        }

        def work(connection: Connection) -> bool:
            if connection.execute(_RETRY, changes).rowcount != 1:
                return False
            [at] = in_order(_last_step(connection, known.id) or now, [now])
            connection.execute(insert(transition), [step | {"at": at}])
            return True

        return self.database.write(work)


def _expected(known: Experiment) -> dict[str, Any]:
    """Return the parameters of _EXPECTED."""
    return {f"expected_{name}": getattr(known, name) for name in ("id", "uid", "status", "attempt")}


def _last_step(connection: Connection, row_id: int) -> datetime | None:
    """Return the time of the last transition of an experiment, or None if it has none."""
    last: datetime | None = connection.execute(_LAST_STEP, {"row_id": row_id}).scalar()
    return last


def _insert(connection: Connection, values: Values) -> int:
    """Insert the row of an experiment, and those of its files, parameters, tags and note.

    Returns:
        Its key.
    """
    columns = {name: value for name, value in values.items() if name != "note"}
    columns |= index_columns(values["experiment_id"])
    key = connection.execute(insert(experiment), columns).inserted_primary_key
    row_id: int = key[0] if key else 0
    _insert_inputs(connection, row_id, values)
    insert_parameters(connection, row_id, values.get("model_parameters"))
    insert_tags(connection, row_id, read_tags(values.get("tags")))
    if text := values.get("note"):
        connection.execute(insert(note), {"experiment": row_id, "content": text})
    return row_id


def _insert_inputs(connection: Connection, row_id: int, values: Values) -> None:
    """Insert a row for each file that an experiment uses."""
    used: list[tuple[str, str | None]] = [
        (pin.name, pin.sha256) for pin in pins_from_text(values.get("inputs"))
    ]
    used = used or [(name, None) for name in dict.fromkeys(chosen_names(values["dataset"]))]
    if used:
        rows = [{"experiment": row_id, "name": name, "sha256": sha256} for name, sha256 in used]
        connection.execute(insert(experiment_input), rows)


def _issue(connection: Connection, known: Sweep, number: int) -> bool:
    """Count a trial of a sweep; return False if it may not have a trial of this number now."""
    query = update(sweep).where(
        sweep.c.id == known.id,
        sweep.c.uid == known.uid,
        sweep.c.status == SweepStatus.RUNNING,
        sweep.c.delete_requested_at.is_(None),
        sweep.c.issued == number - 1,
        sweep.c.trials >= number,
    )
    return connection.execute(query, {"issued": number}).rowcount == 1
