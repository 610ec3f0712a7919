"""The most that attempts have used, in columns of their experiments."""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, or_, update

from backend.domain.execution.usage import PEAKS, Usage
from backend.domain.experiment import Experiment
from backend.store.tables import experiment


def _raised(name: str) -> ColumnElement[float]:
    """Return the larger one of a column and the parameter of its name, either of which is NULL."""
    column = experiment.c[name]
    value = bindparam(f"new_{name}", type_=column.type)
    return case((or_(column.is_(None), column < value), value), else_=column)


_RAISE = (
    update(experiment)
    .where(
        and_(
            experiment.c.id == bindparam("row_id"),
            experiment.c.uid
            == bindparam("row_uid"),  # SQLite may use the key of a removed row again
            experiment.c.attempt == bindparam("row_attempt"),
        )
    )
    .values({name: _raised(name) for name in PEAKS})
)


def raise_peaks(connection: Connection, used: Iterable[tuple[Experiment, Usage]]) -> None:
    """Raise the peaks of attempts to what they have used, where that is more.

    `updated_at` stays as it is: it is the time of the last change of the record, and a peak may
    rise with every sample.

    Args:
        connection: in a transaction.
        used: experiments, in the attempt that used it. One that was retried or deleted meanwhile is
            left alone.
    """
    rows = [
        {f"new_{name}": value for name, value in zip(PEAKS, usage, strict=True)}
        | {"row_id": of.id, "row_uid": of.uid, "row_attempt": of.attempt}
        for of, usage in used
    ]
    if rows:
        connection.execute(_RAISE, rows)
