import logging
import os

import pytest

from backend.files.catalogue.entries import BUILT_IN, MAX_ENTRIES, CatalogueFiles
from backend.files.catalogue.loader import MAX_FILE_BYTES

ENTRY = "description: Ours\nimage: localhost:5000/ours:1\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def files(folder):
    return CatalogueFiles([BUILT_IN, folder])


def add(folder, name, text=ENTRY):
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "model.yaml").write_text(text)


def test_autoencoder_is_always_there(folder):
    catalogue = CatalogueFiles([folder]).current()

    assert list(catalogue.entries) == ["autoencoder"]
    assert list(catalogue.entries["autoencoder"].parameters) == ["learning_rate", "epoch"]
    assert not catalogue.problems


def test_changes_are_seen(folder, files):
    add(folder, "ours")
    (folder / "theirs.yaml").write_text("description: no\n")

    assert files.current().entries["ours"].description == "Ours"
    assert files.find("theirs")[0].description == "no"  # text, as YAML 1.2 has it
    assert files.current() is files.current()

    add(folder, "ours", "description: Others\n")
    assert files.find("ours")[0].description == "Others"
    (folder / "theirs.yaml").unlink()
    assert files.find("theirs") == (None, "")
    add(folder, "late")
    assert files.find("late")[0].description == "Ours"


def test_mounted_config_map_is_swapped(folder, files):
    """The kubelet replaces the link `..data`; each file is a link through it."""
    for version in ("1", "2"):
        (folder / f"..{version}").mkdir()
        (folder / f"..{version}" / "ours.yaml").write_text(f"description: v{version}\n")
    (folder / "..data").symlink_to("..1")
    (folder / "ours.yaml").symlink_to("..data/ours.yaml")
    assert files.find("ours")[0].description == "v1"

    (folder / "..new").symlink_to("..2")
    (folder / "..new").replace(folder / "..data")
    assert files.find("ours")[0].description == "v2"
    assert not files.current().problems


def test_later_folder_takes_precedence(tmp_path, folder):
    add(tmp_path, "autoencoder", "description: First\n")
    add(folder, "autoencoder", "description: Second\n")

    found = CatalogueFiles([tmp_path, folder]).current()
    assert found.entries["autoencoder"].description == "Second"
    add(folder, "autoencoder", "x: 1")
    assert "autoencoder" not in CatalogueFiles([tmp_path, folder]).current().entries


WRONG = {
    "alias": "description: &a x\nimage: *a\n",
    "bomb": "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "repeated": "image: a\nimage: b\n",
    "nested": "[" * 30_000,
    "digits": "description: x\nparameters: {a: {type: integer, maximum: " + "9" * 5000 + "}}",
    "unclosed": "image: 'x\n",
    "tag": "image: !!python/object/apply:os.system [ls]\n",
    "binary": "image: !!binary aGVsbG8=\n",
    "time": "description: !!timestamp 2026-01-01\n",
    "key": "[1]: x\n",
    "control": "image: \x01\n",
    "surrogate": 'description: "\\ud800"\n',
    "list": "- a\n",
    "empty": "",
    "two": "a: 1\n---\nb: 1\n",
    "large": "#" * (MAX_FILE_BYTES + 1),
    "unknown": "docker: x\n",
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_entry_harms_no_other(folder, files, caplog, name):
    add(folder, "ours")
    add(folder, name, WRONG[name])

    catalogue = files.current()
    assert {"autoencoder", "ours"} <= catalogue.entries.keys()
    assert list(catalogue.problems) == [name]
    problem = catalogue.problems[name]
    assert problem.startswith(f"{name}/model.yaml: ")
    assert str(folder) not in problem
    assert len(problem) < 400
    assert files.find(name) == (None, problem)
    assert caplog.text.count(name) >= 1
    caplog.clear()
    files.current()
    assert not caplog.records  # logged once

    add(folder, name)
    assert name in files.current().entries
    assert not files.current().problems


def test_wrong_names_and_encodings(folder, files):
    add(folder, "Bad name")
    (folder / "latin").mkdir()
    (folder / "latin" / "model.yaml").write_bytes(b"description: \xe9\n")
    os.mkfifo(folder / "fifo.yaml")
    (folder / "folder.yaml").mkdir()
    (folder / "gone.yaml").symlink_to("nothing")

    problems = files.current().problems
    assert problems.keys() == {"Bad name", "latin", "fifo", "folder"}
    assert "UTF-8" in problems["latin"]


def test_two_files_of_one_model(folder, files):
    add(folder, "ours")
    (folder / "ours.yaml").write_text(ENTRY)

    assert "both" in files.current().problems["ours"]
    assert files.find("ours")[0] is None


def test_number_of_entries_is_bounded(folder, files, caplog):
    caplog.set_level(logging.ERROR)
    for number in range(MAX_ENTRIES + 1):
        (folder / f"m{number:04}.yaml").write_text("{}")

    catalogue = files.current()
    assert f"m{MAX_ENTRIES - 1:04}" in catalogue.entries
    assert f"m{MAX_ENTRIES:04}" not in catalogue.entries
    assert str(MAX_ENTRIES) in catalogue.problems["models/"]


def test_missing_folder_is_named(tmp_path):
    files = CatalogueFiles([BUILT_IN, tmp_path / "later"])

    assert "cannot be read" in files.current().problems["later/"]
    (tmp_path / "later").mkdir()
    assert not files.current().problems
    add(tmp_path / "later", "ours")
    assert "ours" in files.current().entries


@pytest.mark.parametrize("name", ["../models/ours", "", "ours/", "a\0b", ".", "ours.yaml"])
def test_name_is_no_path(folder, files, name):
    add(folder, "ours")

    assert files.find(name) == (None, "")


def test_images(folder):
    files = CatalogueFiles([folder], need_image=True)
    add(folder, "ours", "description: x\n")
    add(folder, "autoencoder", ENTRY)

    problems = files.current().problems
    assert "no image" in problems["ours"]
    assert "AE_MODEL_IMAGE_URL" in problems["autoencoder"]


def test_numbers_are_those_of_yaml_1_2(folder, files):
    limits = "{type: number, minimum: 1e-5, maximum: .5, default: 010}"
    add(folder, "ours", "parameters:\n  x: " + limits.replace("010", "1e-3"))

    x = files.find("ours")[0].parameters["x"]
    assert (x.minimum, x.maximum, x.default) == (1e-5, 0.5, 1e-3)
    add(folder, "ours", "parameters: {x: {type: integer, default: 010}}")
    assert files.find("ours")[0].parameters["x"].default == 10
