"""Unit tests are pure: one that opens a socket or a database, or starts a process, fails."""

import sys

import pytest

IMPURE = {  # Python documentation, Audit events table
    *("socket.__new__", "socket.getaddrinfo", "sqlite3.connect"),
    *("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"),
}


class Guard:
    """Records what a test does outside this process.

    Attributes:
        events: the forbidden audit events of the current test; None while nothing is recorded.
    """

    def __init__(self):
        self.events = None
        sys.addaudithook(self._hear)

    def _hear(self, event, _arguments):
        if event in IMPURE and self.events is not None:
            self.events.append(event)


guard = Guard()


@pytest.fixture(autouse=True)
def _is_pure():
    guard.events = []
    yield
    events, guard.events = guard.events, None
    assert events == [], "this test belongs in tests/component"
