import pytest

from backend.launchers import slots_of
from backend.launchers.local import processors
from backend.settings import Settings

GIB = 2**30


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Return a function that makes this machine one of other processors and memory."""

    def make(cpus, gib, quota="max 100000"):
        monkeypatch.setattr(processors.os, "sched_getaffinity", lambda _: range(cpus))
        monkeypatch.setattr(processors, "usable_bytes", lambda: gib * GIB)
        (tmp_path / "cpu.max").write_text(quota)
        monkeypatch.setattr(processors, "CPU_LIMIT", tmp_path / "cpu.max")

    return make


@pytest.mark.parametrize(
    ("cpus", "gib", "quota", "slots"),
    [
        (1, 64, "max 100000", 1),
        (2, 64, "max 100000", 1),
        (5, 64, "max 100000", 2),
        (64, 512, "max 100000", 32),
        (64, 8, "max 100000", 6),  # three quarters of the memory, 1 GiB each
        (8, 1, "max 100000", 1),
        (64, 512, "450000 100000", 2),
        (64, 512, "50000 100000", 1),
        (8, 64, "unknown", 4),
    ],
)
def test_default(machine, cpus, gib, quota, slots):
    machine(cpus, gib, quota)

    assert processors.default_slots() == slots


def test_without_control_groups(machine, tmp_path):
    machine(8, 64)
    (tmp_path / "cpu.max").unlink()

    assert processors.default_slots() == 4


def test_the_setting_counts(machine):
    machine(8, 64)
    kubernetes = {"LAUNCHER": "kubernetes", "AE_MODEL_IMAGE_URL": "model:1"}

    assert slots_of(Settings.from_environment({})) == 4
    assert slots_of(Settings.from_environment({"LOCAL_SLOTS": "7"})) == 7
    assert slots_of(Settings.from_environment(kubernetes | {"LOCAL_SLOTS": "7"})) is None
