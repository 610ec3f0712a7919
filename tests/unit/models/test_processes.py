"""What needs processes of its own: signals, kills, and two at once."""

import fcntl
import signal
from pathlib import Path

import pytest

from tests.unit.models.kit import DIGITS, Trainer, wait_for_line

EPOCHS = "150"


@pytest.fixture
def digits(trainer: Trainer) -> Trainer:
    """A trainer that takes a second or two."""
    (trainer.input / DIGITS.name).write_bytes(DIGITS.read_bytes())
    trainer.environment["EPOCH"] = EPOCHS
    return trainer


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[float, float, float]]:
    """The curve of such a run that nothing disturbs."""
    trainer = Trainer(tmp_path_factory.mktemp("uninterrupted"))
    changes = {"INPUT_DIR": str(DIGITS.parent), "DATASET": DIGITS.name, "EPOCH": EPOCHS}
    assert trainer.run(**changes) == 0
    return trainer.curve()


def test_killed_and_started_again(
    digits: Trainer, uninterrupted: list[tuple[float, float, float]]
) -> None:
    with digits.start(CHECKPOINT_SECONDS="0.05") as process:
        wait_for_line(process, "epoch 30/")
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert (digits.output / "checkpoint.bin").exists()
    with digits.start() as process:
        wait_for_line(process, "going on after epoch ")
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "epoch 1/" not in output
    assert digits.curve() == uninterrupted


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_by_a_signal_and_started_again(
    digits: Trainer,
    uninterrupted: list[tuple[float, float, float]],
    number: signal.Signals,
    code: int,
) -> None:
    with digits.start() as process:
        wait_for_line(process, "epoch 2/")
        process.send_signal(number)
        output, errors = process.communicate()
    assert process.returncode == code
    assert output.endswith(f"stopped by signal {number}, checkpoint written\n")
    assert errors == ""
    assert not (digits.output / "summary.json").exists()
    assert digits.run() == 0
    assert digits.curve() == uninterrupted


def test_two_at_once(digits: Trainer, uninterrupted: list[tuple[float, float, float]]) -> None:
    with digits.start() as one, digits.start() as other:
        outputs = [process.communicate() for process in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0), outputs
    assert sum("this run is finished already\n" in output for output, _ in outputs) == 1
    assert sum("another trainer works in this folder" in output for output, _ in outputs) == 1
    assert digits.curve() == uninterrupted


def test_when_one_is_killed_the_other_goes_on(
    digits: Trainer, uninterrupted: list[tuple[float, float, float]]
) -> None:
    with digits.start(CHECKPOINT_SECONDS="0") as one:
        wait_for_line(one, "epoch 2/")
        with digits.start() as other:
            wait_for_line(other, "another trainer works in this folder")
            one.kill()
            output, errors = other.communicate()
    assert other.returncode == 0, errors
    assert "going on after epoch " in output
    assert digits.curve() == uninterrupted


def test_a_signal_ends_the_wait_for_the_folder(ready: Trainer) -> None:
    ready.output.mkdir()
    with Path(ready.output, ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with ready.start() as process:
            wait_for_line(process, "another trainer works in this folder")
            process.terminate()
            assert process.communicate() == ("", "")
    assert process.returncode == 143


def test_a_signal_ends_the_start(ready: Trainer) -> None:
    with ready.start(EPOCH="100000") as process:
        wait_for_line(process, "200 samples of 16 numbers from a.npy")  # next comes torch
        process.terminate()
        _, errors = process.communicate()
    assert process.returncode == 143
    assert errors == ""


def test_a_log_that_is_full_is_one_line(ready: Trainer, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full, ready.start(stdout=full) as process:
        _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.startswith("error: ")
