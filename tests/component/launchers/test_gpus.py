"""What nvidia-smi says of GPUs: a fake program in PATH, which answers as the test tells it to."""

import logging

import pytest

from backend.launchers.local import gpus
from backend.launchers.local.gpus import Gpus

MIB = 2**20
SCRIPT = """#!/bin/sh
echo "$@" >> {folder}/asked
case "$1" in
  --query-gpu=uuid,utilization.gpu) cat {folder}/gpus ;;
  --query-compute-apps=pid,gpu_uuid,used_gpu_memory) cat {folder}/processes ;;
  *) exit 2 ;;
esac
"""


class Machine:
    """A machine with nvidia-smi."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.now = folder, 1000.0
        self.install(SCRIPT.format(folder=folder))
        monkeypatch.setenv("PATH", str(folder), prepend=":")
        monkeypatch.setattr(gpus.time, "monotonic", lambda: self.now)

    def install(self, script):
        program = self.folder / "nvidia-smi"
        program.write_text(script)
        program.chmod(0o755)

    def answer(self, of_gpus, of_processes):
        (self.folder / "gpus").write_text(of_gpus)
        (self.folder / "processes").write_text(of_processes)

    def times_asked(self):
        return len((self.folder / "asked").read_text().splitlines())


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def test_no_nvidia_smi(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = Gpus()
    assert found.read() == {}
    assert found.total([]) == (None, None)


def test_gpus_of_processes(machine):
    """Two processes share a GPU, whose use counts once."""
    machine.answer("GPU-a, 50\nGPU-b, 100\n", "11, GPU-a, 300\n11, GPU-b, 1000\n12, GPU-a, 20\n")
    found = Gpus()
    used = found.read()

    assert used == {11: {"GPU-a": 300 * MIB, "GPU-b": 1000 * MIB}, 12: {"GPU-a": 20 * MIB}}
    assert found.total([used[11], used[12]]) == (1.5, 1320 * MIB)
    assert found.total([used[12]]) == (0.5, 20 * MIB)
    assert found.total([]) == (None, None)


def test_it_is_not_asked_all_the_time(machine):
    machine.answer("GPU-a, 50\n", "11, GPU-a, 300\n")
    found = Gpus()
    for _ in range(3):
        assert found.read().keys() == {11}
    assert machine.times_asked() == 2
    machine.now += gpus.READ_SECONDS
    machine.answer("GPU-a, 0\n", "")
    assert found.read() == {}
    assert machine.times_asked() == 4


@pytest.mark.parametrize(
    "row",
    ["", ",,", "11", "x, GPU-a, 5", "-11, GPU-a, 5", "11, GPU-a, 5, 6", "9" * 30 + ", GPU-a, 1"],
)
def test_rows_that_say_nothing(machine, row):
    machine.answer(f"{row}\nGPU-a, 200\nGPU-a\n", f"{row}\n12, GPU-a, 5\n")
    found = Gpus()
    assert found.read() == {12: {"GPU-a": 5 * MIB}}
    assert found.total(found.read().values()) == (None, 5 * MIB)


@pytest.mark.parametrize("text", ["[N/A]", "[Not Supported]", "-5", "1e300", "nan", ""])
def test_figures_that_are_not_known(machine, text):
    machine.answer(f"GPU-a, {text}\n", f"11, GPU-a, {text}\n")
    found = Gpus()
    assert found.read() == {11: {"GPU-a": None}}
    assert found.total(found.read().values()) == (None, None)


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 9\n", "#!/bin/sh\nexec sleep 60\n", "\0"])
def test_a_program_that_fails_is_left_alone_for_a_while(machine, monkeypatch, caplog, script):
    """The driver is not loaded, or hangs, or the program cannot be executed."""
    monkeypatch.setattr(gpus, "ANSWER_SECONDS", 0.2)
    machine.install(script)
    caplog.set_level(logging.INFO)
    found = Gpus()
    for _ in range(3):
        assert found.read() == {}
        machine.now += gpus.RETRY_SECONDS / 4
    assert len(caplog.records) == 1

    machine.install(SCRIPT.format(folder=machine.folder))
    machine.answer("GPU-a, 50\n", "11, GPU-a, 300\n")
    machine.now += gpus.RETRY_SECONDS
    assert found.read().keys() == {11}
