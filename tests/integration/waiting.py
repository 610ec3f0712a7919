"""Waiting for what happens in other processes and threads."""

import time

DEADLINE_SECONDS = 30
POLL_SECONDS = 0.02


def eventually(condition, seconds=DEADLINE_SECONDS):
    """Return the first true answer of `condition`, or fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not so within {seconds} s, but {answer!r}"
        time.sleep(POLL_SECONDS)
    return answer
