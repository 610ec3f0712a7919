"""The Launcher protocol, which starts attempts and observes them, and the types it uses."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from backend.domain.attempt import Attempt, Diagnosis
from backend.domain.execution.usage import NOTHING_KNOWN, Usage

Job = dict[str, Any]


class Phase(StrEnum):
    """The phase of an attempt, as its launcher sees it.

    UNKNOWN means that it cannot be determined at the moment: nothing is recorded. LOST means that
    the attempt has ended and its outcome was not observed: the files that the trainer left in the
    output folder decide.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    LOST = "lost"


ACTIVE_PHASES = (Phase.QUEUED, Phase.RUNNING)  # the Job waits or works: it can be cancelled
ENDED_PHASES = (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.LOST)  # it never changes


@dataclass(frozen=True)
class Observation:
    """What a launcher saw of one attempt. Times are aware, in UTC, and None where not known.

    Attributes:
        attempt: what was submitted, as the launcher has stored it; None if that is missing or
            invalid, or if the Job is being deleted.
        image: what the attempt executes: the image with its digest, or the command and the digest
            of the trainer's files.
        leaving: the log parts that will soon be gone although the attempt has not ended, each after
            the rank of the worker that prints it.
        suspended: whether its queue holds it back: nothing of it runs, even if it ran before.
        used: what an attempt that has ended is known to have used, be it less than its peaks.
        memory_limit: how much memory it may use, in bytes, if that is known.
    """

    uid: str
    phase: Phase
    started_at: datetime | None = None
    finished_at: datetime | None = None
    diagnosis: Diagnosis | None = None
    attempt: Attempt | None = None
    leaving: tuple[tuple[int, str], ...] = ()
    image: str | None = None
    suspended: bool = False
    used: Usage = NOTHING_KNOWN
    memory_limit: int | None = None


@dataclass(frozen=True)
class Departure:
    """A part of a log that will soon be gone although its attempt has not ended.

    Attributes:
        handle: the handle of the attempt.
        uid: the uid of its experiment.
        rank: the rank of the worker that prints it.
        part: its name.
        is_gone: whether it is gone already.
    """

    handle: str
    uid: str
    rank: int
    part: str
    is_gone: bool


class LauncherError(Exception):
    """A launcher could not carry out a call.

    Attributes:
        diagnosis: the reason, and what to do about it.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis.message)
        self.diagnosis = diagnosis


class LauncherUnavailable(LauncherError):
    """A temporary failure: the same call may succeed later.

    A failed `submit` may still have created the Job; the next `submit` adopts it.
    """


class LauncherRefused(LauncherError):
    """A permanent failure: the same call will be refused again."""


def output_missing(then: str) -> Diagnosis:
    """Return the diagnosis of a server without its output folder; `then` says what will follow."""
    return Diagnosis(
        "output_missing",
        "The output folder (OUTPUT_DIR) is missing.",
        f"Mount or restore it, or create it again. {then}",
    )


class LogSource(Protocol):
    """Access to logs that do not lie in the output folder yet.

    A log consists of parts, one for each process that trained. A line is bytes, without its line
    end. All methods but `follow` raise LauncherUnavailable if the launcher cannot be reached.
    """

    def of_worker(self, rank: int) -> "LogSource":
        """Return the source of the logs of the workers with this rank; this one is that of 0."""

    def parts(self, handle: str) -> Sequence[str]:
        """Return the names of the parts that can be read; sorted by name, they are by age."""

    def read(self, part: str) -> Collection[bytes]:
        """Return the lines that a part has so far; a marker line may stand for the middle ones."""

    def follow(
        self,
        part: str,
        connected: Callable[[], object] = lambda: None,
        *,
        has_started: bool = False,
    ) -> Iterator[bytes | None]:
        """Yield the lines of a part from the first to the last, and None while waiting for more.

        Waits while the launcher cannot be reached. `connected` is called once the log is being
        read: everything printed after that is yielded, even if the attempt is cancelled. Ends with
        UNHEARD if the part is gone before it was read to its end, which is so for one that was
        never found only if `has_started`.
        """

    def departures(self, timeout: float) -> Sequence[Departure]:
        """Wait until parts are about to go, or have gone, and return those since the last call.

        Those that leave while `Launcher.changes` is not called are not noticed. Empty after
        `timeout` seconds without one; one may be returned several times.
        """


class Launcher(Protocol):
    """Starts attempts and observes them. Every method is safe to call from several threads.

    All methods but `render`, `waiting` and `usage` raise LauncherUnavailable if the launcher cannot
    be reached.
    """

    @property
    def log_source(self) -> LogSource | None:
        """Where to read logs, or None if trainers write them to the output folder themselves."""

    def render(self, attempt: Attempt) -> Job:
        """Return the complete request for an attempt, without sending it. Pure."""

    def submit(self, job: Job) -> str:
        """Start a rendered Job and return its handle.

        Idempotent: a Job that already exists for the same attempt is adopted.

        Raises:
            LauncherRefused: this Job can never be started.
        """

    def observe(self, handles: Collection[str] | None = None) -> Mapping[str, Observation]:
        """Return the observations of these handles, or of all, by handle; a missing one is gone."""

    def changes(self, timeout: float) -> frozenset[str] | None:
        """Wait until an attempt may have changed since the last call.

        Returns:
            The handles of the attempts that may have changed; None if any of them may have; an
            empty set after `timeout` seconds without a change.
        """

    def waiting(self, handle: str) -> Sequence[str]:
        """Return the handles of what waits in the queue of an attempt, in its order.

        That is the queue for the slots of this machine, or one of the cluster; there, some of them
        may be Jobs of others. Empty if it waits in none. Answers at once.
        """

    def usage(self, handles: Collection[str]) -> Mapping[str, Usage]:
        """Return what these attempts use now, by handle, of those of which it is known.

        It is called again and again, by one thread, and returns nothing where usage is not
        measured, or was not measured again since the last call.
        """

    def cancel(self, handle: str) -> None:
        """Ask an attempt to stop, and return at once. Do nothing if it does not exist."""

    def delete_job(self, attempt: Attempt) -> None:
        """Delete the Job of an ended attempt; ask an attempt that has not ended to stop.

        A Job of the same handle that was made for another attempt is left alone.
        """

    def close(self) -> None:
        """Close all connections. Attempts keep running."""
