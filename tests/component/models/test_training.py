import copy
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from common.dataset import read_dataset
from common.output_folder import METRICS
from common.training import usable_cpus
from tests.component.models.support import DIGITS, Trainer

Refusal = Callable[..., str]
Output = pytest.CaptureFixture[str]


def test_digits_are_learned(empty_trainer: Trainer) -> None:
    assert empty_trainer.run(INPUT_DIR=str(DIGITS.parent), DATASET=DIGITS.name, EPOCH="20") == 0
    rows = empty_trainer.metrics()
    assert [row["epoch"] for row in rows] == list(range(1, 21))
    assert all(list(row) == ["epoch", "loss", "val_loss", "seconds"] for row in rows)
    assert all(row["seconds"] > 0 for row in rows)
    assert rows[-1]["val_loss"] < 0.1  # the mean of all digits would have 0.52
    assert rows[-1]["val_loss"] < rows[0]["val_loss"] / 4


def test_sizes_are_chosen(trainer: Trainer) -> None:
    """Batches, network and parts have the sizes that the parameters ask for."""
    sizes = {"BATCH_SIZE": "30", "HIDDEN": "24", "CODE": "2", "VALIDATION_SHARE": "0.25"}
    training = trainer.training(**{f"PARAM_{name}": size for name, size in sizes.items()})
    assert training.architecture == {"width": 16, "hidden": 24, "code": 2}
    assert (len(training.training_rows), len(training.validation_rows)) == (150, 50)
    assert not training.run(iter([False] * 5 + [True] * 2).__next__)
    assert (training.progress.epoch, len(training.progress.batch_losses)) == (1, 1)


def test_same_seed_same_losses(trainer: Trainer, tmp_path: Path) -> None:
    curves = []
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        trainer.output = tmp_path / name
        assert trainer.run(OUTPUT_DIR=str(trainer.output), PARAM_SEED=seed) == 0
        curves.append(trainer.curve())
    assert curves[0] == curves[1]
    assert all(a != c for a, c in zip(curves[0], curves[2], strict=True))


@pytest.mark.parametrize("width", [1, 16, 784])
def test_batch_is_a_step_of_adam(empty_trainer: Trainer, width: int) -> None:
    """Three batches end where plain Adam ends with the gradients of each batch alone."""
    empty_trainer.save("a.npy", np.random.default_rng(0).normal(size=(200, width)))
    training = empty_trainer.training()
    network = copy.deepcopy(training.network)
    weights = list(network.parameters())
    optimizer = torch.optim.Adam(weights, lr=0.001, fused=False)
    for batch in torch.split(torch.arange(180), training.batch_size):
        rows = training.training_rows[batch]
        expected = mse_loss(network(rows), rows)
        for weight, gradient in zip(weights, torch.autograd.grad(expected, weights), strict=True):
            weight.grad = gradient
        optimizer.step()
        loss = training.train_batch(batch)
        assert not loss.requires_grad  # it would keep the graph of the whole epoch in memory
        torch.testing.assert_close(loss, expected.detach())
    for weight, trained in zip(weights, training.network.parameters(), strict=True):
        torch.testing.assert_close(trained, weight, rtol=1e-4, atol=1e-5)


def test_loss_that_is_not_finite(empty_trainer: Trainer, refusal: Refusal) -> None:
    rows = np.ones((100, 4), dtype=np.float32)
    empty_trainer.save("a.npy", rows)
    _, validation = read_dataset(empty_trainer.input).split_indices(seed=0)
    rows[validation[0]] = 3e38  # finite, but its square is not
    empty_trainer.save("a.npy", rows)
    assert "in epoch 1: use a lower learning rate than 0.001, or look for" in refusal()
    assert (empty_trainer.output / METRICS).read_text() == ""


def test_progress_lines_are_limited(trainer: Trainer, capfd: Output) -> None:
    assert trainer.run(EPOCH="250") == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert lines[0].startswith("epoch 1/250 ")
    assert lines[-1].startswith("epoch 250/250 ")
    assert len(lines) == 85


def test_normalisation_ignores_validation(empty_trainer: Trainer) -> None:
    """Mean and standard deviation come from the training samples alone."""
    rows = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    empty_trainer.save("a.npy", rows)
    training = empty_trainer.training()
    mean = training.network.mean.numpy()
    assert mean == pytest.approx(rows[training.training_indices].mean(axis=0), abs=1e-6)
    assert mean != pytest.approx(rows.mean(axis=0), abs=1e-6)


def test_constant_data(empty_trainer: Trainer) -> None:
    empty_trainer.save("a.npy", np.full((50, 7), 0.1))
    assert empty_trainer.run() == 0
    assert empty_trainer.metrics()[-1]["val_loss"] < 1


def test_usable_cpus_follow_affinity() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert 1 <= usable_cpus() <= len(allowed)
