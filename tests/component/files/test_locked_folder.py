"""A trainer takes the rights to its own folders away; its owner removes them nevertheless."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from backend.files.outputs import Outputs

NOBODY = 65_534


@pytest.fixture
def root():
    """An output folder of this user, who is not root meanwhile: root needs no rights."""
    folder = Path(tempfile.mkdtemp())
    user = os.geteuid()
    if user == 0:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    yield folder
    os.seteuid(user)
    subprocess.run(["chmod", "-R", "u+rwx", folder], check=True)
    shutil.rmtree(folder)


@pytest.mark.parametrize("mode", [0o000, 0o100, 0o400, 0o500, 0o600])
def test_own_folders_are_removed(root, mode):
    inner = root / "first" / "locked" / "inner"
    (inner / "innermost").mkdir(parents=True)
    (inner / "file").touch(mode=0o000)
    for folder in (inner / "innermost", inner, inner.parent, inner.parent.parent):
        folder.chmod(mode)

    Outputs(root).remove("first")

    assert list(root.iterdir()) == []


def test_link_target_keeps_its_rights(root):
    (root / "other").mkdir(mode=0o500)
    (root / "first").mkdir()
    (root / "first" / "link").symlink_to(root / "other")
    Outputs(root).remove("first")

    assert (root / "other").stat().st_mode & 0o777 == 0o500


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of another user")
def test_foreign_folder_is_named(root):
    os.seteuid(0)
    (root / "first" / "foreign").mkdir(parents=True)
    (root / "first" / "foreign" / "file").touch()
    os.chown(root / "first", NOBODY, NOBODY)
    os.seteuid(NOBODY)

    with pytest.raises(PermissionError) as refusal:
        Outputs(root).remove("first")

    assert refusal.value.filename == "first/foreign"
