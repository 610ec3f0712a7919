"""One sweep: what it is, and what can be done with it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from hello_flask.errors import SweepFailed
from hello_flask.experiment import Experiment
from hello_flask.record import Record
from hello_flask.transport import Query
from hello_flask.waiting import looks


class Sweep(Record):
    """One sweep of a server.

    Its fields are those of the JSON: `sweep.status`, `sweep.best`, `sweep["counts"]`. They are as
    of the last request; `refresh` reads them anew. A paused one has not ended.
    """

    _kind = "sweep"

    def __repr__(self) -> str:
        return f"<Sweep {self.id!r}: {self.data.get('status')}>"

    @property
    def id(self) -> str:
        """The sweep_id."""
        return str(self.data["sweep_id"])

    def refresh(self) -> "Sweep":
        """Read all fields again, with the best trial so far; return itself."""
        self.data = self._ask("GET")
        return self

    def wait(self, timeout: float | None = None, *, check: bool = True) -> "Sweep":
        """Wait until it has ended, and return it. A server that restarts meanwhile does no harm.

        Args:
            timeout: in seconds; None waits for ever.
            check: whether to raise SweepFailed unless it has succeeded.

        Raises:
            StillRunning: it has not ended within `timeout`. It goes on.
            SweepFailed: it has failed, or was cancelled or deleted.
            ServerAway: the server is away for ten minutes.
        """
        for _ in self.watch(timeout):
            pass
        if check and self.data["status"] != "succeeded":
            reason = f": {self.problem}" if self.problem else "."
            raise SweepFailed(f"{self.id} has ended as {self.data['status']}{reason}")
        return self

    def watch(self, timeout: float | None = None) -> Iterator["Sweep"]:
        """Yield itself whenever it was read again, until it has ended; see `wait`."""
        yield from looks(self._transport, self, timeout, SweepFailed)

    def trials(
        self, *, sort: str = "number", pruned: bool | None = None, limit: int | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """Return its trials with their `parameters`, best `value`, `status` and `reason`.

        Args:
            sort: `number`, or `value` for the best first; a leading `-` turns the order round.
            pruned: only those that the sweep has stopped (True), or only the others (False).
            limit: the largest number; by default 1000.
        """
        query: Query = [("sort", sort)]
        query += [] if pruned is None else [("pruned", str(pruned).lower())]
        query += [] if limit is None else [("limit", str(limit))]
        found: Sequence[Mapping[str, Any]] = self._ask("GET", "/trials", query)
        return found

    def best_experiment(self) -> Experiment | None:
        """Return the experiment with the best value so far; None before the first value."""
        best = self.refresh().data.get("best")
        if not best:
            return None
        path = f"/experiments/{quote(str(best['experiment_id']), safe='')}"
        return Experiment(self._transport, self._transport.ask("GET", path)[0])

    def analysis(self) -> Mapping[str, Any]:
        """Return `best_so_far` after each trial, and the `importance` of each parameter."""
        found: Mapping[str, Any] = self._ask("GET", "/analysis")
        return found

    def pause(self) -> "Sweep":
        """Submit no more trials, and return it; those that are live go on."""
        self.data |= self._ask("POST", "/pause")
        return self

    def resume(self) -> "Sweep":
        """Submit trials again, and return it."""
        self.data |= self._ask("POST", "/resume")
        return self

    def cancel(self) -> "Sweep":
        """End it and its live trials, and return it."""
        self.data |= self._ask("POST", "/cancel")
        return self

    def extend(self, *, trials: int | None = None, parallel: int | None = None) -> "Sweep":
        """Change how many trials it may have, in all or at the same time, and return it."""
        chosen = {"trials": trials, "parallel": parallel}
        body = {name: value for name, value in chosen.items() if value is not None}
        self.data |= self._transport.ask("PATCH", self._path(), body=body)[0]
        return self

    def delete(self, *, outputs: bool = False) -> None:
        """Delete it with its trials, and their output folders if `outputs`; it must have ended."""
        self._ask("DELETE", "", [("outputs", "true")] if outputs else None)

    def _ask(self, method: str, below: str = "", query: Query | None = None) -> Any:
        return self._transport.ask(method, self._path(below), query)[0]

    def _path(self, below: str = "") -> str:
        return f"/sweeps/{quote(self.id, safe='')}{below}"
