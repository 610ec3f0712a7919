"""Interrupted trainings resume with the same losses, from checkpoints of older versions, too."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset import read_dataset
from network import Autoencoder, reconstruction_errors
from output_folder import CHECKPOINT, METRICS, OutputFolder
from tests.unit.models.support import Trainer, curve, read_metrics

Refusal = Callable[..., str]
Output = pytest.CaptureFixture[str]

VERSION_0_1 = Path(__file__).parent / "version_0_1"
"""What version 0.1.0 of the trainer left for LEARNING_RATE=0.01 and EPOCH=5.

`unfinished` was stopped in the middle of the third epoch, `finished` was not interrupted. That
version computed its gradients without autograd.
"""


@pytest.fixture
def version_0_1(empty_trainer: Trainer) -> Trainer:
    """A trainer with the input and the settings that VERSION_0_1 was trained with."""
    shutil.copytree(VERSION_0_1 / "input", empty_trainer.input, dirs_exist_ok=True)
    empty_trainer.environment |= {"LEARNING_RATE": "0.01", "EPOCH": "5"}
    return empty_trainer


@pytest.mark.parametrize("checkpoint_seconds", ["0", "1000"])
def test_resumed_after_every_batch(
    trainer: Trainer, tmp_path: Path, checkpoint_seconds: str
) -> None:
    assert trainer.run() == 0
    uninterrupted = trainer.curve()
    trainer.output = tmp_path / "stopped"
    changes = {"OUTPUT_DIR": str(trainer.output), "CHECKPOINT_SECONDS": checkpoint_seconds}
    for _ in range(9):  # 3 epochs of 3 batches; the last stop precedes the last validation
        assert not trainer.training(**changes).run(lambda: True)
    assert trainer.run(**changes) == 0
    assert trainer.curve() == uninterrupted


def test_metrics_after_checkpoint_are_cut(trainer: Trainer, tmp_path: Path) -> None:
    """A crash may leave whole and partial lines that are newer than the checkpoint."""
    assert trainer.run() == 0
    uninterrupted = trainer.curve()
    trainer.output = tmp_path / "stopped"
    stops = iter([False] * 4 + [True] * 2)  # in the middle of the second epoch
    assert not trainer.training(OUTPUT_DIR=str(trainer.output)).run(lambda: next(stops))
    with (trainer.output / METRICS).open("a") as metrics:
        metrics.write('{"epoch": 2, "loss": 1, "val_loss": 1, "seconds": 1}\n{"epoch": 3, "lo')
    assert trainer.run(OUTPUT_DIR=str(trainer.output)) == 0
    assert trainer.curve() == uninterrupted


def test_metrics_without_checkpoint(trainer: Trainer) -> None:
    trainer.output.mkdir()
    (trainer.output / METRICS).write_text('{"epoch": 1, "loss": 1, "val_l')
    assert trainer.run() == 0
    assert [epoch for epoch, _, _ in trainer.curve()] == [1, 2, 3]


@pytest.mark.parametrize("damaged", [CHECKPOINT, METRICS])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_truncated_files_start_over(
    trainer: Trainer, tmp_path: Path, capfd: Output, damaged: str, share: float
) -> None:
    assert trainer.run() == 0
    uninterrupted = trainer.curve()
    trainer.output = tmp_path / "damaged"
    stops = iter([False] * 7 + [True] * 2)
    assert not trainer.training(OUTPUT_DIR=str(trainer.output)).run(lambda: next(stops))
    size = (trainer.output / damaged).stat().st_size
    os.truncate(trainer.output / damaged, int(share * size))
    capfd.readouterr()
    assert trainer.run(OUTPUT_DIR=str(trainer.output)) == 0
    assert f"{damaged} is damaged, starting from the first epoch\n" in capfd.readouterr().out
    assert trainer.curve() == uninterrupted


def test_flipped_bit_starts_over(trainer: Trainer, capfd: Output) -> None:
    assert not trainer.training().run(lambda: True)
    content = bytearray((trainer.output / CHECKPOINT).read_bytes())
    content[len(content) // 2] ^= 1
    (trainer.output / CHECKPOINT).write_bytes(content)
    assert trainer.run() == 0
    assert f"{CHECKPOINT} is damaged, starting from the first epoch\n" in capfd.readouterr().out


def test_foreign_checkpoint_is_refused(trainer: Trainer, refusal: Refusal) -> None:
    """A checkpoint of other parameters or other input is refused and left unchanged."""
    assert not trainer.training().run(lambda: True)
    before = trainer.files()
    assert "holds a checkpoint with learning_rate 0.001 instead of 0.1" in refusal(
        LEARNING_RATE="0.1"
    )
    assert "holds a checkpoint with epochs 3 instead of 4" in refusal(EPOCH="4")
    assert "holds a checkpoint with seed 0 instead of 5" in refusal(SEED="5")
    trainer.save("a.npy", np.ones((20, 16)))
    assert "sha256 of a.npy '" in refusal(DATASET="a.npy")
    assert "a.npy has changed since this experiment began with it" in refusal()
    assert trainer.files() == before


def test_finished_experiment_is_unchanged(
    trainer: Trainer, refusal: Refusal, capfd: Output
) -> None:
    assert trainer.run() == 0
    before = trainer.files()
    capfd.readouterr()
    (trainer.input / "a.npy").unlink()
    assert trainer.run(ATTEMPT="2") == 0
    assert capfd.readouterr().out == "this experiment has already finished\n"
    assert "holds a finished experiment with epochs 3 instead of 4" in refusal(EPOCH="4")
    assert trainer.files() == before


def test_killed_while_writing_results(trainer: Trainer) -> None:
    assert trainer.training().run(lambda: False)
    (trainer.output / "summary.json").write_text('{"parame')
    curve = trainer.curve()
    assert trainer.run() == 0
    assert trainer.curve() == curve
    assert trainer.summary()["final"]["epoch"] == 3


def test_checkpoints_follow_the_clock(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """50 short epochs lead to a single checkpoint, at the end."""
    written: list[str] = []
    write = OutputFolder.write

    def record(folder: OutputFolder, name: str, content: bytes) -> None:
        written.append(name)
        write(folder, name, content)

    monkeypatch.setattr(OutputFolder, "write", record)
    assert trainer.run(EPOCH="50") == 0
    assert written.count(CHECKPOINT) == 1
    assert written[-1] == "summary.json"


def test_version_0_1_resumes(version_0_1: Trainer, capfd: Output) -> None:
    """The optimizer's state, the batch losses and the metrics so far continue the old curve."""
    shutil.copytree(VERSION_0_1 / "unfinished", version_0_1.output)
    before = version_0_1.metrics()
    assert version_0_1.run() == 0
    assert "resuming after epoch 2\n" in capfd.readouterr().out
    assert version_0_1.metrics()[:2] == before
    expected = curve(read_metrics(VERSION_0_1 / "finished" / METRICS))
    assert np.array(version_0_1.curve()) == pytest.approx(np.array(expected), rel=1e-4)


