import copy
import errno
import os
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from dataset import read_dataset
from network import Autoencoder, architecture, reconstruction_errors
from run import CHECKPOINT, METRICS, Metrics, RunFolder, Settings
from tests.unit.models.kit import DIGITS, Trainer
from training import Training, usable_cpus

Refuse = Callable[..., str]
Output = pytest.CaptureFixture[str]


def training(trainer: Trainer, **changes: str) -> Training:
    settings = Settings.from_environment(trainer.environment | changes)
    folder = RunFolder(settings.output_dir)
    settings.output_dir.mkdir(exist_ok=True)
    return Training(settings, read_dataset(settings.input_dir, settings.dataset), folder)


def test_digits_are_learned(trainer: Trainer) -> None:
    assert trainer.run(INPUT_DIR=str(DIGITS.parent), DATASET=DIGITS.name, EPOCH="20") == 0
    rows = trainer.metrics()
    assert [row["epoch"] for row in rows] == list(range(1, 21))
    assert all(list(row) == ["epoch", "loss", "val_loss", "seconds"] for row in rows)
    assert all(row["seconds"] > 0 for row in rows)
    assert rows[-1]["val_loss"] < 0.1  # the mean of all digits would have 0.52
    assert rows[-1]["val_loss"] < rows[0]["val_loss"] / 4


def test_same_seed_same_losses(ready: Trainer, tmp_path: Path) -> None:
    curves = []
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        ready.output = tmp_path / name
        assert ready.run(OUTPUT_DIR=str(ready.output), SEED=seed) == 0
        curves.append(ready.curve())
    assert curves[0] == curves[1]
    assert all(a != c for a, c in zip(curves[0], curves[2], strict=True))


@pytest.mark.parametrize("checkpoint_seconds", ["0", "1000"])
def test_stopped_after_every_batch_and_resumed_the_losses_are_the_same(
    ready: Trainer, tmp_path: Path, checkpoint_seconds: str
) -> None:
    assert ready.run() == 0
    uninterrupted = ready.curve()
    ready.output = tmp_path / "stopped"
    changes = {"OUTPUT_DIR": str(ready.output), "CHECKPOINT_SECONDS": checkpoint_seconds}
    for _ in range(9):  # 3 epochs of 3 batches; the last stop is before the last validation
        assert not training(ready, **changes).run(lambda: True)
    assert ready.run(**changes) == 0
    assert ready.curve() == uninterrupted


def test_lines_beyond_the_checkpoint_and_half_lines_are_cut(ready: Trainer, tmp_path: Path) -> None:
    assert ready.run() == 0
    uninterrupted = ready.curve()
    ready.output = tmp_path / "stopped"
    batches = iter([False] * 4 + [True] * 2)  # in the middle of the second epoch
    assert not training(ready, OUTPUT_DIR=str(ready.output)).run(lambda: next(batches))
    with (ready.output / METRICS).open("a") as metrics:
        metrics.write('{"epoch": 2, "loss": 1, "val_loss": 1, "seconds": 1}\n{"epoch": 3, "lo')
    assert ready.run(OUTPUT_DIR=str(ready.output)) == 0
    assert ready.curve() == uninterrupted


def test_without_a_checkpoint_the_metrics_begin_anew(ready: Trainer) -> None:
    ready.output.mkdir()
    (ready.output / METRICS).write_text('{"epoch": 1, "loss": 1, "val_l')
    assert ready.run() == 0
    assert [epoch for epoch, _, _ in ready.curve()] == [1, 2, 3]


@pytest.mark.parametrize("damaged", [CHECKPOINT, METRICS])
@pytest.mark.parametrize("left", [0.0, 0.1, 0.9])
def test_damage_starts_the_run_anew(
    ready: Trainer, tmp_path: Path, capfd: Output, damaged: str, left: float
) -> None:
    assert ready.run() == 0
    uninterrupted = ready.curve()
    ready.output = tmp_path / "damaged"
    batches = iter([False] * 7 + [True] * 2)
    assert not training(ready, OUTPUT_DIR=str(ready.output)).run(lambda: next(batches))
    size = (ready.output / damaged).stat().st_size
    os.truncate(ready.output / damaged, int(left * size))
    capfd.readouterr()
    assert ready.run(OUTPUT_DIR=str(ready.output)) == 0
    assert f"{damaged} is damaged, starting from the first epoch\n" in capfd.readouterr().out
    assert ready.curve() == uninterrupted


