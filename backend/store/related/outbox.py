"""What is still to be sent to webhooks: the outbox.

A target remembers the last transition that was noted for it. `collect` notes the following ones; a
deletion notes those of the experiment that it removes (see `Changes.delete`). So each transition
since a target was set is noted, whatever is killed in between.
"""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, exists, insert, select, update

from backend.domain.experiment import Experiment, Transition
from backend.domain.webhooks.notice import GIVE_UP_AFTER, Notice, content_of
from backend.store.database import Database
from backend.store.tables import transition, webhook_outbox, webhook_target

SEEN_EVERY = timedelta(minutes=10)  # between two notes that a target is still set
UNUSED = GIVE_UP_AFTER + SEEN_EVERY  # without such a note, after which nothing is noted any more
COLUMNS = [webhook_outbox.c[field.name] for field in fields(Notice)]

_INSERT = (  # unless it is there
    insert(webhook_outbox)
    .prefix_with("IGNORE", dialect="mysql")
    .prefix_with("OR IGNORE", dialect="sqlite")
)
_INSERT_TARGET = (
    insert(webhook_target)
    .prefix_with("IGNORE", dialect="mysql")
    .prefix_with("OR IGNORE", dialect="sqlite")
)
_EARLIER = webhook_outbox.alias("earlier")
_IS_FIRST = ~exists().where(
    _EARLIER.c.target == webhook_outbox.c.target,
    _EARLIER.c.experiment_id == webhook_outbox.c.experiment_id,
    _EARLIER.c.event < webhook_outbox.c.event,
)
_LISTENING = select(webhook_target.c.target, webhook_target.c.last_event)


class Outbox:
    """Reads and changes the outbox. Every method raises StoreUnavailable, as those of Store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def seen(self, target: str, now: datetime) -> int | None:
        """Return the last transition that was noted for a target; None if it is not known."""
        query = select(webhook_target.c.last_event, webhook_target.c.seen_at).where(
            webhook_target.c.target == target
        )
        known = self._database.read(lambda connection: connection.execute(query).one_or_none())
        if known is None:
            return None
        if now - known.seen_at > SEEN_EVERY:
            change = (
                update(webhook_target).where(webhook_target.c.target == target).values(seen_at=now)
            )
            self._database.write(lambda connection: connection.execute(change))
        last: int = known.last_event
        return last

    def listen(self, target: str, last_event: int, now: datetime) -> None:
        """Note that a target wants the transitions after `last_event`, unless it is known.

        Targets that no process has used for long are removed.
        """
        row = {"target": target, "last_event": last_event, "seen_at": now}
        unused = select(webhook_target.c.target).where(webhook_target.c.seen_at < now - UNUSED)

        def work(connection: Connection) -> None:
            connection.execute(_INSERT_TARGET, row)
            targets = list(connection.scalars(unused))
            for table in (webhook_outbox, webhook_target) if targets else ():
                connection.execute(delete(table).where(table.c.target.in_(targets)))

        self._database.write(work)

    def collect(self, target: str, seen: int, last: int, notices: Sequence[Notice]) -> bool:
        """Note what is to be sent of the transitions after `seen`, up to `last`.

        Returns:
            False if another process has noted them meanwhile; nothing was changed then.
        """
        moved = (
            update(webhook_target)
            .where(webhook_target.c.target == target, webhook_target.c.last_event == seen)
            .values(last_event=last)
        )

        def work(connection: Connection) -> bool:
            if connection.execute(moved).rowcount != 1:
                return False
            if notices:
                connection.execute(_INSERT, [vars(notice) for notice in notices])
            return True

        return self._database.write(work)

    def due(self, target: str, now: datetime, limit: int) -> list[Notice]:
        """Return at most `limit` notices to be sent now: of each experiment the first at most."""
        query = (
            select(*COLUMNS)
            .where(webhook_outbox.c.target == target, webhook_outbox.c.next_at <= now, _IS_FIRST)
            .order_by(webhook_outbox.c.next_at, webhook_outbox.c.event)
            .limit(limit)
        )
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return [Notice(*row) for row in rows]

    def postpone(self, notice: Notice, next_at: datetime, failures: int) -> bool:
        """Set when a notice is sent (again).

        Returns:
            False if another process has done so meanwhile, or has sent it.
        """
        change = (
            update(webhook_outbox)
            .where(*_same(notice), webhook_outbox.c.next_at == notice.next_at)
            .values(next_at=next_at, failures=failures)
        )
        return self._database.write(lambda connection: connection.execute(change).rowcount == 1)

    def remove(self, notice: Notice) -> None:
        """Remove a notice that was sent, or is not wanted."""
        change = delete(webhook_outbox).where(*_same(notice))
        self._database.write(lambda connection: connection.execute(change))

    def give_up(self, target: str, before: datetime) -> int:
        """Remove the notices for a target that were noted before a time; return their number."""
        change = delete(webhook_outbox).where(
            webhook_outbox.c.target == target, webhook_outbox.c.created_at <= before
        )
        return self._database.write(lambda connection: connection.execute(change).rowcount)


def keep_notices(connection: Connection, known: Experiment, now: datetime) -> None:
    """Note the transitions of an experiment, which is about to be deleted, for every target."""
    listening = _LISTENING.where(webhook_target.c.seen_at > now - UNUSED)
    for target, last_event in connection.execute(listening).all():
        steps = connection.execute(
            select(transition)
            .where(transition.c.experiment == known.id, transition.c.id > last_event)
            .order_by(transition.c.id)
        ).all()
        if steps:
            connection.execute(_INSERT, [_row(target, known, step, now) for step in steps])


def _row(target: str, known: Experiment, step: Any, now: datetime) -> dict[str, Any]:
    names = [field.name for field in fields(Transition)]
    content = content_of(known, Transition(*(getattr(step, name) for name in names)))
    notice = Notice(
        target, step.id, known.experiment_id, step.to_status, content, created_at=now, next_at=now
    )
    return vars(notice)


def _same(notice: Notice) -> tuple[Any, Any]:
    return (
        webhook_outbox.c.target == notice.target,
        webhook_outbox.c.event == notice.event,
    )
