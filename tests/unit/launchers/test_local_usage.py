"""What local attempts use, from a folder that stands for /proc, and another for control groups."""

import json
import os

import pytest

from backend.domain.execution.usage import Usage
from backend.launchers.local import memory
from backend.launchers.local import usage as local_usage
from backend.launchers.local.usage import LocalUsage, group_memory

TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
MIB = 2**20


class Machine:
    """Its processes, its clock (seconds since the start), and its control groups."""

    def __init__(self, folder, monkeypatch):
        self.proc, self.state, self.groups = (folder / name for name in ("proc", "state", "groups"))
        for each in (self.proc, self.state, self.groups):
            each.mkdir()
        self.now = 100.0
        monkeypatch.setattr(local_usage, "PROCESSES", str(self.proc))
        monkeypatch.setattr(local_usage.time, "clock_gettime", lambda _clock: self.now)
        monkeypatch.setattr(memory, "_parents", lambda: [self.groups])
        monkeypatch.setenv("PATH", str(folder))  # no nvidia-smi

    def start(self, handle, pid):
        """Leave the state of an attempt whose trainer has this process id."""
        (self.state / handle).mkdir()
        (self.state / handle / "started.json").write_text(json.dumps({"pid": pid}))

    def put(self, pid, session, *, seconds=0.0, mib=0, started=90.0, name="python", children=0.0):
        """Write the line of a process."""
        fields = ["0"] * 52
        fields[0], fields[1] = str(pid), f"({name})"
        fields[2], fields[5] = "R", str(session)
        fields[13], fields[14] = str(int(seconds * TICKS)), "0"
        fields[15], fields[16] = "0", str(int(children * TICKS))
        fields[21] = str(int(started * TICKS))
        fields[23] = str(mib * MIB // PAGE)
        (self.proc / str(pid)).mkdir(exist_ok=True)
        (self.proc / str(pid) / "stat").write_text(" ".join(fields) + "\n")

    def put_group(self, handle, files):
        """Create the control group of an attempt with these files."""
        group = self.groups / memory.group_name(self.state / handle)
        group.mkdir()
        for name, text in files.items():
            (group / name).write_text(text)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def test_all_processes_of_a_session_count(machine):
    machine.start("a-1", 11)
    machine.start("b-1", 21)
    machine.put(11, 11, seconds=5, mib=100)
    machine.put(12, 11, seconds=10, mib=50, started=95, name="a) R 1 (b")
    machine.put(21, 21, seconds=1, mib=7)
    machine.put(31, 31, seconds=9, mib=900)  # of somebody else
    (machine.proc / "uptime").write_text("1 2")
    (machine.proc / "40").mkdir()  # it has ended
    (machine.proc / "41").mkdir()
    (machine.proc / "41" / "stat").write_text("")

    usage = LocalUsage(machine.state)
    assert usage.read(["a-1", "b-1", "c-1"]) == {
        "a-1": Usage(1.5, 150 * MIB),  # since the start, ten seconds ago
        "b-1": Usage(0.1, 7 * MIB),
    }
    assert usage.read([]) == {}


def test_processors_between_two_readings(machine):
    machine.start("a-1", 11)
    machine.put(11, 11, seconds=5)
    machine.put(12, 11, seconds=10)
    usage = LocalUsage(machine.state)
    usage.read(["a-1"])

    machine.now += 0.1
    assert usage.read(["a-1"])["a-1"].cpu is None  # too short to tell
    machine.now += 3.9
    machine.put(11, 11, seconds=7, children=14)  # its child has ended
    (machine.proc / "12" / "stat").unlink()
    assert usage.read(["a-1"])["a-1"].cpu == 1.5

    machine.now += 4
    machine.put(11, 11, seconds=8, children=0)
    assert usage.read(["a-1"])["a-1"].cpu == 0.0


def test_an_attempt_without_processes_is_left_out(machine):
    machine.start("a-1", 11)
    usage = LocalUsage(machine.state)
    assert usage.read(["a-1"]) == {}
    (machine.state / "a-1" / "started.json").write_text('{"pid": "11"}')
    machine.put(11, 11)
    assert usage.read(["a-1"]) == {}


@pytest.mark.parametrize(
    "files",
    [
        {"memory.current": f"{90 * MIB}\n", "memory.stat": f"file 9\ninactive_file {30 * MIB}\n"},
        {
            "memory.usage_in_bytes": f"{90 * MIB}\n",
            "memory.stat": f"inactive_file 1\ntotal_inactive_file {30 * MIB}\n",
        },
    ],
    ids=["version 2", "version 1"],
)
def test_control_group(machine, files):
    """It knows the memory exactly, and processes that have left the session."""
    machine.start("a-1", 11)
    machine.put(11, 11, seconds=5, mib=500)
    machine.put(13, 13, seconds=5, mib=500)
    machine.put_group("a-1", files | {"cgroup.procs": "11\n13\n"})
    assert LocalUsage(machine.state).read(["a-1"]) == {"a-1": Usage(1.0, 60 * MIB)}


@pytest.mark.parametrize(
    "files", [{}, {"memory.current": "max"}, {"memory.current": "5"}, {"cgroup.procs": "x"}]
)
def test_control_group_that_cannot_be_read(machine, files):
    machine.start("a-1", 11)
    machine.put(11, 11, seconds=5, mib=500)
    machine.put_group("a-1", files)
    assert LocalUsage(machine.state).read(["a-1"]) == {"a-1": Usage(0.5, 500 * MIB)}


def test_group_memory_is_not_negative(tmp_path):
    (tmp_path / "memory.current").write_text("5")
    (tmp_path / "memory.stat").write_text("inactive_file 7")
    assert group_memory(tmp_path) == 0
