"""How many attempts this machine can train at the same time."""

import os
from contextlib import suppress
from pathlib import Path

from backend.launchers.local.memory import LEAST_BYTES, SHARE, usable_bytes

CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
PROCESSORS_PER_SLOT = (
    2  # a small model computes in one thread; reading and the server need some too
)


def default_slots() -> int:
    """Return the number of slots if LOCAL_SLOTS is not set: 1 at least.

    There is one for each two processors, as long as each attempt can have its least memory.
    """
    fitting = int(usable_bytes() * SHARE / LEAST_BYTES)
    return max(1, min(usable_processors() // PROCESSORS_PER_SLOT, fitting))


def usable_processors() -> int:
    """Return how many processors this process may use, which in a container is not all of them."""
    affinity = getattr(os, "sched_getaffinity", None)  # missing on macOS
    processors: int = len(affinity(0)) if affinity else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # there are no control groups, or the quota is "max"
        quota, period = CPU_LIMIT.read_text().split()
        return max(1, min(processors, int(quota) // int(period)))
    return processors
