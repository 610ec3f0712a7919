from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.component.models.support import Trainer, restored_torch_settings


@pytest.fixture(autouse=True)
def restore_torch_settings() -> Iterator[None]:
    """Let no training change how the tests after it compute."""
    with restored_torch_settings():
        yield


@pytest.fixture
def empty_trainer(tmp_path: Path) -> Trainer:
    """A trainer without any data."""
    return Trainer(tmp_path)


@pytest.fixture
def trainer(empty_trainer: Trainer) -> Trainer:
    """A trainer with 200 samples of 16 numbers: 180 for training, so 3 batches per epoch."""
    random = np.random.default_rng(1)
    empty_trainer.save("a.npy", random.normal(size=(200, 3)) @ random.normal(size=(3, 16)))
    return empty_trainer


@pytest.fixture
def refusal(empty_trainer: Trainer, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the trainer, which must refuse its input, and return the one line that says why."""

    def run(code: int = 2, **changes: str) -> str:
        assert empty_trainer.run(**changes) == code
        error = capfd.readouterr().err
        assert error.startswith("error: ")
        assert error.endswith("\n")
        assert error.count("\n") == 1
        return error

    return run
