from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.unit.models.kit import Trainer


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    """A trainer without any data."""
    return Trainer(tmp_path)


@pytest.fixture
def ready(trainer: Trainer) -> Trainer:
    """A trainer with 200 samples of 16 numbers: 180 to train on, so 3 batches an epoch."""
    random = np.random.default_rng(1)
    trainer.save("a.npy", random.normal(size=(200, 3)) @ random.normal(size=(3, 16)))
    return trainer


@pytest.fixture
def refuse(trainer: Trainer, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the trainer, which has to refuse, and return its one line about why."""

    def run(**changes: str) -> str:
        assert trainer.run(**changes) == 2
        error = capfd.readouterr().err
        assert error.startswith("error: ")
        assert error.endswith("\n")
        assert error.count("\n") == 1
        return error

    return run
