"""What lists are filtered by and has no column of its own: parameters and tags, by name."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from backend.domain.annotations.changes import AnnotationChange, Annotations, AnnotationsChanged
from backend.domain.experiment import read_tags, write_tags
from backend.domain.identifiers import folded
from backend.domain.numbers import MAX_MAGNITUDE, is_number
from backend.store.database import Database
from backend.store.tables import experiment, note, parameter, tag, transition

MAX_TEXT_CHARACTERS = 200  # of a parameter that is compared; a longer one equals nothing

_OLD = (
    select(
        experiment.c.id, experiment.c.experiment_id, experiment.c.uid, experiment.c.model_parameters
    )
    .where(experiment.c.is_indexed.is_(None))
    .order_by(experiment.c.id.desc())
    .limit(bindparam("limit"))
)
_FIRST_ACTOR = (
    select(transition.c.actor)
    .where(transition.c.experiment == bindparam("key"))
    .order_by(transition.c.id)
    .limit(1)
)


def index_columns(experiment_id: str) -> dict[str, Any]:
    """Return the values of the columns that only searches use."""
    is_plain = experiment_id.isascii()
    return {"folded_id": None if is_plain else folded(experiment_id), "is_indexed": True}


def insert_parameters(connection: Connection, key: int, model_parameters: str | None) -> None:
    """Insert the rows of an experiment's parameters, which are canonical JSON."""
    rows = [
        {"experiment": key, "name": name, **_stored(value)}
        for name, value in json.loads(model_parameters or "{}").items()
    ]
    if rows:
        connection.execute(insert(parameter), rows)


def insert_tags(connection: Connection, key: int, tags: Iterable[str]) -> None:
    """Insert the rows of an experiment's tags."""
    rows = [{"experiment": key, "name": name} for name in tags]
    if rows:
        connection.execute(insert(tag), rows)


class NamedValues:
    """Changes annotations, and fills in what rows of older versions lack.

    Every method raises StoreUnavailable, as those of Store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def annotate(self, experiment_id: str, change: AnnotationChange) -> bool:
        """Change the annotations of an experiment.

        Returns:
            False if there is no experiment of that id.

        Raises:
            AnnotationsChanged: they have another revision than the change expects.
            TooManyTags: the experiment would have too many; nothing was changed.
        """

        def work(connection: Connection) -> bool:
            columns = experiment.c
            query = select(columns.id, columns.tags, columns.favourite, columns.revision)
            query = query.where(columns.experiment_id == experiment_id).with_for_update()
            row = connection.execute(query).one_or_none()
            if row is None:
                return False
            text = select(note.c.content).where(note.c.experiment == row.id)
            content = connection.execute(text).scalar() or ""
            current = Annotations(
                tuple(read_tags(row.tags)), content, bool(row.favourite), row.revision or 0
            )
            changed = change.apply(current)
            if changed is current:  # also if an earlier try was committed and its answer was lost
                return True
            if change.revision not in (None, current.revision):
                raise AnnotationsChanged(experiment_id, current.revision)
            _write(connection, row.id, current, changed)
            return True

        return self._database.write(work)

    def fill(self, limit: int) -> int:
        """Fill in rows that an older version has written, at most `limit`, the newest first.

        Returns:
            The number of these rows.
        """
        values = {"limit": limit}
        rows = self._database.read(lambda connection: connection.execute(_OLD, values).all())

        def work(connection: Connection) -> None:
            for row in rows:
                _fill(connection, row._asdict())

        if rows:
            self._database.write(work)
        return len(rows)


def _fill(connection: Connection, row: Mapping[str, Any]) -> None:
    """Fill in one row, unless it was deleted or filled in meanwhile."""
    key = row["id"]
    actor = connection.execute(_FIRST_ACTOR, {"key": key}).scalar()
    is_same = (experiment.c.id == key) & (experiment.c.uid == row["uid"])
    columns = index_columns(row["experiment_id"]) | {
        "submitted_by": func.coalesce(experiment.c.submitted_by, actor)
    }
    statement = update(experiment).where(is_same, experiment.c.is_indexed.is_(None)).values(columns)
    if connection.execute(statement).rowcount == 1:
        connection.execute(delete(parameter).where(parameter.c.experiment == key))
        insert_parameters(connection, key, row["model_parameters"])


def _write(connection: Connection, key: int, old: Annotations, new: Annotations) -> None:
    values = {
        "tags": write_tags(new.tags),
        "favourite": new.favourite,
        "revision": new.revision,
        "updated_at": datetime.now(UTC),
    }
    connection.execute(update(experiment).where(experiment.c.id == key).values(values))
    if new.tags != old.tags:
        connection.execute(delete(tag).where(tag.c.experiment == key))
        insert_tags(connection, key, new.tags)
    if new.note != old.note:
        connection.execute(delete(note).where(note.c.experiment == key))
        if new.note:
            connection.execute(insert(note), {"experiment": key, "content": new.note})


def _stored(value: Any) -> dict[str, Any]:
    """Return the value of a parameter as its row holds it; a boolean is both 0 or 1 and text."""
    if isinstance(value, bool):
        return {"number": float(value), "text": "true" if value else "false"}
    if is_number(value, -MAX_MAGNITUDE, MAX_MAGNITUDE):
        return {"number": float(value), "text": None}
    is_short = isinstance(value, str) and len(value) <= MAX_TEXT_CHARACTERS
    return {"number": None, "text": value if is_short else None}
