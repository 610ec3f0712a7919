"""The experiments in the database: their queries, and by inheritance their changes."""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import URL, Connection, Select, and_, bindparam, func, not_, or_, select

from backend.domain.exceptions import StoreUnavailable
from backend.domain.experiment import Experiment, Transition
from backend.domain.metric_summary import MetricSummary
from backend.domain.owner import Owner
from backend.domain.selection import ALL, Cursor, Listing, Selection
from backend.store import ownership, pages
from backend.store.changes import Changes, Values
from backend.store.database import Database
from backend.store.engine import ANSWER_SECONDS
from backend.store.pages import EXPERIMENT_COLUMNS, Columns
from backend.store.tables import (
    experiment,
    metric_summaries,
    model_entries,
    note,
    parameter,
    transition,
)
from backend.store.transitions import TRANSITION_COLUMNS, TransitionLog, history_of

log = logging.getLogger(__name__)


class Store(Changes):
    """Reads and changes the experiments in the database.

    Every method raises StoreUnavailable if the database cannot be used, and SchemaError if its
    tables must not be changed.

    Attributes:
        database: where they are stored.
        transitions: the changes of their statuses.
    """

    def __init__(
        self,
        url: URL,
        *,
        answer_seconds: int = ANSWER_SECONDS,
        find_owner: Callable[[], Owner] | None = None,
    ) -> None:
        """Prepare to use a database; the first query connects. See `Database` for the arguments."""
        super().__init__(Database(url, answer_seconds=answer_seconds, find_owner=find_owner))
        self.transitions = TransitionLog(self.database)
        self._damaged: set[int] = set()  # keys of rows that were logged as damaged

    def prepare(self) -> None:
        """Migrate the schema if needed, and check whose the database is.

        Every other method does so too, so a server may start before its database.
        """
        self.database.prepare()

    def claim(self, owner: Owner) -> tuple[Owner | None, int]:
        """Make `owner` the owner of the database; see `ownership.claim`."""
        return ownership.claim(self.database.engine, owner)

    def close(self) -> None:
        """Close all connections; the next query opens new ones."""
        self.database.close()

    def ping(self) -> None:
        """Check that the database answers."""
        self.database.ping()

    def get(self, experiment_id: str) -> Experiment | None:
        """Return one experiment, or None if there is none of that id."""
        query = _SELECT.where(experiment.c.experiment_id == experiment_id)
        found = self._experiments(query, show_damaged=True)
        return found[0] if found else None

    def entry(self, sha256: str) -> str | None:
        """Return the content of the catalogue's entry with this digest, or None."""
        query = select(model_entries.c.content).where(model_entries.c.sha256 == sha256)
        content: str | None = self.database.read(
            lambda connection: connection.execute(query).scalar()
        )
        return content

    def with_history(self, experiment_id: str) -> tuple[Experiment, list[Transition]] | None:
        """Return one experiment and its transitions, oldest first, both as of one moment."""
        query = _WITH_HISTORY.where(experiment.c.experiment_id == experiment_id)
        rows = self.database.read(lambda connection: connection.execute(query).all())
        if not rows:
            return None
        width = len(EXPERIMENT_COLUMNS)
        history = [Transition(*row[width:]) for row in rows]
        return _to_experiment(rows[0][:width]), [step for step in history if step.to_status]

    def history(self, experiment_id: str) -> list[Transition]:
        """Return the transitions of one experiment, oldest first."""
        return [Transition(*row) for row in self.database.rows(history_of(experiment_id))]

    def is_unchanged(self, known: Experiment) -> bool:
        """Return whether the database still holds `known`: every change sets `updated_at`."""
        query = _LAST_CHANGE.where(experiment.c.id == known.id)
        row = self.database.read(lambda connection: connection.execute(query).one_or_none())
        return row == (known.attempt, known.status, known.updated_at, known.revision)

    def note(self, key: int) -> str:
        """Return the note of an experiment, by its key; an empty text if it has none."""
        query = select(note.c.content).where(note.c.experiment == key)
        return self.database.read(lambda connection: connection.execute(query).scalar()) or ""

    def unknown_parameters(self, names: Collection[str]) -> set[str]:
        """Return those names that are no parameter of any experiment in the database."""
        query = select(parameter.c.name).where(parameter.c.name == bindparam("name")).limit(1)

        def work(connection: Connection) -> set[str]:
            return {name for name in names if not connection.scalar(query, {"name": name})}

        return self.database.read(work) if names else set()

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

    def being_deleted(self) -> list[Experiment]:
        """Return every experiment whose deletion with its folder was requested."""
        return self._experiments(_SELECT.where(experiment.c.delete_requested_at.is_not(None)))

    def page(
        self,
        *,
        limit: int,
        after: Cursor | None = None,
        selection: Selection = ALL,
        until: Cursor | None = None,
    ) -> list[Experiment]:
        """Return at most `limit` experiments of `selection` that follow `after`, up to `until`.

        Damaged text is replaced, and its experiment says so; see `damage`.
        """
        query, values = _page(limit, after, selection, Columns.ALL, until)
        return self._experiments(query, values, show_damaged=True)

    def search_end(
        self, after: Cursor | None, selection: Selection, *, examined: int | None = None
    ) -> Cursor | None:
        """Return the position at which a search that follows `after` pauses.

        It has examined `examined` experiments by then, by default as many as it may for one page.
        None if the selection is no search, or fewer are left.
        """
        if not selection.is_search:
            return None
        query = pages.search_end(selection, has_cursor=after is not None)
        values = pages.parameters(1, after) | {"before": (examined or pages.SEARCHED[-1]) - 1}
        row = self.database.read(lambda connection: connection.execute(query, values).one_or_none())
        return Cursor(row[0], row[1]) if row else None

    def listing(
        self, *, limit: int, after: Cursor | None = None, selection: Selection = ALL
    ) -> Listing:
        """Return at most `limit` experiments that follow `after`, ready for JSON.

        This is the fast path of the most frequent request: the database formats the times, and no
        Experiment is made. See docs/performance.md, "Lists".
        """
        for until in self._search_ends(after, selection):
            query, values = _page(limit + 1, after, selection, Columns.LISTED, until)
            rows = self.database.rows(query, values)
            if len(rows) >= limit:
                break
        return pages.to_listing(rows, limit, selection, until)

    def listing_version(
        self, *, limit: int, after: Cursor | None = None, selection: Selection = ALL
    ) -> str:
        """Return the version of that listing at about half of its cost."""
        for until in self._search_ends(after, selection):
            query, values = _page(limit + 1, after, selection, Columns.VERSION, until)
            try:
                joined = self._text(query, values)
            except StoreUnavailable as error:
                if not error.undecodable:
                    raise
                return self.listing(limit=limit, after=after, selection=selection).version
            if joined and joined.count(pages.SEPARATOR) + 1 >= limit:
                break
        return pages.to_version(joined)

    def _text(self, query: Select[Any], values: Values) -> str:
        return str(
            self.database.read(lambda connection: connection.execute(query, values).scalar_one())
        )

    def _search_ends(self, after: Cursor | None, selection: Selection) -> Iterator[Cursor | None]:
        """Yield where a page ends at the latest, first the nearest position; None: it is not known.

        Whoever has enough of a page does not ask for the next position.
        """
        for examined in pages.SEARCHED:
            until = self.search_end(after, selection, examined=examined)
            yield until
            if until is None:
                return

    def summaries(self, keys: Sequence[int]) -> dict[int, dict[str, MetricSummary]]:
        """Return the summaries of the metrics of experiments, by their keys and by name."""
        columns = metric_summaries.c
        query = select(columns.experiment, columns.content).where(columns.experiment.in_(keys))
        return {key: _to_summaries(key, content) for key, content in self.database.rows(query)}

    def counts(self) -> dict[str, int]:
        """Return the number of experiments of each status that has any."""
        query = select(experiment.c.status, func.count()).group_by(experiment.c.status)
        return {row[0]: row[1] for row in self.database.rows(query)}

    def unfinished_jobs(self, grace: timedelta) -> list[str]:
        """Return the Jobs that have yet to be submitted or, while live, cancelled.

        Those to be submitted only if their experiments have not changed within `grace`. A change
        in the future was made by a clock that was wrong, and is not recent.
        """
        now = datetime.now(UTC)
        is_recent = experiment.c.updated_at.between(now - grace, now + grace)
        submitting = and_(experiment.c.status == "submitting", not_(is_recent))
        cancelling = and_(
            experiment.c.status.in_(("queued", "running")),
            experiment.c.cancel_requested_at.is_not(None),
        )
        query = select(experiment.c.job).where(or_(submitting, cancelling))
        return [row[0] for row in self.database.rows(query)]

    def _experiments(
        self, query: Select[Any], values: Values | None = None, *, show_damaged: bool = False
    ) -> list[Experiment]:
        try:
            return self._read(query, values)
        except (ValueError, TypeError, OverflowError):
            return self._readable(query, values, show_damaged=show_damaged)
        except StoreUnavailable as error:
            if not error.undecodable:
                raise
            return self._readable(query, values, show_damaged=show_damaged)

    def _read(self, query: Select[Any], values: Values | None = None) -> list[Experiment]:
        rows = self.database.read(lambda connection: connection.execute(query, values).all())
        return [_to_experiment(row) for row in rows]

    def _readable(
        self, query: Select[Any], values: Values | None, *, show_damaged: bool
    ) -> list[Experiment]:
        """Return the experiments of a query whose rows are not damaged; log the others, once.

        With `show_damaged`, those with damaged text are returned, too. Nothing may be changed
        because of them: a replaced id or Job is another one.
        """
        keys = query.with_only_columns(query.selected_columns["id"])
        found = []
        for key in self.database.read(lambda connection: connection.scalars(keys, values).all()):
            query = _SELECT.where(experiment.c.id == key)
            try:
                found += self._read(query)
            except (ValueError, TypeError, OverflowError) as error:
                self._report(key, error)
            except StoreUnavailable as error:
                if not error.undecodable:
                    raise
                self._report(key, error)
                if show_damaged:
                    with suppress(ValueError, TypeError, StoreUnavailable):  # more is damaged
                        found += [_to_experiment(row) for row in self.database.rows(query)]
        return found

    def _report(self, key: int, error: Exception) -> None:
        if key not in self._damaged:
            log.error("The row %s of the table experiment is damaged, and left out: %s", key, error)
        self._damaged.add(key)