def test_a_wrong_bit_is_noticed(ready: Trainer, capfd: Output) -> None:
    assert not training(ready).run(lambda: True)
    content = bytearray((ready.output / CHECKPOINT).read_bytes())
    content[len(content) // 2] ^= 1
    (ready.output / CHECKPOINT).write_bytes(content)
    assert ready.run() == 0
    assert f"{CHECKPOINT} is damaged, starting from the first epoch\n" in capfd.readouterr().out


def test_a_checkpoint_of_another_run_is_refused(ready: Trainer, refuse: Refuse) -> None:
    assert not training(ready).run(lambda: True)
    before = ready.files()
    assert "holds a checkpoint with learning_rate 0.001 instead of 0.1" in refuse(
        LEARNING_RATE="0.1"
    )
    assert "holds a checkpoint with epochs 3 instead of 4" in refuse(EPOCH="4")
    assert "holds a checkpoint with seed 0 instead of 5" in refuse(SEED="5")
    ready.save("b.npy", np.ones((20, 16)))
    assert "sha256 of b.npy None instead of '" in refuse()
    ready.save("a.npy", np.ones((20, 16)))
    assert "sha256 of a.npy '" in refuse(DATASET="a.npy")
    assert ready.files() == before


def test_a_finished_run_stays_as_it_is(ready: Trainer, refuse: Refuse, capfd: Output) -> None:
    assert ready.run() == 0
    before = ready.files()
    capfd.readouterr()
    (ready.input / "a.npy").unlink()
    assert ready.run(ATTEMPT="2") == 0
    assert capfd.readouterr().out == "this run is finished already\n"
    assert "holds a finished run with epochs 3 instead of 4" in refuse(EPOCH="4")
    assert ready.files() == before


def test_killed_while_the_results_were_written_it_writes_them(ready: Trainer) -> None:
    state = training(ready)
    assert state.run(lambda: False)
    (ready.output / "summary.json").write_text('{"parame')
    curve = ready.curve()
    assert ready.run() == 0
    assert ready.curve() == curve
    assert ready.summary()["final"]["epoch"] == 3


def test_checkpoints_go_by_time_not_by_epoch(
    ready: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = RunFolder.write

    def note(folder: RunFolder, name: str, content: bytes) -> None:
        written.append(name)
        write(folder, name, content)

    monkeypatch.setattr(RunFolder, "write", note)
    assert ready.run(EPOCH="50") == 0
    assert written.count(CHECKPOINT) == 1  # at the end
    assert written[-1] == "summary.json"


def test_a_reader_sees_each_line_at_once_and_whole(tmp_path: Path) -> None:
    with Metrics(RunFolder(tmp_path), 0) as metrics:
        for epoch in (1, 2):
            metrics.append({"epoch": epoch, "loss": 0.1, "val_loss": 0.2, "seconds": 0.3})
            assert (tmp_path / METRICS).read_text().count("\n") == epoch
        assert metrics.sync() == (tmp_path / METRICS).stat().st_size
        with pytest.raises(ValueError, match="not JSON compliant"):
            metrics.append({"loss": float("nan")})


def test_a_loss_that_is_no_number(trainer: Trainer, refuse: Refuse) -> None:
    rows = np.ones((100, 4), dtype=np.float32)
    trainer.save("a.npy", rows)
    _, validation = read_dataset(trainer.input).split(seed=0)
    rows[validation[0]] = 3e38  # a number, but its square is none
    trainer.save("a.npy", rows)
    assert "in epoch 1: use a lower learning rate than 0.001, or look for" in refuse()
    assert (trainer.output / METRICS).read_text() == ""


def test_progress_is_printed_at_most_a_hundred_times_or_so(ready: Trainer, capfd: Output) -> None:
    assert ready.run(EPOCH="250") == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert lines[0].startswith("epoch 1/250 ")
    assert lines[-1].startswith("epoch 250/250 ")
    assert len(lines) == 85


def test_a_full_disk_is_one_line_and_no_end(ready: Trainer, capfd: Output) -> None:
    ready.output.mkdir()
    (ready.output / f".{CHECKPOINT}.tmp").symlink_to("/dev/full")
    assert ready.run() == 1
    error = capfd.readouterr().err
    assert error == f"error: cannot use {ready.output}: {os.strerror(errno.ENOSPC)}\n"
    assert not (ready.output / CHECKPOINT).exists()
    assert ready.run() == 0


def test_a_file_that_may_not_grow(ready: Trainer, capfd: Output) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        code = ready.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    assert capfd.readouterr().err.count("\n") == 1
    assert sorted(path.name for path in ready.output.iterdir()) == [".lock", METRICS]
    assert ready.run() == 0


@pytest.mark.parametrize("below", ["", "run"])
def test_a_folder_that_may_not_be_written(ready: Trainer, refuse: Refuse, below: str) -> None:
    # Not in tmp_path, which no other user may look into.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(10001)  # root may write anywhere
        try:
            error = refuse(OUTPUT_DIR=str(Path(folder, below)))
        finally:
            os.seteuid(user)
    assert error.startswith(f"error: cannot use {folder}/")
    assert error.endswith(": Permission denied\n")


def test_an_output_folder_that_is_none(ready: Trainer, refuse: Refuse) -> None:
    assert "cannot use " in refuse(OUTPUT_DIR=str(ready.input / "a.npy"))
    assert "cannot use " in refuse(OUTPUT_DIR=str(ready.input / "a.npy" / "run"))
    assert "cannot use " in refuse(OUTPUT_DIR="/proc/run")


def test_images_share_one_scale_and_columns_have_their_own() -> None:
    rows = torch.tensor([[0.0, 1.0, 5.0], [0.0, 3.0, 5.0]])
    network = Autoencoder(**architecture(3))
    network.fit_normalisation(rows, per_column=True)
    assert network.normalise(rows).tolist() == [[0, -1, 0], [0, 1, 0]]
    network.fit_normalisation(rows, per_column=False)
    normalised = network.normalise(rows)
    assert normalised.mean().item() == pytest.approx(0, abs=1e-6)
    assert normalised.std(correction=0).item() == pytest.approx(1)


def test_only_training_samples_make_the_normalisation(trainer: Trainer) -> None:
    rows = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    trainer.save("a.npy", rows)
    state = training(trainer)
    mean = state.network.mean.numpy()
    assert mean == pytest.approx(rows[state.training_rows].mean(axis=0), abs=1e-6)
    assert mean != pytest.approx(rows.mean(axis=0), abs=1e-6)


def test_constant_data_can_be_trained_on(trainer: Trainer) -> None:
    trainer.save("a.npy", np.full((50, 7), 0.1))
    assert trainer.run() == 0
    assert trainer.metrics()[-1]["val_loss"] < 1


def test_threads_keep_to_the_processors_allowed() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert 1 <= usable_cpus() <= len(allowed)


@pytest.mark.parametrize("width", [1, 2, 3, 16, 64, 784, 5000])
def test_every_width_has_a_narrower_code(width: int) -> None:
    sizes = architecture(width)
    assert 1 <= sizes["code"] <= max(1, width // 4)
    assert sizes["hidden"] > sizes["code"]
    rows = torch.ones(2, width)
    assert Autoencoder(**sizes)(rows).shape == rows.shape


@pytest.mark.parametrize("width", [1, 16, 784])
def test_batch_is_a_step_of_adam(trainer: Trainer, width: int) -> None:
    """Three batches end where plain Adam ends with the gradients of each batch alone."""
    trainer.save("a.npy", np.random.default_rng(0).normal(size=(200, width)))
    state = training(trainer)
    network = copy.deepcopy(state.network)
    weights = list(network.parameters())
    optimizer = torch.optim.Adam(weights, lr=0.001, fused=False)
    for rows in torch.split(state.training, state.batch_size):
        expected = mse_loss(network(rows), rows)
        for weight, gradient in zip(weights, torch.autograd.grad(expected, weights), strict=True):
            weight.grad = gradient
        optimizer.step()
        loss = state.train_batch(rows)
        assert not loss.requires_grad  # it would keep the graph of the whole epoch in memory
        torch.testing.assert_close(loss, expected.detach())
    for weight, trained in zip(weights, state.network.parameters(), strict=True):
        torch.testing.assert_close(trained, weight, rtol=1e-4, atol=1e-5)


def test_the_error_of_a_sample_does_not_depend_on_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Autoencoder(**architecture(6))
    rows = torch.randn(50, 6)
    together = reconstruction_errors(network, rows)
    monkeypatch.setattr("network.ROWS_AT_A_TIME", 7)
    torch.testing.assert_close(reconstruction_errors(network, rows), together)
    assert together.shape == (50,)
