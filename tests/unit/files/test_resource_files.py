"""The samples of what attempts use, in a folder to which their trainers can write, too."""

import json
import os
from itertools import pairwise

import pytest

from backend.domain.execution.usage import Usage
from backend.files.outputs import Outputs
from backend.files.resource_files import KEPT, MAX_BYTES, ResourceFiles, Sample, thinned


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run" / "resources"


@pytest.fixture
def files(tmp_path, folder):
    return ResourceFiles(Outputs(tmp_path))


def sample(elapsed, **usage):
    return Sample(float(elapsed), Usage(**usage))


def test_samples_are_kept_by_attempt(files, folder):
    first, second = sample(5, cpu=1.5, memory=1000), sample(10, cpu=0.5, gpu=0.25, gpu_memory=7)
    files.append("run", 1, first)
    files.append("run", 1, second)
    files.append("run", 2, second)

    assert files.read("run", 1) == [first, second]
    assert files.read("run", 2) == [second]
    assert files.read("run", 3) == files.read("none", 1) == []
    assert json.loads((folder / "1.jsonl").read_text().splitlines()[0]) == {
        "elapsed": 5.0,
        "cpu": 1.5,
        "memory": 1000,
    }


def test_version_changes_with_each_sample(files):
    assert files.entry("run", 1) is None
    files.append("run", 1, sample(5, cpu=1))
    before = files.entry("run", 1).version
    files.append("run", 1, sample(10, cpu=1))
    assert files.entry("run", 1).version != before


def test_a_long_training_is_thinned(files, folder):
    """Four hours of samples: the file stays small, its peak and its ends are kept."""
    number, largest = 4 * 720, 0
    for row in range(number):
        memory = 10**9 + (5 * 10**8 if row == 500 else 0)
        files.append("run", 1, sample(5 * row, cpu=1.0, memory=memory))
        largest = max(largest, (folder / "1.jsonl").stat().st_size)

    samples = files.read("run", 1)
    assert largest <= MAX_BYTES + 200
    assert max(one.usage.memory for one in samples) == 1.5 * 10**9
    assert samples[0].elapsed < 3600
    assert samples[-1].elapsed == 5 * (number - 1)
    assert [path.name for path in folder.iterdir()] == ["1.jsonl"]


def test_thinned_samples_stand_for_equal_times():
    samples = [sample(5 * row, cpu=float(row % 7), memory=row) for row in range(10 * KEPT)]
    kept = thinned(samples)

    assert KEPT / 2 <= len(kept) <= KEPT
    steps = {later.elapsed - one.elapsed for one, later in pairwise(kept)}
    assert steps == {80.0}
    assert {one.usage.cpu for one in kept} == {6.0}
    assert kept[-1] == sample(samples[-1].elapsed, cpu=6.0, memory=10 * KEPT - 1)
    assert thinned(samples[:KEPT]) == samples[:KEPT]


@pytest.mark.parametrize("elapsed", [[1e10] * 2000, [0] * 2000, [n * 1e-9 for n in range(2000)]])
def test_thinning_ends(elapsed):
    assert len(thinned([sample(one, cpu=1) for one in elapsed])) <= KEPT


HOSTILE = b"""
{"elapsed": 1, "cpu": NaN, "memory": "much", "gpu": -1, "gpu_memory": 1e999}
{"elapsed": -5, "cpu": 1}
{"elapsed": true, "cpu": 1}
{"elapsed": "2", "cpu": 1}
[1, 2]
{"cpu": 1}
{"elapsed": 0.5, "cpu": 1}
{"elapsed": 1e11, "cpu": 1}
{"elapsed": 3, "cpu": 2, "memory": 5}
{"elapsed": 4, "cpu": 2"""


def test_hostile_lines_are_passed_over(files, folder):
    folder.mkdir()
    (folder / "1.jsonl").write_bytes(HOSTILE)
    assert files.read("run", 1) == [sample(1), sample(3, cpu=2.0, memory=5)]


def test_a_huge_file_is_read_in_part_and_then_replaced(files, folder):
    folder.mkdir()
    with (folder / "1.jsonl").open("wb") as file:
        file.write(b'{"elapsed": 1, "cpu": 2}\n')
        file.truncate(2**40)
    assert files.read("run", 1) == [sample(1, cpu=2.0)]

    files.append("run", 1, sample(5, cpu=1.0))
    assert (folder / "1.jsonl").stat().st_size < 100


def test_links_are_not_followed(files, folder, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text('{"elapsed": 1, "cpu": 2}\n')
    folder.symlink_to(tmp_path)
    files.append("run", 1, sample(5, cpu=1.0))  # the link is replaced by a folder
    assert files.read("run", 1) == [sample(5, cpu=1.0)]

    (folder / "1.jsonl").unlink()
    (folder / "1.jsonl").symlink_to(secret)
    with pytest.raises(OSError, match=r"1\.jsonl"):
        files.append("run", 1, sample(10, cpu=1.0))
    assert files.read("run", 1) == []
    assert secret.read_text() == '{"elapsed": 1, "cpu": 2}\n'


def test_nothing_but_a_plain_file_is_written(files, folder, tmp_path):
    folder.mkdir()
    os.mkfifo(folder / "1.jsonl")
    (folder / "2.jsonl").mkdir()
    (tmp_path / "other").write_text("kept")
    os.link(tmp_path / "other", folder / "3.jsonl")
    for attempt in (1, 2, 3):
        with pytest.raises(OSError, match=rf"{attempt}\.jsonl"):
            files.append("run", attempt, sample(5, cpu=1.0))
    assert files.read("run", 1) == files.read("run", 2) == []
    assert (tmp_path / "other").read_text() == "kept"


def test_a_folder_that_is_gone_is_not_made_again(files, folder):
    folder.parent.rmdir()
    with pytest.raises(FileNotFoundError):
        files.append("run", 1, sample(5, cpu=1.0))
    assert not folder.parent.exists()
