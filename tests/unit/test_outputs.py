import json
import os
import subprocess

import pytest

from backend.domain.exceptions import FolderTaken
from backend.files.outputs import Outputs


@pytest.fixture
def outputs(tmp_path):
    return Outputs(tmp_path)


def write_metrics(outputs, text):
    folder = outputs.folder("first")
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text(text)


def test_a_run_is_written_whole(outputs, tmp_path):
    outputs.write_run_file("실험 1", {"uid": "u", "experiment_id": "실험 1"})
    outputs.write_run_file("실험 1", {"uid": "u", "experiment_id": "실험 1", "status": "queued"})

    assert [path.name for path in (tmp_path / "실험 1").iterdir()] == ["run.json"]
    assert json.loads((tmp_path / "실험 1" / "run.json").read_text())["status"] == "queued"


def test_another_runs_file_is_not_overwritten(outputs, tmp_path):
    outputs.write_run_file("first", {"uid": "one"})

    with pytest.raises(FolderTaken):
        outputs.write_run_file("first", {"uid": "two"})
    assert not outputs.is_free("first")


def test_an_empty_folder_is_free(outputs, tmp_path):
    assert outputs.is_free("first")
    (tmp_path / "first").mkdir()
    assert outputs.is_free("first")
    (tmp_path / "first" / ".run.json.123").touch()  # left by a process that was killed
    assert outputs.is_free("first")


def test_the_last_metrics(outputs):
    assert outputs.read_last_metrics("first") is None
    write_metrics(outputs, '{"epoch": 1}\n{"epoch": 2}\n')
    assert outputs.read_last_metrics("first") == {"epoch": 2}


@pytest.mark.parametrize("end", ['{"epoch": 3', '{"epoch": 3}', "nonsense\n", "[3]\n", "\n"])
def test_a_line_that_is_not_whole_is_left_for_later(outputs, end):
    write_metrics(outputs, '{"epoch": 2}\n' + end)

    assert outputs.read_last_metrics("first") == {"epoch": 2}


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("NaN", None),
        ("-Infinity", None),
        ("1" + "0" * 400, None),
        ('"\\ud800"', None),
        ('"\\u202e"', None),
        ("[" * 900 + "]" * 900, None),
        ('{"a": 1}', None),
        ("null", None),
        ("true", True),
        ("1e308", 1e308),
        ('"<b>"', "<b>"),
    ],
)
def test_what_no_answer_can_hold_is_none(outputs, written, shown):
    write_metrics(outputs, f'{{"epoch": 1, "loss": {written}}}\n')

    assert outputs.read_last_metrics("first") == {"epoch": 1, "loss": shown}


def test_names_that_no_answer_can_hold_are_left_out(outputs):
    names = ["\\ud800", "\\u0000", "x" * 101, *(f"metric {n}" for n in range(100))]
    write_metrics(outputs, "{" + ", ".join(f'"{name}": 1' for name in names) + "}\n")

    assert list(outputs.read_last_metrics("first")) == [f"metric {n}" for n in range(32)]


@pytest.fixture
def deep(tmp_path):
    """A folder with more folders in one another than a process may have calls or open files."""
    folder = tmp_path / "first"
    folder.mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    inner = os.open(folder, os.O_RDONLY)
    for depth in range(1200):
        os.symlink(tmp_path / "other", "link", dir_fd=inner)
        os.mkdir(f"{depth % 2}", dir_fd=inner)
        outer, inner = inner, os.open(f"{depth % 2}", os.O_RDONLY, dir_fd=inner)
        os.close(outer)
    os.close(inner)
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)  # pytest itself could not remove it


def test_a_folder_is_removed_however_deep_it_is_and_links_are_not_followed(outputs, deep):
    os.mkfifo(deep / "pipe")
    (deep / "empty").mkdir(mode=0o500)

    outputs.remove("first")

    assert not deep.exists()
    assert (deep.parent / "other" / "file").exists()
    outputs.remove("first")  # what is gone is gone


def test_a_folder_that_is_a_link_is_not_emptied(outputs, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    outputs.folder("first").symlink_to(tmp_path / "other")

    with pytest.raises(OSError, match="first"):
        outputs.remove("first")
    assert (tmp_path / "other" / "file").exists()


def test_a_link_that_a_trainer_planted_is_not_followed(outputs, tmp_path):
    (tmp_path / "secret").write_text('{"password": 1}\n')
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "metrics.jsonl").symlink_to(tmp_path / "secret")

    assert outputs.read_last_metrics("first") is None


def test_a_pipe_that_a_trainer_planted_does_not_hold_us(outputs, tmp_path):
    (tmp_path / "first").mkdir()
    os.mkfifo(tmp_path / "first" / "metrics.jsonl")

    assert outputs.read_last_metrics("first") is None


def test_nothing_is_written_through_a_link_that_a_trainer_planted(outputs, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "run.json").symlink_to(tmp_path / "elsewhere" / "file")

    outputs.write_run_file("first", {"uid": "u"})

    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert json.loads((tmp_path / "first" / "run.json").read_text()) == {"uid": "u"}
