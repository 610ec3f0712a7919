"""Looks at something of a server until it has ended, although the server may restart meanwhile."""

from collections.abc import Iterator
from typing import Protocol, TypeVar

from hello_flask.errors import HelloFlaskError, NotFound, ServerAway, StillRunning, Unavailable
from hello_flask.transport import Transport

FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.2, 2.0  # between two looks
WAIT_PATIENCE_SECONDS = 600.0  # for which a server may be away


class Watched(Protocol):
    """What can be looked at: an experiment, or a sweep."""

    @property
    def id(self) -> str:
        """What it is called."""

    @property
    def is_live(self) -> bool:
        """Whether it had not ended when it was last read."""

    def refresh(self) -> "Watched":
        """Read it again."""


Seen = TypeVar("Seen", bound=Watched)


def looks(
    transport: Transport,
    watched: Seen,
    timeout: float | None,
    deleted: type[HelloFlaskError],
) -> Iterator[Seen]:
    """Yield `watched` whenever it was read again, until it has ended.

    Args:
        transport: reaches the server.
        watched: what to look at.
        timeout: in seconds; None goes on for ever.
        deleted: what is raised if it was deleted.

    Raises:
        StillRunning: it has not ended within `timeout`. It goes on.
        ServerAway: the server is away for ten minutes.
    """
    end = None if timeout is None else transport.clock() + timeout
    pauses = transport.pauses(WAIT_PATIENCE_SECONDS)
    pause = FIRST_LOOK_SECONDS
    while True:
        try:
            watched.refresh()
            pauses.reset()
            yield watched
        except NotFound as error:
            raise deleted(f"{watched.id} was deleted while it was waited for.") from error
        except (ServerAway, Unavailable) as error:
            pauses.wait(error)
        if not watched.is_live:
            return
        if end is not None and transport.clock() + pause > end:
            raise StillRunning(f"{watched.id} has not ended within {timeout:g} s. It goes on.")
        transport.sleep(pause)
        pause = min(1.5 * pause, LONGEST_LOOK_SECONDS)
