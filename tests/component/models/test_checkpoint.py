"""Interrupted trainings resume with the same losses, from checkpoints of older versions, too."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from autoencoder_training import Autoencoder, reconstruction_errors
from common.dataset import read_dataset
from common.output_folder import CHECKPOINT, METRICS, OutputFolder
from tests.component.models.support import CHANGED, Trainer, curve, read_metrics

Refusal = Callable[..., str]
Output = pytest.CaptureFixture[str]

VERSIONS = [Path(__file__).parent / name for name in ("version_0_1", "version_0_2")]
"""What older versions of the trainer left for LEARNING_RATE=0.01 and EPOCH=5.

`unfinished` was stopped in the middle of the third epoch, `finished` was not interrupted. Version
0.1.0 computed its gradients without autograd, 0.2.0 took its Adam from `torch.optim`.
"""


@pytest.fixture(params=VERSIONS, ids=lambda folder: folder.name)
def older(request: pytest.FixtureRequest) -> Path:
    """The folder of an older version."""
    folder: Path = request.param
    return folder


@pytest.fixture
def older_trainer(empty_trainer: Trainer) -> Trainer:
    """A trainer with the input and the settings that VERSIONS were trained with."""
    shutil.copytree(VERSIONS[0] / "input", empty_trainer.input, dirs_exist_ok=True)
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
    assert "holds a checkpoint with seed 0 instead of 5" in refusal(PARAM_SEED="5")
    assert "holds a checkpoint with hidden 32 instead of 40" in refusal(PARAM_HIDDEN="40")
    assert "holds a checkpoint with code 4 instead of 2" in refusal(PARAM_CODE="2")
    assert "holds a checkpoint with batch_size 64 instead of 8" in refusal(PARAM_BATCH_SIZE="8")
    assert "with validation_share 0.1 instead of 0.2" in refusal(PARAM_VALIDATION_SHARE="0.2")
    trainer.save("a.npy", np.ones((20, 16)))
    assert "sha256 of a.npy '" in refusal(DATASET="a.npy")
    assert "a.npy has changed since this experiment began with it" in refusal(CHANGED)
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


def test_older_version_resumes(older_trainer: Trainer, older: Path, capfd: Output) -> None:
    """The optimizer's state, the batch losses and the metrics so far continue the old curve."""
    shutil.copytree(older / "unfinished", older_trainer.output)
    before = older_trainer.metrics()
    assert older_trainer.run() == 0
    assert "resuming after epoch 2\n" in capfd.readouterr().out
    assert older_trainer.metrics()[:2] == before
    expected = curve(read_metrics(older / "finished" / METRICS))
    assert np.array(older_trainer.curve()) == pytest.approx(np.array(expected), rel=1e-4)


def test_older_version_losses_are_repeated(older_trainer: Trainer, older: Path) -> None:
    assert older_trainer.run() == 0
    expected = curve(read_metrics(older / "finished" / METRICS))
    assert np.array(older_trainer.curve()) == pytest.approx(np.array(expected), rel=1e-4)


def test_older_version_is_finished(older_trainer: Trainer, older: Path, capfd: Output) -> None:
    shutil.copytree(older / "finished", older_trainer.output)
    before = older_trainer.files()
    assert older_trainer.run() == 0
    assert capfd.readouterr().out == "this experiment has already finished\n"
    assert older_trainer.files() == before


def test_older_version_model_is_loaded(older_trainer: Trainer, older: Path) -> None:
    saved = torch.load(older / "finished" / "model.pt", weights_only=True)
    network = Autoencoder(**saved["architecture"])
    network.load_state_dict(saved["state_dict"])
    dataset = read_dataset(older_trainer.input)
    _, validation = dataset.split_indices(seed=0)
    rows = network.normalise(torch.from_numpy(dataset.rows[validation]))
    expected = read_metrics(older / "finished" / METRICS)[-1]["val_loss"]
    assert reconstruction_errors(network, rows).mean().item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["hidden", "code", "batch_size", "validation_share"])
def test_older_version_had_defaults(
    older_trainer: Trainer, older: Path, refusal: Refusal, name: str
) -> None:
    """What an older version left is refused if a parameter differs that it did not have."""
    chosen = {f"PARAM_{name.upper()}": "0.25" if name == "validation_share" else "3"}
    for left, words in (("unfinished", "a checkpoint"), ("finished", "a finished experiment")):
        shutil.copytree(older / left, older_trainer.output, dirs_exist_ok=True)
        assert re.search(rf"holds {words} with {name} \S+ instead of ", refusal(**chosen))
