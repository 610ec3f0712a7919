import json
import os

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


def test_run_json_written_atomically(outputs, tmp_path):
    outputs.write_run_file("실험 1", {"uid": "u", "experiment_id": "실험 1"})
    outputs.write_run_file("실험 1", {"uid": "u", "experiment_id": "실험 1", "status": "queued"})

    assert [path.name for path in (tmp_path / "실험 1").iterdir()] == ["run.json"]
    assert json.loads((tmp_path / "실험 1" / "run.json").read_text())["status"] == "queued"


def test_run_json_of_other_uid_kept(outputs, tmp_path):
    outputs.write_run_file("first", {"uid": "one"})

    with pytest.raises(FolderTaken):
        outputs.write_run_file("first", {"uid": "two"})
    assert not outputs.is_free("first")


def test_empty_folder_is_free(outputs, tmp_path):
    assert outputs.is_free("first")
    (tmp_path / "first").mkdir()
    assert outputs.is_free("first")
    (tmp_path / "first" / ".run.json.123").touch()  # left by a process that was killed
    assert outputs.is_free("first")


def test_last_metrics(outputs):
    assert outputs.read_last_metrics("first") is None
    write_metrics(outputs, '{"epoch": 1}\n{"epoch": 2}\n')
    assert outputs.read_last_metrics("first") == {"epoch": 2}


@pytest.mark.parametrize("end", ['{"epoch": 3', '{"epoch": 3}', "nonsense\n", "[3]\n", "\n"])
def test_incomplete_line_is_ignored(outputs, end):
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
def test_unusable_values_are_none(outputs, written, shown):
    write_metrics(outputs, f'{{"epoch": 1, "loss": {written}}}\n')

    assert outputs.read_last_metrics("first") == {"epoch": 1, "loss": shown}


def test_unusable_metric_names_left_out(outputs):
    names = ["\\ud800", "\\u0000", "x" * 101, *(f"metric {n}" for n in range(100))]
    write_metrics(outputs, "{" + ", ".join(f'"{name}": 1' for name in names) + "}\n")

    assert list(outputs.read_last_metrics("first")) == [f"metric {n}" for n in range(32)]


def test_linked_folder_is_not_emptied(outputs, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    outputs.folder("first").symlink_to(tmp_path / "other")

    with pytest.raises(OSError, match="first"):
        outputs.remove("first")
    assert (tmp_path / "other" / "file").exists()


def test_planted_link_not_followed(outputs, tmp_path):
    (tmp_path / "secret").write_text('{"password": 1}\n')
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "metrics.jsonl").symlink_to(tmp_path / "secret")

    assert outputs.read_last_metrics("first") is None


def test_planted_pipe_does_not_block(outputs, tmp_path):
    (tmp_path / "first").mkdir()
    os.mkfifo(tmp_path / "first" / "metrics.jsonl")

    assert outputs.read_last_metrics("first") is None


def test_planted_link_not_written_through(outputs, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "run.json").symlink_to(tmp_path / "elsewhere" / "file")

    outputs.write_run_file("first", {"uid": "u"})

    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert json.loads((tmp_path / "first" / "run.json").read_text()) == {"uid": "u"}


def test_tombstone_of_a_removed_folder(outputs, tmp_path):
    """A delete with outputs that races a retry removes the folder first."""
    outputs.remove_tombstone("first")

    assert list(tmp_path.iterdir()) == []
