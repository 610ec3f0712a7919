"""One experiment: what it is, and what can be done with it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import quote

from hello_flask.downloads import Progress, save
from hello_flask.errors import ExperimentFailed, ServerAway, Unavailable
from hello_flask.record import Record
from hello_flask.transport import Query
from hello_flask.waiting import WAIT_PATIENCE_SECONDS, looks


class LogLine(NamedTuple):
    """A line of a log, or the state of a progress bar.

    Attributes:
        number: of the line, from 1; 0 if it has not ended yet and will be sent again.
        text: without its line end.
    """

    number: int
    text: str


class Experiment(Record):
    """One experiment of a server.

    Its fields are those of the JSON: `experiment.status`, `experiment.parameters`,
    `experiment["status"]`. They are as of the last request; `refresh` reads them anew.
    """

    _kind = "experiment"

    def __repr__(self) -> str:
        return f"<Experiment {self.id!r}: {self.data.get('status')}>"

    @property
    def id(self) -> str:
        """The experiment_id."""
        return str(self.data["experiment_id"])

    def refresh(self) -> "Experiment":
        """Read all fields again, with progress, metrics, warnings and history; return itself."""
        self.data = self._ask("GET")
        return self

    def wait(self, timeout: float | None = None, *, check: bool = True) -> "Experiment":
        """Wait until it has ended, and return it. A server that restarts meanwhile does no harm.

        Args:
            timeout: in seconds; None waits for ever.
            check: whether to raise ExperimentFailed unless it has succeeded.

        Raises:
            StillRunning: it has not ended within `timeout`. It goes on.
            ExperimentFailed: it has failed, or was cancelled or deleted.
            ServerAway: the server is away for ten minutes.
        """
        for _ in self.watch(timeout):
            pass
        if check and self.data["status"] != "succeeded":
            reason = f": {self.problem}" if self.problem else "."
            raise ExperimentFailed(f"{self.id} {_ending(self.data['status'])}{reason}")
        return self

    def watch(self, timeout: float | None = None) -> Iterator["Experiment"]:
        """Yield itself whenever it was read again, until it has ended; see `wait`."""
        yield from looks(self._transport, self, timeout, ExperimentFailed)

    def cancel(self) -> "Experiment":
        """Cancel it, and return it; it ends within about a second."""
        self.data |= self._ask("POST", "/cancel")
        return self

    def retry(self) -> "Experiment":
        """Start the next attempt of a failed or cancelled experiment, and return it."""
        self.data |= self._ask("POST", "/retry")
        return self

    def delete(self, *, outputs: bool = False) -> None:
        """Delete it, and its output folder if `outputs`; it must have ended."""
        query = [("outputs", "true")] if outputs else None
        self._transport.ask("DELETE", self._path(), query)

    def log(
        self, attempt: int | None = None, *, tail: int | None = None, worker: int | None = None
    ) -> str:
        """Return what its trainer has printed so far, or the last `tail` lines of that.

        `worker` is the rank of one of several that train it together, 0 by default.
        """
        text, pauses = bytearray(), self._transport.pauses()
        query = _query(attempt=attempt, tail=tail, worker=worker)
        while True:
            text.clear()
            try:
                with self._transport.open("GET", self._path("/logs"), query) as answer:
                    for piece in answer.pieces():
                        text += piece
                return text.decode(errors="replace")
            except (ServerAway, Unavailable) as error:
                pauses.wait(error)

    def follow(
        self, attempt: int | None = None, *, tail: int | None = None, worker: int | None = None
    ) -> Iterator[str]:
        """Yield the lines of its log as they are printed, until the attempt has ended.

        Each line comes once, although the server may restart meanwhile.
        """
        for line in self.follow_lines(attempt, tail=tail, worker=worker):
            if line.number:
                yield line.text

    def follow_lines(
        self, attempt: int | None = None, *, tail: int | None = None, worker: int | None = None
    ) -> Iterator[LogLine]:
        """Yield the lines of its log with their numbers, and the states of unfinished lines."""
        last = ""
        pauses = self._transport.pauses(WAIT_PATIENCE_SECONDS)
        query = _query(attempt=attempt or self.data.get("attempt"), tail=tail, worker=worker)
        while True:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
            try:
                path = self._path("/logs")
                with self._transport.open("GET", path, query, headers=headers) as answer:
                    for event in answer.events():
                        pauses.reset()
                        if event.name == "end":
                            return
                        is_line = not event.name and event.id.isascii() and event.id.isdigit()
                        last = event.id if is_line else last
                        yield LogLine(int(event.id) if is_line else 0, event.data)
                raise ServerAway("The log was cut off.")
            except (ServerAway, Unavailable) as error:
                pauses.wait(error)

    def curve(self, *, max_points: int | None = None, since_epoch: float | None = None) -> Any:
        """Return its curve: `epoch`, a list, and `metrics`, a list of the same length for each."""
        return self._ask("GET", "/metrics", _query(max_points=max_points, since_epoch=since_epoch))

    def files(self) -> Sequence[Mapping[str, Any]]:
        """Return the `path`, `size` (bytes) and `modified` of each file of its output folder."""
        found: Sequence[Mapping[str, Any]] = self._ask("GET", "/files")["files"]
        return found

    def read_json(self, path: str) -> Any:
        """Return the content of a JSON file of its output folder, such as `run.json`."""
        return self._ask("GET", f"/files/{quote(path)}")

    def download(
        self,
        path: str | None = None,
        to: str | os.PathLike[str] | None = None,
        *,
        progress: Progress | None = None,
    ) -> Path:
        """Download a file of its output folder, or with no `path` all of them as a zip archive.

        Args:
            path: as `files` names it.
            to: a file, which is replaced, or a folder; by default the current folder.
            progress: called with the bytes so far, and in all if that is known.

        Returns:
            The file, which is complete.
        """
        name = f"{self.id}.zip" if path is None else path.rpartition("/")[2]
        return save(self._transport, self._file(path), name, to, progress)

    def write_to(self, stream: IO[bytes], path: str | None = None) -> None:
        """Write a file of its output folder, or all as a zip archive, to a stream such as a pipe.

        Raises:
            ServerAway: the answer broke off. What was written is not complete.
        """
        headers = {"Accept": "*/*"}
        with self._transport.open("GET", self._file(path), headers=headers) as answer:
            for piece in answer.pieces():
                stream.write(piece)
        stream.flush()

    def _file(self, path: str | None) -> str:
        return self._path("/files.zip" if path is None else f"/files/{quote(path)}")

    def _ask(self, method: str, below: str = "", query: Query | None = None) -> Any:
        return self._transport.ask(method, self._path(below), query)[0]

    def _path(self, below: str = "") -> str:
        return f"/experiments/{quote(self.id, safe='')}{below}"


def _query(**values: float | str | None) -> Query:
    """Return the values that are not None, as a query."""
    return [(name, str(value)) for name, value in values.items() if value is not None]


def _ending(status: str) -> str:
    return {"cancelled": "was cancelled"}.get(status, f"has {status}")
