import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend.files.untrusted import entry_of, is_public, list_files, open_file


@pytest.mark.parametrize("name", ["a", "a.b", "실험 1", "a b", "x..a", "C:"])
def test_public_names(name):
    assert is_public(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".a", "a/b", "a\\b", "a\0", "a\n", "\x7f", "\ud800", os.fsdecode(b"\xff")],
)
def test_private_names(name):
    assert not is_public(name)


def test_open_file(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"content")

    with open_file(tmp_path, ["a", "b", "c"]) as file:
        assert file.read() == b"content"


@pytest.mark.parametrize(
    "parts", [[], ["a"], ["no"], ["a", ".."], ["a", "", "c"], ["a", "\ud800"], ["a", "x" * 300]]
)
def test_open_file_returns_none(tmp_path, parts):
    (tmp_path / "a").mkdir()

    assert open_file(tmp_path, parts) is None


def descriptors():
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_no_descriptor_leaks(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "link").symlink_to("b")
    os.mkfifo(tmp_path / "a" / "pipe")
    before = descriptors()
    for parts in (
        ["a", "b"],
        ["a", "link", "c"],
        ["a", "pipe"],
        ["a", "b", "c"],
        ["a", "b", "c", "d"],
    ):
        assert open_file(tmp_path, parts) is None
    list_files(tmp_path, "a", limit=1)

    assert descriptors() == before


@pytest.mark.parametrize(
    ("seconds", "year"), [(2.0**60, 9999), (-(2.0**40), 1970), (1_700_000_000.0, 2023)]
)
def test_extreme_times_are_clamped(seconds, year):
    times = {"st_mtime": seconds, "st_mtime_ns": int(seconds * 10**9)}
    file = os.stat_result((0, 0, 0, 0, 0, 0, 7, 0, 0, 0), times)

    assert entry_of("a", file).modified.year == year
    assert entry_of("a", file).size == 7
    assert entry_of("a", file).modified <= datetime.max.replace(tzinfo=UTC)
