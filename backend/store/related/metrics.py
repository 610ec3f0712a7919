"""The summaries of metrics in the database, by which lists of experiments are sorted."""

from collections.abc import Mapping

import orjson
from sqlalchemy import Connection, delete, insert, select

from backend.domain.experiment import Experiment
from backend.domain.metric_summary import MetricSummary
from backend.domain.status import LIVE
from backend.store.database import Database
from backend.store.tables import experiment, metric, metric_summaries

_LOCK = select(experiment.c.status).with_for_update()
_KNOWN = select(metric_summaries.c.attempt, metric_summaries.c.is_final, metric_summaries.c.version)
_UNFINISHED = (
    select(experiment.c.id, experiment.c.experiment_id)
    .outerjoin(metric_summaries, metric_summaries.c.experiment == experiment.c.id)
    .order_by(experiment.c.id.desc())
)


class MetricSummaries:
    """Reads and writes the summaries. Every method raises StoreUnavailable, as those of Store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(
        self,
        of: Experiment,
        summaries: Mapping[str, MetricSummary],
        *,
        version: str,
        is_final: bool,
    ) -> None:
        """Replace the summaries of an experiment.

        Nothing is written if they are of this version, or if the experiment was retried or deleted
        or, unless `is_final`, has ended meanwhile.

        Args:
            of: the experiment, in the attempt that they were read from.
            summaries: by the name of the metric.
            version: of the curve, at most 64 characters.
            is_final: whether the attempt has ended.
        """
        content = orjson.dumps({name: one._asdict() for name, one in summaries.items()}).decode()
        row = {"attempt": of.attempt, "is_final": is_final, "version": version, "content": content}
        rows = [
            {"experiment": of.id, "name": name, "last": one.last, "min": one.min, "max": one.max}
            for name, one in summaries.items()
        ]

        def work(connection: Connection) -> None:
            # The lock makes other writers wait. SQLite may use the key of a removed row again.
            current = _LOCK.where(experiment.c.id == of.id, experiment.c.uid == of.uid)
            status = connection.execute(current.where(experiment.c.attempt == of.attempt)).scalar()
            if status is None or (status in LIVE) is is_final:
                return
            known = connection.execute(_KNOWN.where(metric_summaries.c.experiment == of.id))
            if known.one_or_none() == (of.attempt, is_final, version):
                return
            for table in (metric, metric_summaries):
                connection.execute(delete(table).where(table.c.experiment == of.id))
            connection.execute(insert(metric_summaries), row | {"experiment": of.id})
            if rows:
                connection.execute(insert(metric), rows)

        self._database.write(work)

    def unfinished(self, below: int, limit: int) -> list[tuple[int, str]]:
        """Return ended experiments without the summaries of their end, the newest first.

        Args:
            below: only rows with a smaller key.
            limit: at most this many.

        Returns:
            Their keys and ids.
        """
        query = _UNFINISHED.where(
            experiment.c.id < below,
            experiment.c.status.not_in(LIVE),
            (metric_summaries.c.is_final.is_(None)) | (~metric_summaries.c.is_final),
        ).limit(limit)
        return [(row_id, experiment_id) for row_id, experiment_id in self._database.rows(query)]
