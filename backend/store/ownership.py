"""Remembers in the database which server it belongs to, so that no other ends its experiments."""

import logging
from collections.abc import Callable

from sqlalchemy import Connection, Engine, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from backend.domain.exceptions import StoreUnavailable, WrongOwner
from backend.domain.owner import Owner
from backend.domain.status import LIVE
from backend.store.engine import transact
from backend.store.tables import experiment, owner

THE_ROW = 1

log = logging.getLogger(__name__)


def check(engine: Engine, find_owner: Callable[[], Owner]) -> None:
    """Check that the database belongs to this server; a database without an owner is claimed.

    Raises:
        WrongOwner: it belongs to another server.
        StoreUnavailable: the database cannot be used now.
    """
    current = find_owner()
    try:
        stored = transact(engine, _read) or _claim_first(engine, current)
        if not stored.is_same(current):
            raise WrongOwner(str(stored), str(current))
        _learn(engine, stored, current)
    except StoreUnavailable as error:
        if not error.cause:  # a read-only or full database can be read without an owner
            raise


def claim(engine: Engine, current: Owner) -> tuple[Owner | None, int]:
    """Make `current` the owner of the database, whoever it belongs to.

    Returns:
        The owner so far, if there is one, and the number of experiments that have not ended.

    Raises:
        StoreUnavailable: the database cannot be used now.
    """

    def work(connection: Connection) -> tuple[Owner | None, int]:
        before = _read(connection)
        connection.execute(delete(owner))
        connection.execute(insert(owner), {"id": THE_ROW, "identity": current.to_text()})
        live = select(func.count()).where(experiment.c.status.in_(LIVE))
        return before, connection.execute(live).scalar_one()

    return transact(engine, work)


def _read(connection: Connection) -> Owner | None:
    text = connection.execute(select(owner.c.identity)).scalar()
    try:
        return None if text is None else Owner.from_text(text)
    except (ValueError, KeyError, TypeError):  # changed by hand: it is nobody's until it is claimed
        return Owner("unknown", "unknown", frozenset())


def _claim_first(engine: Engine, current: Owner) -> Owner:
    values = {"id": THE_ROW, "identity": current.to_text()}
    try:
        transact(engine, lambda connection: connection.execute(insert(owner), values))
    except IntegrityError:  # another process was faster
        return transact(engine, _read) or current
    log.info("The database belongs to this server from now on: %s", current)
    return current


def _learn(engine: Engine, stored: Owner, current: Owner) -> None:
    """Store marks of the same owner that were not known before, such as a renewed authority."""
    known = stored.joined(current)
    if known == stored:
        return
    change = update(owner).where(owner.c.identity == stored.to_text())
    transact(engine, lambda connection: connection.execute(change, {"identity": known.to_text()}))
