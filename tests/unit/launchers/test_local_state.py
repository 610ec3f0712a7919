"""The state files of a local attempt are damaged: empty after a power cut, or overwritten."""

import fcntl
import json
from dataclasses import replace

import pytest

from backend.domain.attempt import Attempt
from backend.domain.execution.usage import Usage
from backend.launchers.base import Phase
from backend.launchers.local.launcher import LocalLauncher
from backend.settings import Settings

GOOD = Attempt("good", "a" * 32, "autoencoder", 0.001, 20, None, 1)
BAD = replace(GOOD, experiment_id="bad", uid="b" * 32)
AT = "2024-02-29T12:00:00+00:00"
EXIT = {"code": 0, "cancelled": False, "started_at": AT, "finished_at": AT}
DAMAGE = [b"", b"\0" * 64, b'{"uid', b"[]", b"null", b"5", b"{}", b"[" * 100_000, b"\xff"]
WRONG_VALUES = [{"code": "0"}, {"finished_at": 5}, {"finished_at": "2024-02-29T12:00:00"}]
WRONG_EXITS = [json.dumps(EXIT | value).encode() for value in WRONG_VALUES]


@pytest.fixture
def launcher(tmp_path):
    return LocalLauncher(Settings.from_environment({"OUTPUT_DIR": str(tmp_path)}))


@pytest.fixture
def leave(launcher, tmp_path):
    """Return a function that leaves the state of an ended attempt, and returns its folder."""

    def leave(attempt):
        state = tmp_path / ".local" / attempt.handle
        state.mkdir(parents=True)
        (state / "job.json").write_text(json.dumps(launcher.render(attempt)))
        (state / "runner.json").write_text('{"pid": 4194304}')
        (state / "started.json").write_text(json.dumps({"at": AT, "pid": 4194304}))
        (state / "exit.json").write_text(json.dumps(EXIT))
        return state

    return leave


@pytest.fixture
def keep_alive():
    """Return a function that locks a state folder as its runner does."""
    locks = []

    def keep_alive(state):
        (state / "exit.json").unlink()
        locks.append((state / "lock").open("a"))
        fcntl.flock(locks[-1], fcntl.LOCK_EX)

    yield keep_alive
    for lock in locks:
        lock.close()


def bad_one(launcher):
    """Return the observation of the damaged attempt, after a check that the other is observed."""
    observed = launcher.observe()
    assert observed[GOOD.handle].phase is Phase.SUCCEEDED
    assert observed[GOOD.handle].attempt == GOOD
    return observed.get(BAD.handle)


@pytest.mark.parametrize("content", [*DAMAGE, *WRONG_EXITS])
def test_damaged_end_is_lost(launcher, leave, content):
    leave(GOOD)
    (leave(BAD) / "exit.json").write_bytes(content)

    seen = bad_one(launcher)
    assert (seen.uid, seen.phase, seen.attempt) == (BAD.uid, Phase.LOST, BAD)
    assert seen.diagnosis.reason == "process_lost"


@pytest.mark.parametrize("content", DAMAGE)
def test_damaged_job_is_left_out(launcher, leave, content, caplog):
    leave(GOOD)
    (leave(BAD) / "job.json").write_bytes(content)

    assert bad_one(launcher) is None
    assert bad_one(launcher) is None
    [record] = caplog.records
    assert BAD.handle in record.getMessage()


@pytest.mark.parametrize("content", DAMAGE)
def test_damaged_job_of_living_process(launcher, leave, keep_alive, content):
    """Nothing is recorded of it: otherwise a retry would start a second trainer beside it."""
    leave(GOOD)
    state = leave(BAD)
    (state / "job.json").write_bytes(content)
    keep_alive(state)

    assert bad_one(launcher).phase is Phase.UNKNOWN


@pytest.mark.parametrize("content", DAMAGE)
def test_damaged_start_of_living_process(launcher, leave, keep_alive, content):
    leave(GOOD)
    state = leave(BAD)
    (state / "started.json").write_bytes(content)
    (state / "runner.json").write_bytes(content)
    keep_alive(state)

    seen = bad_one(launcher)
    assert (seen.phase, seen.started_at) == (Phase.RUNNING, None)
    launcher.cancel(BAD.handle)
    assert (state / "cancel").exists()


@pytest.mark.parametrize("pid", [0, 1, -1, True, "5", 10**30])
def test_no_signal_to_wrong_process(launcher, leave, keep_alive, pid, monkeypatch):
    """`kill(-1)` would end every process of this user."""
    signals = []
    monkeypatch.setattr("os.kill", lambda *arguments: signals.append(arguments))
    monkeypatch.setattr("os.killpg", lambda *arguments: signals.append(arguments))
    state = leave(BAD)
    for name in ("runner.json", "started.json"):
        (state / name).write_text(json.dumps({"pid": pid, "at": AT}))
    keep_alive(state)
    launcher.cancel(BAD.handle)

    assert signals == []


@pytest.mark.parametrize(
    "line",
    [
        "MemoryError",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8.00 GiB for an array",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't "
        "allocate memory: you tried to allocate 8589934592 bytes. Error code 12",
        "OSError: [Errno 12] Cannot allocate memory",
        "  what():  std::bad_alloc",
    ],
)
def test_out_of_memory_by_last_line(launcher, leave, tmp_path, line):
    """As Python, NumPy, PyTorch, the kernel and C++ put it."""
    state = leave(BAD)
    (state / "exit.json").write_text(json.dumps(EXIT | {"code": 1}))
    log = tmp_path / BAD.experiment_id / "logs" / "1.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"Traceback (most recent call last):\n{line}\n\n")

    why = launcher.observe()[BAD.handle].diagnosis
    assert why.reason == "out_of_memory"
    assert " ".join(line.split()) in why.message


@pytest.mark.parametrize(
    ("ended", "used", "limit"),
    [
        (
            {"peak_bytes": 199 * 2**20, "cpu_seconds": 12.0, "limit_bytes": 2**31},
            Usage(cpu=1.2, memory=199 * 2**20),
            2**31,
        ),
        ({"peak_bytes": None, "limit_bytes": 2**31}, Usage(), 2**31),
        ({"peak_bytes": "1", "cpu_seconds": "1", "limit_bytes": []}, Usage(), None),
        ({"peak_bytes": -1, "cpu_seconds": float("inf"), "limit_bytes": 1e300}, Usage(), None),
        ({}, Usage(), None),
    ],
)
def test_usage_of_an_attempt_that_ended(launcher, leave, ended, used, limit):
    """The mean of its processors over 10 seconds, and the memory of its largest process."""
    state = leave(BAD)
    times = {"started_at": "2026-01-01T00:00:00+00:00", "finished_at": "2026-01-01T00:00:10+00:00"}
    content = EXIT | times | {"code": 137, "out_of_memory": True} | ended
    (state / "exit.json").write_text(json.dumps(content))

    seen = launcher.observe()[BAD.handle]
    assert (seen.used, seen.memory_limit) == (used, limit)
    assert seen.diagnosis.reason == "out_of_memory"
    assert seen.diagnosis.message.endswith("LOCAL_MEMORY allows and was killed.")


@pytest.mark.parametrize("line", ["ValueError: no memory of it", "CUDA out of memory"])
def test_other_last_lines(launcher, leave, tmp_path, line):
    state = leave(BAD)
    (state / "exit.json").write_text(json.dumps(EXIT | {"code": 1}))
    log = tmp_path / BAD.experiment_id / "logs" / "1.log"
    log.parent.mkdir(parents=True)
    log.write_text(line)

    assert launcher.observe()[BAD.handle].diagnosis.reason == "trainer_failed"
