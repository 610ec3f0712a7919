"""The probe of the preflight check on real folders, and the check of one machine."""

import json
import os

import pytest

from backend.launchers.preflight import probe as probe_module
from backend.launchers.preflight.check import Machine, check
from backend.launchers.preflight.probe import FOLDER, main, probe


@pytest.fixture
def folders(tmp_path):
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
    return {name: tmp_path / name for name in ("input", "output")}


def test_nodes_see_each_other_and_leave_nothing(folders):
    for node in ("a", "b"):
        result = probe("write", "run", node, (), folders)
        assert result["uid"] == os.getuid()
        assert result["output"]["free"] > 0
        assert 0 < result["output"]["latency"] < 60
    assert probe("read", "run", "a", ["a", "b"], folders)["input"]["unseen_count"] == 0
    for _ in range(2):  # each node removes the same folder
        probe("remove", "run", "a", (), folders)
    assert [*folders["input"].iterdir(), *folders["output"].iterdir()] == []


def test_files_that_are_missing_or_of_another_run(folders):
    probe("write", "old", "a", (), folders)
    probe("write", "run", "b", (), folders)
    (folders["output"] / FOLDER / "run" / "c").write_text("old c 19")
    nodes = ["a", "b", "c"]
    assert probe("read", "run", "b", nodes, folders)["output"] == {
        "unseen": ["a", "c"],
        "unseen_count": 2,
    }
    probe("remove", "run", "b", (), folders)
    assert (folders["output"] / FOLDER / "old" / "a").exists()


def test_folder_that_is_no_folder(folders):
    folders["output"].rmdir()
    folders["output"].write_text("")
    result = probe("write", "run", "a", (), folders)["output"]
    assert "directory" in result["error"]
    assert {"owner", "mode"} <= result.keys()


def test_result_is_the_termination_message(folders, tmp_path, monkeypatch, capsys):
    message = tmp_path / "termination-log"
    monkeypatch.setattr(probe_module, "FOLDERS", folders)
    monkeypatch.setattr(probe_module, "MESSAGE", message)
    names = [f"node-{number:03}.of.a.cluster.with.long.names.example.com" for number in range(500)]
    monkeypatch.setattr("sys.argv", ["probe", "read", "run", "a", *names])
    main()
    assert capsys.readouterr().out.strip() == message.read_text()
    assert json.loads(message.read_text())["input"]["unseen_count"] == 500
    assert message.stat().st_size < 4096  # what the kubelet keeps of it


def test_this_machine(folders):
    report = check(Machine(folders, "laptop"))
    assert report.is_good
    lines = [*report.lines()]
    assert lines[0].startswith("laptop: input folder: written by user")
    assert lines[-1] == "1 node(s) can train, and share both folders."


def test_machine_without_output_folder(folders):
    folders["output"].rmdir()
    folders["output"].write_text("")
    report = check(Machine(folders, "laptop"))
    assert not report.is_good
    text = "\n".join(report.lines())
    assert "laptop: output folder: Not a directory" in text
    assert "PROBLEM: The output folder cannot be written on laptop" in text
    assert "What to do: " in text
