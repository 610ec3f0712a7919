"""Which machine or cluster a server runs its Jobs on."""

import os
from dataclasses import replace

import pytest

from backend.launchers import owner as module
from backend.launchers.kubernetes.cluster import _authorities
from backend.launchers.owner import owner_of
from backend.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings.from_environment(
        {"DATA_DIR": str(tmp_path / "data"), "OUTPUT_DIR": str(tmp_path / "output")}
    )


@pytest.fixture
def no_machine_id(monkeypatch, tmp_path):
    (tmp_path / "empty").touch()
    paths = (tmp_path / "missing", tmp_path / "empty")
    monkeypatch.setattr(module, "MACHINE_IDS", paths)
    owner_of.cache_clear()
    yield
    owner_of.cache_clear()


def test_link_and_its_target_are_one_folder(settings, tmp_path):
    (tmp_path / "link").symlink_to(settings.output_dir)
    linked = replace(settings, output_dir=tmp_path / "link")

    assert owner_of(settings).is_same(owner_of(linked))


def test_own_id_survives_restart(settings, no_machine_id):
    first = owner_of(settings)
    owner_of.cache_clear()

    assert owner_of(settings) == first
    assert [path.name for path in settings.data_dir.iterdir()] == ["machine-id"]


def test_machine_without_a_writable_folder(settings, no_machine_id, tmp_path):
    (tmp_path / "file").touch()
    unwritable = replace(settings, data_dir=tmp_path / "file")

    assert not owner_of(unwritable).is_same(owner_of(settings))
    assert len(owner_of(unwritable).marks) == 1


def test_machine_id_is_not_exposed(settings, monkeypatch, tmp_path):
    (tmp_path / "id").write_text("a" * 32 + os.linesep)
    monkeypatch.setattr(module, "MACHINE_IDS", (tmp_path / "id",))
    owner_of.cache_clear()

    assert "a" * 32 not in owner_of(settings).to_text()
    owner_of.cache_clear()


def test_no_readable_authority(tmp_path):
    (tmp_path / "ca.crt").write_text("no certificate")

    assert _authorities(str(tmp_path / "ca.crt")) == _authorities(None) == frozenset()
    assert _authorities(str(tmp_path / "missing")) == frozenset()
