"""Without DATASET, all attempts of an experiment train on the files that the first began with."""

import hashlib
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common.dataset import read_dataset
from common.output_folder import INPUTS
from common.trainer import SignalHandler
from tests.component.models.support import CHANGED, Trainer

Refusal = Callable[..., str]
Output = pytest.CaptureFixture[str]


def stop_with_checkpoint(trainer: Trainer) -> None:
    """Run the trainer until a signal, which it has received before, makes it stop."""
    signals = SignalHandler()
    signals.received = 15
    assert trainer.main(signals) == 128 + 15


def uninterrupted(trainer: Trainer, tmp_path: Path) -> list[tuple[float, float, float]]:
    """Return the curve of the same training without interruption."""
    output = trainer.output
    trainer.output = tmp_path / "uninterrupted"
    assert trainer.run(OUTPUT_DIR=str(trainer.output)) == 0
    curve = trainer.curve()
    trainer.output = output
    return curve


def test_new_file_changes_nothing(trainer: Trainer, tmp_path: Path) -> None:
    expected = uninterrupted(trainer, tmp_path)
    stop_with_checkpoint(trainer)
    trainer.save("b.npy", np.ones((20, 16)))
    trainer.save("0.npy", np.ones((20, 5)))
    (trainer.input / "c.npy").symlink_to("/etc/passwd")
    assert trainer.run(ATTEMPT="2") == 0
    assert trainer.curve() == expected
    assert list(trainer.summary()["input_sha256"]) == ["a.npy"]
    assert not (trainer.output / INPUTS).exists()


@pytest.mark.parametrize("content", ["", "{}", '{"files": 3}', '{"files": [{"name": 1}]}'])
def test_list_of_an_older_version(trainer: Trainer, content: str) -> None:
    """The checkpoint of a version without a list of files names them, too."""
    stop_with_checkpoint(trainer)
    (trainer.output / INPUTS).write_text(content)
    if not content:
        (trainer.output / INPUTS).unlink()
    trainer.save("b.npy", np.ones((20, 16)))
    assert trainer.run() == 0
    assert list(trainer.summary()["input_sha256"]) == ["a.npy"]


def test_missing_file_is_named(trainer: Trainer, refusal: Refusal) -> None:
    trainer.save("b.npy", np.ones((20, 16)))
    stop_with_checkpoint(trainer)
    (trainer.input / "a.npy").rename(trainer.input / "c.npy")
    assert "a.npy is gone" in refusal(CHANGED)
    (trainer.input / "c.npy").rename(trainer.input / "a.npy")
    (trainer.input / "b.npy").unlink()
    assert refusal(CHANGED) == (
        "error: b.npy is gone from the input folder, and this experiment began with it: put the "
        "file back, or submit a new experiment\n"
    )


def test_changed_file_is_named(trainer: Trainer, refusal: Refusal) -> None:
    stop_with_checkpoint(trainer)
    trainer.save("a.npy", np.ones((200, 16)))
    assert refusal(CHANGED) == (
        "error: a.npy has changed since this experiment began with it: put the file back, or "
        "submit a new experiment\n"
    )


def test_swapped_files_are_named(trainer: Trainer, refusal: Refusal) -> None:
    trainer.save("b.npy", np.ones((20, 16)))
    stop_with_checkpoint(trainer)
    (trainer.input / "b.npy").rename(trainer.input / "c.npy")
    (trainer.input / "a.npy").rename(trainer.input / "b.npy")
    (trainer.input / "c.npy").rename(trainer.input / "a.npy")
    assert "a.npy has changed" in refusal(CHANGED)


def test_file_repaired_before_the_first_checkpoint(
    trainer: Trainer, refusal: Refusal, capfd: Output
) -> None:
    """Nothing was trained yet, so the data may be repaired."""
    rows = np.ones((200, 16), dtype=np.float32)
    trainer.save("a.npy", rows)
    _, validation = read_dataset(trainer.input).split_indices(seed=0)
    rows[validation[0]] = 3e38  # finite, but its square is not
    trainer.save("a.npy", rows)
    assert "in epoch 1: use a lower learning rate" in refusal()
    rows[validation[0]] = 1
    trainer.save("a.npy", rows)
    assert trainer.run() == 0
    assert "note: a.npy has changed" in capfd.readouterr().out


@pytest.mark.parametrize(("on_disk", "asked"), [("NFD", "NFC"), ("NFC", "NFD"), ("NFD", "NFD")])
def test_forms_of_a_name(empty_trainer: Trainer, on_disk: str, asked: str) -> None:
    """A Mac writes a Korean name decomposed, and a person asks for it composed."""
    rows = np.random.default_rng(0).normal(size=(20, 4))
    empty_trainer.save(unicodedata.normalize(on_disk, "데이터.npy"), rows)
    assert empty_trainer.run(DATASET=unicodedata.normalize(asked, "데이터.npy")) == 0


def test_exact_form_wins(empty_trainer: Trainer) -> None:
    rows = np.random.default_rng(0).normal(size=(20, 4))
    names = [unicodedata.normalize(form, "데이터.npy") for form in ("NFC", "NFD")]
    for name in names:
        empty_trainer.save(name, rows)
    for name in names:
        output = empty_trainer.output / name
        assert empty_trainer.run(DATASET=name, OUTPUT_DIR=str(output)) == 0
        assert list(json.loads((output / "summary.json").read_text())["input_sha256"]) == [name]


def pin(trainer: Trainer, *names: str) -> None:
    """Write inputs.json as the backend does."""
    files = [
        {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name in names
        if (content := (trainer.input / name).read_bytes())
    ]
    trainer.output.mkdir(exist_ok=True)
    (trainer.output / INPUTS).write_text(json.dumps({"pinned": True, "files": files}))


def test_pinned_files_are_used(trainer: Trainer) -> None:
    trainer.save("b.npy", np.ones((20, 16)))
    pin(trainer, "b.npy", "a.npy")
    trainer.save("c.npy", np.ones((20, 16)))
    assert trainer.run() == 0
    assert list(trainer.summary()["input_sha256"]) == ["b.npy", "a.npy"]


@pytest.mark.parametrize("rows", [200, 201])  # the same size, and another one
def test_pinned_file_has_changed(trainer: Trainer, refusal: Refusal, rows: int) -> None:
    """Even before the first checkpoint, unlike a file of a list that the trainer has made."""
    pin(trainer, "a.npy")
    trainer.save("a.npy", np.ones((rows, 16)))
    assert "a.npy has changed" in refusal(CHANGED, DATASET="a.npy")


def test_pinned_file_is_gone(trainer: Trainer, refusal: Refusal) -> None:
    pin(trainer, "a.npy")
    (trainer.input / "a.npy").rename(trainer.input / "b.npy")
    assert "a.npy is gone" in refusal(CHANGED)
