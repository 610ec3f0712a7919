"""The real trainer and the files that an experiment was submitted with."""

import pytest

from tests.integration.backend_process import ROOT, Installation
from tests.integration.waiting import eventually

FORM = {"learning_rate": "0.001", "epoch": "100000", "experiment_id": "first"}
ROWS = "".join(f"{number},{number % 7},{number % 5}\n" for number in range(200))


@pytest.fixture
def server(tmp_path, environ):
    installation = Installation(
        tmp_path / "installation", environ, ROOT / "models" / "autoencoder" / "train.py"
    )
    (tmp_path / "input" / "a.csv").write_text(ROWS)
    yield installation.start("serve").ready()
    installation.close()


def cancel_in_training(server):
    """Cancel the experiment once it has a checkpoint to continue from."""
    eventually(lambda: server.ask("/experiments/first").json["progress"]["epoch"])
    server.ask("/experiments/first/cancel", {"": ""})
    server.reaches("first", "cancelled")


def test_files_of_others_change_nothing(server, tmp_path):
    """Case every-file-changes: a file is added while an attempt trains, or before the retry."""
    submitted = server.ask("/test", FORM).json
    assert [one["name"] for one in submitted["inputs"]] == ["a.csv"]
    cancel_in_training(server)
    (tmp_path / "input" / "b.csv").write_text("1,2,3\n4,5,6\n")
    (tmp_path / "input" / "c.csv").write_text("it fits nothing")
    epochs = server.ask("/experiments/first").json["progress"]["epoch"]
    server.ask("/experiments/first/retry", {"": ""})
    eventually(lambda: server.ask("/experiments/first").json["progress"]["epoch"] > epochs)
    server.ask("/experiments/first/cancel", {"": ""})
    server.reaches("first", "cancelled")


@pytest.mark.parametrize("change", ["rewritten", "removed"])
def test_changed_file_fails_the_retry(server, tmp_path, change):
    server.ask("/test", FORM)
    cancel_in_training(server)
    path = tmp_path / "input" / "a.csv"
    if change == "removed":
        path.unlink()
    else:
        path.write_text(ROWS.replace("6", "7"))  # the same size
    server.ask("/experiments/first/retry", {"": ""})
    failed = server.reaches("first", "failed")
    assert failed["diagnosis"]["reason"] == "input_changed"
    assert "a.csv" in failed["diagnosis"]["message"]


def test_files_in_the_folder_become_known(server):
    """The reconciler examines what others have put there."""
    found = eventually(lambda: [one for one in server.ask("/inputs").json if one["examined"]])
    assert (found[0]["rows"], found[0]["columns"]) == (200, 3)
    assert len(found[0]["sha256"]) == 64
