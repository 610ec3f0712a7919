"""Where the control group of an attempt is created, by the rules of cgroup v2 and v1.

A folder stands for the tree, and does what the kernel's documentation (cgroup-v2) says of it.
"""

import os
from pathlib import Path

import pytest

from backend.launchers.local import memory

LIMIT = 2**31
STATE = Path("/output/.local/run-1")
GROUP = memory.group_name(STATE)


class Tree:
    """A tree of control groups; `own` is that of this process."""

    def __init__(self, root, monkeypatch):
        self.root = root
        self.busy = set()  # groups that hold processes
        self.unwritable = set()
        self.lines = []
        monkeypatch.setattr(memory, "CGROUPS", root)
        real = {name: getattr(Path, name) for name in ("mkdir", "write_text", "read_text", "rmdir")}
        access = os.access

        def mkdir(path, *arguments, **options):
            if root in path.parents and path.parent in self.unwritable:
                raise PermissionError
            real["mkdir"](path, *arguments, **options)
            if root in path.parents:
                self.fill(path)

        def write_text(path, text, *arguments, **options):
            if root not in path.parents:
                return real["write_text"](path, text, *arguments, **options)
            if path.parent in self.unwritable or not path.exists():
                raise PermissionError
            if path.name == "cgroup.subtree_control":
                if path.parent in self.busy and path.parent != root:
                    raise OSError("EBUSY: the no-internal-process constraint")
                text = text.removeprefix("+")
            return real["write_text"](path, text, *arguments, **options)

        def read_text(path, *arguments, **options):
            if path == Path("/proc/self/cgroup"):
                return "\n".join(self.lines)
            return real["read_text"](path, *arguments, **options)

        def rmdir(path):
            for file in path.iterdir() if root in path.parents else ():
                file.unlink()
            real["rmdir"](path)

        def is_accessible(path, mode):
            return not ({Path(path), Path(path).parent} & self.unwritable) and access(path, mode)

        for name, replacement in {
            "mkdir": mkdir,
            "write_text": write_text,
            "read_text": read_text,
            "rmdir": rmdir,
        }.items():
            monkeypatch.setattr(Path, name, replacement)
        monkeypatch.setattr(os, "access", is_accessible)
        self._write = real["write_text"]

    def fill(self, group):
        """Create the files of a new group, as the kernel does."""
        if (self.root / "cgroup.subtree_control").exists():
            parent = group.parent if group != self.root else None
            passed = parent is None or "memory" in (parent / "cgroup.subtree_control").read_text()
            self._write(group / "cgroup.subtree_control", "")
            self._write(group / "cgroup.controllers", "cpu memory" if passed else "cpu")
            self._write(group / "cgroup.procs", "")
            if passed and parent:
                for name in ("memory.max", "memory.swap.max", "memory.oom.group"):
                    self._write(group / name, "max")
        else:
            for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "cgroup.procs"):
                self._write(group / name, str(2**63 - 4096))

    def version_2(self, own, *passing):
        """Make a tree of version 2 in which these groups pass memory on to those in them."""
        self._write(self.root / "cgroup.subtree_control", "")
        self.fill(self.root)
        for group in ("", *passing):
            self._write(self._made(group) / "cgroup.subtree_control", "memory")
        self.busy.add(self._made(own))
        self.lines = [f"0::/{own}"]
        return self._made(own)

    def version_1(self, own):
        """Make the tree of the controller of memory of version 1."""
        (self.root / "memory").mkdir(exist_ok=True)
        self.fill(self.root / "memory")
        self.lines = ["5:devices:/x", f"4:cpu,memory:/{own}", "0::/"]
        return self._made(f"memory/{own}")

    def _made(self, path):
        group = self.root
        for part in filter(None, path.split("/")):
            group /= part
            if not group.exists():
                group.mkdir()
        return group


@pytest.fixture
def tree(tmp_path, monkeypatch):
    return Tree(tmp_path, monkeypatch)


def test_beside_the_own_group_of_version_2(tree):
    """A group with processes passes nothing on, so that it cannot hold another with a limit."""
    own = tree.version_2("system.slice/server.service", "system.slice")

    group = Path(memory.create_group(STATE, LIMIT))

    assert group == own.parent / GROUP
    assert (group / "memory.max").read_text() == str(LIMIT)
    assert (group / "memory.swap.max").read_text() == "0"
    assert (group / "memory.oom.group").read_text() == "1"


def test_the_root_may_hold_processes(tree):
    tree.version_2("")

    assert Path(memory.create_group(STATE, LIMIT)) == tree.root / GROUP


def test_controller_is_enabled_in_a_delegated_group(tree):
    """systemd with Delegate=yes and DelegateSubgroup=server leaves that to the service."""
    own = tree.version_2("system.slice/hello.service/server", "system.slice")

    group = Path(memory.create_group(STATE, LIMIT))

    assert group == own.parent / GROUP
    assert (own.parent / "cgroup.subtree_control").read_text() == "memory"
    assert (group / "memory.max").read_text() == str(LIMIT)


@pytest.mark.parametrize("obstacle", ["procs", "folder", "busy", "no controller"])
def test_nothing_is_left_where_no_group_can_be(tree, obstacle):
    own = tree.version_2("user.slice/session/server", "user.slice")
    if obstacle == "procs":  # delegation containment: the process could not be moved there
        tree.unwritable.add(own.parent / "cgroup.procs")
    elif obstacle == "folder":
        tree.unwritable.add(own.parent)
    elif obstacle == "busy":
        tree.busy.add(own.parent)
    else:
        (own.parent / "cgroup.controllers").unlink()
    before = sorted(tree.root.rglob("*"))

    assert memory.create_group(STATE, LIMIT) == ""
    assert sorted(tree.root.rglob("*")) == before


def test_version_1(tree):
    own = tree.version_1("service")

    group = Path(memory.create_group(STATE, LIMIT))

    assert group == own / GROUP
    assert (group / "memory.limit_in_bytes").read_text() == str(LIMIT)
    assert (group / "memory.memsw.limit_in_bytes").read_text() == str(LIMIT)


def test_group_of_a_killed_runner_is_replaced(tree):
    own = tree.version_2("system.slice/server.service", "system.slice")
    assert memory.create_group(STATE, LIMIT) == memory.create_group(STATE, LIMIT // 2)
    assert (own.parent / GROUP / "memory.max").read_text() == str(LIMIT // 2)

    memory.remove_group(STATE)
    assert not (own.parent / GROUP).exists()


@pytest.mark.parametrize("path", ["kubepods/pod1/container", "../../other", "gone (deleted)"])
def test_path_of_the_host_in_a_container(tree, path):
    """Only the container's own group is mounted, as the root."""
    tree.version_2("")
    tree.lines = [f"0::/{path}"]

    assert Path(memory.create_group(STATE, LIMIT)) == tree.root / GROUP


def test_default_heeds_the_limits_of_all_groups_above(tree):
    own = tree.version_2("a.slice/b.slice/server", "a.slice", "a.slice/b.slice")
    (tree.root / "a.slice" / "memory.max").write_text(str(2**32))

    assert memory.default_limit(1) == int(2**32 * memory.SHARE)
    (own / "memory.max").write_text(str(3 * 2**30))
    assert memory.default_limit(1) == int(3 * 2**30 * memory.SHARE)
    assert memory.default_limit(100) == memory.LEAST_BYTES
