"""What every launcher does: the Launcher protocol, and the words it speaks in."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from backend.domain.attempt import Attempt, Diagnosis

Job = dict[str, Any]


class Phase(StrEnum):
    """What a launcher says of a run.

    UNKNOWN changes nothing: the next look may tell. LOST has ended, and nobody saw how: what its
    trainer left in the output folder tells.
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
    """What a launcher saw of one run. Times are aware, in UTC; None where not known.

    Attributes:
        run: what was submitted, as the launcher itself remembers it; None too of a run that it is
            just removing.
        leaving: the parts of its log that will soon be gone though the run goes on.
    """

    uid: str
    phase: Phase
    started_at: datetime | None = None
    finished_at: datetime | None = None
    diagnosis: Diagnosis | None = None
    attempt: Attempt | None = None
    leaving: tuple[str, ...] = ()


class LauncherError(Exception):
    """A launcher could not do what it was asked.

    Attributes:
        diagnosis: why, and what to do.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis.message)
        self.diagnosis = diagnosis


class LauncherUnavailable(LauncherError):
    """Not now: nothing is known to have been started, and the same call may work later."""


class LauncherRefused(LauncherError):
    """Never: the same call will be refused again."""


class LogSource(Protocol):
    """Where the log of a run is until it lies in the run's folder.

    It is in parts, one for each process that trained. A line is bytes, without its end. All but
    `follow` raise LauncherUnavailable
    when the launcher cannot be reached.
    """

    def parts(self, handle: str) -> Sequence[str]:
        """Name the parts that can be read; in alphabetical order, which is that of their age."""

    def read(self, part: str) -> Sequence[bytes]:
        """Give the lines of a part so far; none if there are none."""

    def follow(
        self, part: str, connected: Callable[[], object] = lambda: None
    ) -> Iterator[bytes | None]:
        """Give the lines of a part from the first to the last, and None while no new one comes.

        A launcher that is away is waited for. `connected` is called when the part is being read:
        of what is printed from then on nothing is missed, even if the run is cancelled.
        """


class Launcher(Protocol):
    """Starts runs and says how they are. Every method may be called from several threads.

    All but `render` raise LauncherUnavailable when the launcher cannot be reached.
    """

    @property
    def log_source(self) -> LogSource | None:
        """Give where logs are read from, or None: each lies in its run's folder by itself."""

    def render(self, attempt: Attempt) -> Job:
        """Make the whole request for a run, without sending it. Pure."""

    def submit(self, job: Job) -> str:
        """Start what was rendered, and return its handle.

        Idempotent: a job that is there already, made for the same run, is adopted.

        Raises:
            LauncherRefused: it can never be started like this.
        """

    def observe(self, handles: Collection[str] | None = None) -> Mapping[str, Observation]:
        """Say by handle how the runs of these handles are, or all; missing means gone."""

    def changes(self, timeout: float) -> frozenset[str] | None:
        """Wait until something may have changed since the last call.

        Returns:
            The handles of the runs that may have; None if any of them may; none after `timeout`
            seconds without a change.
        """

    def cancel(self, handle: str) -> None:
        """Ask the run to end, and return at once. A run that is gone already is no error."""

    def delete_job(self, attempt: Attempt) -> None:
        """Leave nothing of a run that has ended; one that goes on is asked to end.

        A later run of the same handle stays as it is.
        """

    def close(self) -> None:
        """Let go of connections. Runs go on."""
