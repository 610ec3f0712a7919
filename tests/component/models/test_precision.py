"""Numbers far from zero keep their differences, and what float32 cannot hold is printed."""

import numpy as np
import pytest
import torch

from autoencoder_training import Autoencoder
from common.dataset import read_dataset
from common.output_folder import OutputFolder
from tests.component.models.support import DIGITS, Trainer

Output = pytest.CaptureFixture[str]


def far_from_zero(dtype: str = "float64", samples: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return a table whose first column is 2.4e9 +- 100, and the same table without the 2.4e9."""
    random = np.random.default_rng(0)
    centred = (random.normal(size=(samples, 2)) @ random.normal(size=(2, 4)) * 100).round()
    return (centred + np.array([2.4e9, 0, 0, 0])).astype(dtype), centred.astype(dtype)


@pytest.mark.parametrize("kind", ["float64", "int64", "csv"])
def test_column_far_from_zero(empty_trainer: Trainer, kind: str) -> None:
    """The losses are those of the same data around zero, and the model takes the raw data."""
    rows, centred = far_from_zero("float64" if kind == "csv" else kind)
    if kind == "csv":
        lines = [",".join(f"{number:.1f}" for number in row) for row in rows]
        (empty_trainer.input / "a.csv").write_text("\n".join(["a,b,c,d", *lines]))
    else:
        empty_trainer.save("a.npy", rows)
    assert empty_trainer.run(LEARNING_RATE="0.005", EPOCH="5") == 0
    curve = empty_trainer.curve()
    saved = torch.load(empty_trainer.output / "model.pt", weights_only=True)
    deviation = rows[:, 0].std()
    assert saved["state_dict"]["deviation"][0].item() == pytest.approx(deviation, rel=0.1)
    network = Autoencoder(**saved["architecture"])
    network.load_state_dict(saved["state_dict"])
    raw = torch.from_numpy(rows.astype(np.float64))
    assert network.normalise(raw)[:, 0].std().item() == pytest.approx(1, rel=0.1)
    assert (network.reconstruct(raw) - raw)[:, 0].abs().max() < 100 * deviation

    for path in empty_trainer.input.iterdir():
        path.unlink()
    empty_trainer.save("a.npy", centred)
    empty_trainer.output = empty_trainer.output.with_name("centred")
    assert (
        empty_trainer.run(LEARNING_RATE="0.005", EPOCH="5", OUTPUT_DIR=str(empty_trainer.output))
        == 0
    )
    assert np.array(curve) == pytest.approx(np.array(empty_trainer.curve()), rel=1e-3)


def test_later_file_is_far_from_zero(empty_trainer: Trainer) -> None:
    """A column that is constant in the first file is shifted with that of the second file."""
    rows, _ = far_from_zero()
    first = np.full((20, 4), 2.4e9)
    empty_trainer.save("a.npy", first)
    empty_trainer.save("b.npy", rows)
    dataset = read_dataset(empty_trainer.input)
    expected = np.concatenate([first, rows])
    assert np.abs(dataset.rows + dataset.offset - expected).max() < 1e-3


def test_images_share_one_offset(empty_trainer: Trainer) -> None:
    images = 2.4e9 + np.random.default_rng(0).integers(0, 256, size=(30, 4, 4))
    empty_trainer.save("a.npy", images)
    dataset = read_dataset(empty_trainer.input)
    assert dataset.offset.shape == ()
    assert np.abs(dataset.rows + dataset.offset - images.reshape(30, 16)).max() < 1e-3


def test_digits_are_not_shifted() -> None:
    dataset = read_dataset(DIGITS.parent, DIGITS.name)
    assert not dataset.offset.any()
    assert dataset.notes == ()


def test_what_float32_cannot_hold_is_printed(empty_trainer: Trainer, capfd: Output) -> None:
    rows, _ = far_from_zero()
    rows[:, 2] = 1e-60 * np.arange(len(rows))
    empty_trainer.save("a.npy", rows)
    assert empty_trainer.run() == 0
    assert (
        "note: a.npy: float32 cannot tell the numbers in column 3 apart: 200 become 1\n"
        in capfd.readouterr().out
    )


def test_checkpoint_of_rows_that_were_cut(trainer: Trainer, capfd: Output) -> None:
    """A checkpoint with the mean of rows that were cut first starts over instead of going on."""
    trainer.save("a.npy", np.hstack([far_from_zero()[0]] * 4))
    training = trainer.training()
    training.network.deviation[0] = 1.0
    assert not training.run(lambda: True)
    assert trainer.run() == 0
    assert "less exact mean, starting from the first epoch\n" in capfd.readouterr().out
    assert [epoch for epoch, _, _ in trainer.curve()] == [1, 2, 3]
    assert OutputFolder(trainer.output).is_finished(trainer.summary()["parameters"], {})
