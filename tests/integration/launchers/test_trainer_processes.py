"""The trainer as a process: its imports, signals and kills, and a second one beside it."""

import fcntl
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.component.models.support import DIGITS, Trainer, wait_for_line

EPOCHS = "150"
Curve = list[tuple[float, float, float]]


@pytest.fixture
def digits(tmp_path: Path) -> Trainer:
    """A trainer that takes a second or two."""
    trainer = Trainer(tmp_path)
    (trainer.input / DIGITS.name).write_bytes(DIGITS.read_bytes())
    trainer.environment["EPOCH"] = EPOCHS
    return trainer


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Curve:
    """The curve of the same training without any interruption."""
    trainer = Trainer(tmp_path_factory.mktemp("uninterrupted"))
    changes = {"INPUT_DIR": str(DIGITS.parent), "DATASET": DIGITS.name, "EPOCH": EPOCHS}
    assert trainer.run(**changes) == 0
    return trainer.curve()


def test_killed_and_restarted(digits: Trainer, uninterrupted: Curve) -> None:
    with digits.start(CHECKPOINT_SECONDS="0.05") as process:
        wait_for_line(process, "epoch 30/")
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert (digits.output / "checkpoint.bin").exists()
    with digits.start() as process:
        wait_for_line(process, "resuming after epoch ")
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "epoch 1/" not in output
    assert digits.curve() == uninterrupted


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signalled_and_restarted(
    digits: Trainer, uninterrupted: Curve, number: signal.Signals, code: int
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


def test_two_trainers_at_once(digits: Trainer, uninterrupted: Curve) -> None:
    """One trains while the other waits and then finds a finished experiment."""
    with digits.start() as first, digits.start() as second:
        outputs = [process.communicate() for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    finished = "this experiment has already finished\n"
    assert sum(finished in output for output, _ in outputs) == 1
    waiting = "another trainer is working in this folder"
    assert sum(waiting in output for output, _ in outputs) == 1
    assert digits.curve() == uninterrupted


def test_takeover_of_a_killed_trainer(digits: Trainer, uninterrupted: Curve) -> None:
    """A waiting trainer resumes when the one that it waits for is killed."""
    with digits.start(CHECKPOINT_SECONDS="0") as killed:
        wait_for_line(killed, "epoch 2/")
        with digits.start() as waiting:
            wait_for_line(waiting, "another trainer is working in this folder")
            killed.kill()
            output, errors = waiting.communicate()
    assert waiting.returncode == 0, errors
    assert "resuming after epoch " in output
    assert digits.curve() == uninterrupted


def test_signal_while_waiting_for_lock(digits: Trainer) -> None:
    digits.output.mkdir()
    with Path(digits.output, ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with digits.start() as process:
            wait_for_line(process, "another trainer is working in this folder")
            process.terminate()
            assert process.communicate() == ("", "")
    assert process.returncode == 143


def test_signal_during_imports(digits: Trainer) -> None:
    with digits.start(EPOCH="100000") as process:
        wait_for_line(
            process, f"1797 samples of 64 numbers from {DIGITS.name}"
        )  # PyTorch is imported next
        process.terminate()
        _, errors = process.communicate()
    assert process.returncode == 143
    assert errors == ""


def test_new_file_before_the_first_checkpoint(digits: Trainer, uninterrupted: Curve) -> None:
    """After a kill before the first checkpoint, the files of the start are used again."""
    with digits.start(EPOCH="100000", CHECKPOINT_SECONDS="1000") as process:
        wait_for_line(process, "epoch 1/")
        process.kill()
    digits.save("b.npy", np.ones((20, 64)))
    assert digits.run() == 0
    assert digits.curve() == uninterrupted


@pytest.mark.parametrize("mistake", [{"EPOCH": "0"}, {"DATASET": "missing.npz"}])
def test_mistakes_do_not_import_torch(digits: Trainer, mistake: dict[str, str]) -> None:
    """A mistake is reported without the seconds that the import of PyTorch takes."""
    with digits.start("-X", "importtime", **mistake) as process:
        _, errors = process.communicate()
    assert process.returncode == 2
    assert "error: " in errors
    assert "torch" not in errors


def test_nothing_imports_the_compiler(digits: Trainer) -> None:
    """PyTorch's compiler takes as long to import as PyTorch itself, and is not used."""
    with digits.start("-X", "importtime", EPOCH="2") as process:
        _, errors = process.communicate()
    assert process.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in errors.splitlines()}
    assert "torch" in imported
    assert {"torch._dynamo", "torch._inductor"} & imported == set()


def test_log_on_a_full_disk(digits: Trainer) -> None:
    with Path("/dev/full").open("w") as full, digits.start(stdout=full) as process:
        _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.startswith("error: ")
