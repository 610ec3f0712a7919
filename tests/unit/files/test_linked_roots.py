"""An input or output folder that is itself a link: followed, while links below it are refused."""

import pytest

from backend.files.inputs import Inputs
from backend.files.outputs import Outputs

LARGEST = 1000


@pytest.fixture
def root(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "disk")
    return tmp_path / "root"


def test_linked_output_folder(root, tmp_path):
    outputs = Outputs(root)
    outputs.write_run_file("first", {"uid": "u"})
    (root / "first" / "metrics.jsonl").write_text('{"epoch": 1, "loss": 0.5}\n')

    assert outputs.read_run_file("first") == {"uid": "u"}
    assert outputs.read_last_metrics("first") == {"epoch": 1, "loss": 0.5}
    listed, complete = outputs.list_files("first")
    assert ([entry.path for entry in listed], complete) == (["metrics.jsonl", "run.json"], True)
    with outputs.open_listed("first", "run.json") as file:
        assert file.read()
    assert list(outputs.list_folders()) == ["first"]
    outputs.set_aside("first", "u")
    outputs.remove_aside("u")
    assert list((tmp_path / "disk").iterdir()) == []


def test_links_below_are_refused(root, tmp_path):
    outputs = Outputs(root)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "metrics.jsonl").write_text('{"epoch": 1}\n')
    (root / "first").symlink_to(tmp_path / "secret")

    assert outputs.open("first", "metrics.jsonl") is None
    assert outputs.list_files("first") == ([], True)
    with pytest.raises(OSError, match="first"):
        outputs.write_tombstone("first", {"uid": "u"})


def test_linked_input_folder(root, tmp_path):
    inputs = Inputs(root)
    inputs.write("a.csv", [b"1,2\n"], max_bytes=LARGEST)

    assert inputs.list_names() == ["a.csv"]
    assert (tmp_path / "disk" / "a.csv").read_bytes() == b"1,2\n"
    assert [entry.path for entry in inputs.list_entries()] == ["a.csv"]


def test_link_to_another_folder_counts_at_once(root, tmp_path):
    inputs = Inputs(root)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.csv").write_text("1,2\n")
    root.unlink()
    root.symlink_to(tmp_path / "other")

    assert inputs.list_names() == ["b.csv"]
    with inputs.open("b.csv") as file:
        assert file.read() == b"1,2\n"
