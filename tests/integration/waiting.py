"""Waiting for what happens in other processes and threads."""

import time

DEADLINE_SECONDS = 60  # long enough for a busy machine; only a failing test waits so long
POLL_SECONDS = 0.02


def eventually(condition, seconds=DEADLINE_SECONDS):
    """Return the first true result of `condition`, or fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"still {result!r} after {seconds} s"
        time.sleep(POLL_SECONDS)
    return result