_SELECT = select(*(experiment.c[name] for name in EXPERIMENT_COLUMNS))
_LAST_CHANGE = select(
    *(experiment.c[name] for name in ("attempt", "status", "updated_at", "revision"))
)
_WITH_HISTORY = (
    _SELECT.add_columns(*TRANSITION_COLUMNS)
    .outerjoin(transition, transition.c.experiment == experiment.c.id)
    .order_by(transition.c.id)
)


def _page(
    limit: int, after: Cursor | None, selection: Selection, columns: Columns, until: Cursor | None
) -> tuple[Select[Any], Values]:
    """Return the query for a page with its parameters."""
    query = pages.statement(
        selection, has_cursor=after is not None, columns=columns, has_end=until is not None
    )
    return query, pages.parameters(limit, after, until)


def _to_summaries(key: int, content: str) -> dict[str, MetricSummary]:
    """Return summaries from their JSON; none if that is damaged."""
    try:
        return {name: MetricSummary(**one) for name, one in orjson.loads(content).items()}
    except (ValueError, TypeError, AttributeError) as error:
        log.warning("The summaries of the metrics of row %s are damaged: %s", key, error)
        return {}


def _to_experiment(row: Sequence[Any]) -> Experiment:
    """Return the experiment with these values of EXPERIMENT_COLUMNS."""
    return Experiment.from_columns(dict(zip(EXPERIMENT_COLUMNS, row, strict=True)))
