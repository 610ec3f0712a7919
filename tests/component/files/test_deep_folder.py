import os
import subprocess

import pytest

from backend.files.outputs import Outputs


@pytest.fixture
def outputs(tmp_path):
    return Outputs(tmp_path)


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


def test_deep_folder_is_removed(outputs, deep):
    """Depth is no limit, and the targets of links inside stay."""
    os.mkfifo(deep / "pipe")
    (deep / "empty").mkdir(mode=0o500)

    outputs.remove("first")

    assert not deep.exists()
    assert (deep.parent / "other" / "file").exists()
    outputs.remove("first")  # what is gone is gone
