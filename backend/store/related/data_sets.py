"""What is known of the data sets, and which experiments use them."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from backend.domain.data_sets.content import Content, Facts
from backend.domain.status import LIVE
from backend.store.database import Database
from backend.store.tables import data_set, experiment, experiment_input

MAX_CONTENT = 60_000  # characters; a longer description is stored without its columns
SHOWN_USERS = 5


class Usage(NamedTuple):
    """Which experiments use a data set.

    Attributes:
        newest: the ids of the SHOWN_USERS newest, newest first.
        total: how many there are.
    """

    newest: tuple[str, ...] = ()
    total: int = 0


class DataSetTable:
    """Reads and writes the facts. Every method raises StoreUnavailable, as those of Store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def facts(self, name: str | None = None) -> dict[str, Facts]:
        """Return what is known of all data sets by name, or of this one."""
        query = select(data_set)
        if name is not None:
            query = query.where(data_set.c.name == name)
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return {row.name: _to_facts(row) for row in rows}

    def save(self, name: str, facts: Facts) -> None:
        """Replace what is known of a data set."""
        values = {
            "version": facts.version,
            "sha256": facts.sha256,
            "content": _to_text(facts.content),
            "uploaded_at": facts.uploaded_at,
            "uploaded_by": facts.uploaded_by,
        }
        change = update(data_set).where(data_set.c.name == name).values(values)

        def work(connection: Connection) -> None:
            if connection.execute(change).rowcount == 0:
                connection.execute(insert(data_set), values | {"name": name})

        try:
            self._database.write(work)
        except IntegrityError:  # another process has just inserted it
            self._database.write(work)

    def remove(self, name: str) -> None:
        """Forget what is known of a data set."""
        statement = delete(data_set).where(data_set.c.name == name)
        self._database.write(lambda connection: connection.execute(statement))

    def usage(self, name: str | None = None) -> Mapping[str, Usage]:
        """Return the usage of every data set that any experiment uses by name, or of this one."""
        columns = experiment_input.c
        place = func.row_number().over(
            partition_by=columns.name, order_by=columns.experiment.desc()
        )
        count = func.count().over(partition_by=columns.name)
        numbered = select(columns.name, columns.experiment, place.label("place"), count.label("n"))
        if name is not None:
            numbered = numbered.where(columns.name == name)
        inner = numbered.subquery()
        query = (
            select(inner.c.name, inner.c.n, experiment.c.experiment_id)
            .join(experiment, experiment.c.id == inner.c.experiment)
            .where(inner.c.place <= SHOWN_USERS)
            .order_by(inner.c.name, inner.c.place)
        )
        found: dict[str, Usage] = {}
        for row in self._database.read(lambda connection: connection.execute(query).all()):
            known = found.get(row.name, Usage())
            found[row.name] = Usage((*known.newest, row.experiment_id), row.n)
        return found

    def live_users(self, name: str, limit: int) -> list[str]:
        """Return the ids of at most `limit` live experiments that use a data set, oldest first.

        One whose files are not known, and that did not choose any, may use every file.
        """
        columns = experiment_input.c
        uses = (
            select(columns.experiment)
            .where(columns.experiment == experiment.c.id, columns.name == name)
            .exists()
        )
        may_use = experiment.c.inputs.is_(None) & experiment.c.dataset.is_(None)
        query = (
            select(experiment.c.experiment_id)
            .where(experiment.c.status.in_(LIVE), or_(uses, may_use))
            .order_by(experiment.c.id)
            .limit(limit)
        )
        return list(self._database.read(lambda connection: connection.scalars(query).all()))


def _to_text(content: Content | None) -> str | None:
    if content is None:
        return None
    values: dict[str, Any] = content.to_json()
    text = json.dumps(values, ensure_ascii=False)
    if len(text) > MAX_CONTENT:
        text = json.dumps(values | {"columns": [], "arrays": []}, ensure_ascii=False)
    return text


def _to_facts(row: Row[Any]) -> Facts:
    content = Content.from_json(json.loads(row.content)) if row.content else None
    return Facts(row.version, row.sha256, content, row.uploaded_at, row.uploaded_by)
