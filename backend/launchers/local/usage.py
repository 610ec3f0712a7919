"""Measures what local attempts use, from /proc, their control groups and nvidia-smi.

The processes of an attempt are those of its trainer's session and, if it has one, of its control
group. All are found in one pass over /proc, however many attempts there are.
"""

import os
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from backend.domain.execution.usage import Usage
from backend.launchers.local.gpus import Gpus
from backend.launchers.local.memory import groups_of
from backend.launchers.local.state_files import pid_in

PROCESSES = "/proc"
SHORTEST_SECONDS = 0.5  # over which the use of processors is measured
STAT_BYTES = 2048  # of /proc/PID/stat, which has about 300
# Numbers of proc_pid_stat(5), counted from the state, which follows the name.
SESSION, FIRST_TICKS, LAST_TICKS, START_TICKS, RESIDENT_PAGES = 3, 11, 14, 19, 21


class Process(NamedTuple):
    """One line of /proc.

    Attributes:
        seconds: of processor time, with that of its children that have ended.
        started: seconds from the start of the machine.
        memory: resident, in bytes; what it shares with other processes counts for each.
    """

    pid: int
    session: int
    seconds: float
    started: float
    memory: int


class LocalUsage:
    """What local attempts use. It is used by one thread."""

    def __init__(self, state: Path) -> None:
        """Measure the attempts in the state folder `.local`."""
        self._state = state
        self._gpus = Gpus()
        self._before: dict[str, tuple[float, float]] = {}  # by handle: processor time, and when

    def read(self, handles: Collection[str]) -> Mapping[str, Usage]:
        """Return what these attempts use now, by handle, of those that have a process."""
        if sys.platform != "linux" or not handles:
            return {}
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        groups = groups_of([self._state / handle for handle in handles])
        found = self._processes(handles, groups)
        gpus = self._gpus.read() if found else {}
        before, self._before = self._before, {}
        usages = {}
        for handle, processes in found.items():
            cpu = self._processors(handle, processes, before.get(handle), now)
            group = groups.get(self._state / handle)
            memory = group_memory(group) if group else None
            if memory is None:
                memory = sum(process.memory for process in processes)
            used = [gpus[process.pid] for process in processes if process.pid in gpus]
            usages[handle] = Usage(cpu, memory, *self._gpus.total(used))
        return usages

    def _processes(
        self, handles: Collection[str], groups: Mapping[Path, Path]
    ) -> dict[str, list[Process]]:
        """Return the processes of each attempt that has any."""
        sessions, members = dict[int, str](), dict[int, str]()
        for handle in handles:
            state = self._state / handle
            with suppress(OSError):
                if trainer := pid_in(state / "started.json"):
                    sessions[trainer] = handle
            if group := groups.get(state):
                members |= dict.fromkeys(_pids_in(group), handle)
        found: dict[str, list[Process]] = {}
        for process in processes(members.keys(), sessions.keys()):
            owner = members.get(process.pid) or sessions.get(process.session)
            if owner:
                found.setdefault(owner, []).append(process)
        return found

    def _processors(
        self, handle: str, used: list[Process], before: tuple[float, float] | None, now: float
    ) -> float | None:
        """Return how many processors an attempt has kept busy since it was last measured."""
        seconds = sum(process.seconds for process in used)
        # At first, since the start of its oldest process.
        earlier, since = before or (0.0, min(process.started for process in used))
        if now - since < SHORTEST_SECONDS:
            if before:
                self._before[handle] = before
            return None
        self._before[handle] = seconds, now
        # A process that has ended without being waited for takes its time with it.
        return round(max(0.0, seconds - earlier) / (now - since), 3)


def processes(pids: Collection[int], sessions: Collection[int]) -> Iterator[Process]:
    """Yield the processes with one of these ids or of one of these sessions."""
    for name in os.listdir(PROCESSES):  # noqa: PTH208  (only the names are needed)
        if not name.isdecimal():
            continue
        try:
            descriptor = os.open(f"{PROCESSES}/{name}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # it has ended
            continue
        try:
            content = os.read(descriptor, STAT_BYTES)
        except OSError:
            continue
        finally:
            os.close(descriptor)
        # The name, in parentheses, is chosen by the process.
        fields = content[content.rfind(b")") + 2 :].split()
        with suppress(ValueError, IndexError):  # it has just ended
            if int(name) in pids or int(fields[SESSION]) in sessions:
                yield _process(int(name), fields)


def _process(pid: int, fields: list[bytes]) -> Process:
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    return Process(
        pid,
        int(fields[SESSION]),
        sum(map(int, fields[FIRST_TICKS : LAST_TICKS + 1])) / ticks,
        int(fields[START_TICKS]) / ticks,
        int(fields[RESIDENT_PAGES]) * page,
    )


def group_memory(group: Path) -> int | None:
    """Return the memory of a control group, in bytes, or None if that cannot be read.

    Files that the kernel keeps in memory and has not used for a while are left out: it drops them
    before memory runs out. Kubernetes counts the same way ("working set").
    """
    for current, inactive in (  # of versions 2 and 1
        ("memory.current", "inactive_file"),
        ("memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError):
            used = int((group / current).read_text())
            return max(0, used - _number(inactive, (group / "memory.stat").read_text()))
    return None


def _number(name: str, lines: str) -> int:
    """Return the number after a name in lines of both; 0 if it is not there."""
    for line in lines.splitlines():
        if line.startswith(f"{name} "):
            return int(line.partition(" ")[2])
    return 0


def _pids_in(group: Path) -> list[int]:
    with suppress(OSError, ValueError):  # it has just been removed
        return [int(line) for line in (group / "cgroup.procs").read_text().split()]
    return []
