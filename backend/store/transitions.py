"""The transitions of all experiments, in the order in which they are streamed."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select

from backend.domain.experiment import Event, Transition
from backend.store.database import Database
from backend.store.tables import experiment, transition

MAX_OPEN_TRANSACTIONS = 1000  # more than ever add transitions at the same time
TRANSITION_COLUMNS = [transition.c[field.name] for field in fields(Transition)]


class TransitionLog:
    """Reads transitions by id, so that a listener who remembers the last one misses none.

    Ids are assigned before their transactions are committed, so a lower id may become visible
    after a higher one. No method returns an id while a lower one may still appear.

    Every method raises StoreUnavailable if the database cannot be used.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def last_id(self) -> int:
        """Return the id of the last transition, 0 if there is none."""
        query = select(func.max(transition.c.id))
        last = self._database.read(lambda connection: connection.execute(query).scalar()) or 0
        if self._database.is_server:
            self._wait_for(transition.c.id.between(last - MAX_OPEN_TRANSACTIONS, last))
        return last

    def after(self, last: int, limit: int) -> list[Event]:
        """Return at most `limit` events that follow the transition with the id `last`."""
        query = _events(transition.c.id > last).limit(limit)
        rows = self._database.rows(query)
        if self._database.is_server and rows and rows[-1][0] - last > len(rows):
            # Ids are missing. Their transactions are not committed yet, or were rolled back.
            return self._wait_for(and_(transition.c.id > last, transition.c.id <= rows[-1][0]))
        return [_to_event(row) for row in rows]

    def _wait_for(self, condition: ColumnElement[bool]) -> list[Event]:
        """Return events once every transaction that is adding one of them has ended.

        A locking read waits for those transactions; under READ COMMITTED it does not keep others
        from adding more (MySQL's manual, InnoDB Locking).
        """
        query = _events(condition).with_for_update(read=True, of=transition)

        def work(connection: Connection) -> list[Event]:
            return [_to_event(row) for row in connection.execute(query)]

        return self._database.read_committed(work)


def history_of(experiment_id: str) -> Select[Any]:
    """Return the query for the transitions of one experiment, oldest first."""
    return (
        select(*TRANSITION_COLUMNS)
        .join(experiment, experiment.c.id == transition.c.experiment)
        .where(experiment.c.experiment_id == experiment_id)
        .order_by(transition.c.id)
    )


def _events(condition: ColumnElement[bool]) -> Select[Any]:
    return (
        select(transition.c.id, experiment.c.experiment_id, *TRANSITION_COLUMNS)
        .join(experiment, experiment.c.id == transition.c.experiment)
        .where(condition)
        .order_by(transition.c.id)
    )


def _to_event(row: Sequence[Any]) -> Event:
    key, experiment_id, *columns = row
    return Event(key, experiment_id, Transition(*columns))
