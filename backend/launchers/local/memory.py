"""Bounds the memory of local attempts.

Each attempt gets a control group (cgroup v2, else v1) if this process may create one. Otherwise the
runner sets RLIMIT_DATA, which bounds each process of the attempt by itself.
"""

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

SHARE = 0.75  # of the machine's memory that all attempts together may use by default
LEAST_BYTES = 2**30  # of the default for one attempt: PyTorch alone takes about 300 MB
CGROUPS = Path("/sys/fs/cgroup")


def default_limit(slots: int) -> int:
    """Return how many bytes an attempt may use by default if there are so many slots."""
    return max(LEAST_BYTES, int(usable_bytes() * SHARE / slots))


def usable_bytes() -> int:
    """Return the memory of this machine, or what the control groups of this process leave of it."""
    usable = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    owns = _own_groups()
    ancestors = [each for own in owns for each in own.parents if each.is_relative_to(CGROUPS)]
    for folder in owns + ancestors:  # the limit of a group also holds for those in it
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                usable = min(usable, int((folder / name).read_text()))
    return usable


def create_group(state: Path, limit: int) -> str:
    """Create the control group of an attempt, and return its path; "" if that is not possible.

    Args:
        state: the state folder of the attempt.
        limit: the largest memory of all its processes together, in bytes.
    """
    remove_group(state)
    for parent in _parents():
        group = parent / group_name(state)
        try:
            group.mkdir()
        except OSError:
            continue
        with suppress(OSError):
            if (group / "memory.max").exists():
                (group / "memory.max").write_text(str(limit))
                for name, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
                    with suppress(OSError):  # without swap, or of an older kernel
                        (group / name).write_text(value)
                return str(group)
            if (group / "memory.limit_in_bytes").exists():
                (group / "memory.limit_in_bytes").write_text(str(limit))
                with suppress(OSError):  # a kernel that does not account for swap
                    (group / "memory.memsw.limit_in_bytes").write_text(str(limit))
                return str(group)
        with suppress(OSError):
            group.rmdir()
    return ""


def remove_group(state: Path) -> None:
    """Remove the control group that a killed runner of this attempt has left."""
    for parent in _parents():
        with suppress(OSError):  # there is none, or processes are left in it
            (parent / group_name(state)).rmdir()


def groups_of(states: Iterable[Path]) -> dict[Path, Path]:
    """Return the control groups of attempts, by their state folders, of those that have one."""
    parents, found = _parents(), {}
    for state in states if parents else ():
        name = group_name(state)
        for parent in parents:
            if (parent / name).is_dir():
                found[state] = parent / name
    return found


def group_name(state: Path) -> str:
    """Return the name of a group; two servers with other output folders use other names."""
    folder = hashlib.sha256(str(state.parent).encode()).hexdigest()[:8]
    return f"hello-flask-{folder}-{state.name}"


def _parents() -> list[Path]:
    """Return the groups in which this process may create one with a limit of memory."""
    found = []
    for own in _own_groups():
        if (own / "cgroup.subtree_control").exists():
            # A group of version 2 that holds processes passes on no controllers, except the root.
            folder = own if own == CGROUPS else own.parent
            # Who moves a process to a sibling must be able to write to that file, too.
            if os.access(folder / "cgroup.procs", os.W_OK) and _passes_memory_on(folder):
                found.append(folder)
        elif (own / "memory.limit_in_bytes").exists():
            found.append(own)
    return [folder for folder in found if os.access(folder, os.W_OK)]


def _passes_memory_on(folder: Path) -> bool:
    """Return whether groups in a group of version 2 have a limit of memory; enable it if possible.

    It is not if the group holds processes, or has got no controller of memory from its parent.
    """
    control = folder / "cgroup.subtree_control"
    try:
        if "memory" in control.read_text().split():
            return True
        if "memory" not in (folder / "cgroup.controllers").read_text().split():
            return False
        control.write_text("+memory")  # as for a service with Delegate=yes and DelegateSubgroup
    except OSError:
        return False
    return True


def _own_groups() -> list[Path]:
    """Return the groups of this process that may account for memory, as cgroups(7) lists them."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = CGROUPS / "memory" if controllers else CGROUPS
        # In a container, the path may be that of the host, of which only the end is mounted. It has
        # `..` if the group is not in the process's namespace.
        own = root / path.lstrip("/")
        found.append(own if own.is_dir() and ".." not in own.parts else root)
    return found