def test_version_0_1_losses_are_repeated(version_0_1: Trainer) -> None:
    assert version_0_1.run() == 0
    expected = curve(read_metrics(VERSION_0_1 / "finished" / METRICS))
    assert np.array(version_0_1.curve()) == pytest.approx(np.array(expected), rel=1e-4)


def test_version_0_1_is_finished(version_0_1: Trainer, capfd: Output) -> None:
    shutil.copytree(VERSION_0_1 / "finished", version_0_1.output)
    before = version_0_1.files()
    assert version_0_1.run() == 0
    assert capfd.readouterr().out == "this experiment has already finished\n"
    assert version_0_1.files() == before


def test_version_0_1_model_is_loaded(version_0_1: Trainer) -> None:
    saved = torch.load(VERSION_0_1 / "finished" / "model.pt", weights_only=True)
    network = Autoencoder(**saved["architecture"])
    network.load_state_dict(saved["state_dict"])
    dataset = read_dataset(version_0_1.input)
    _, validation = dataset.split_indices(seed=0)
    rows = network.normalise(torch.from_numpy(dataset.rows[validation]))
    expected = read_metrics(VERSION_0_1 / "finished" / METRICS)[-1]["val_loss"]
    assert reconstruction_errors(network, rows).mean().item() == pytest.approx(expected, rel=1e-4)
