import errno
import os
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from common.output_folder import CHECKPOINT, METRICS, MetricsFile, OutputFolder
from tests.component.models.support import Trainer

Refusal = Callable[..., str]
Output = pytest.CaptureFixture[str]


def test_metrics_are_visible_at_once(tmp_path: Path) -> None:
    with MetricsFile(OutputFolder(tmp_path), 0) as metrics:
        for epoch in (1, 2):
            metrics.append({"epoch": epoch, "loss": 0.1, "val_loss": 0.2, "seconds": 0.3})
            assert (tmp_path / METRICS).read_text().count("\n") == epoch
        assert metrics.sync() == (tmp_path / METRICS).stat().st_size
        with pytest.raises(ValueError, match="not JSON compliant"):
            metrics.append({"loss": float("nan")})


def test_full_disk_can_be_retried(trainer: Trainer, capfd: Output) -> None:
    """A full disk is reported in one line, and the next attempt succeeds."""
    trainer.output.mkdir()
    (trainer.output / f".{CHECKPOINT}.tmp").symlink_to("/dev/full")
    assert trainer.run() == 1
    error = capfd.readouterr().err
    assert error == f"error: cannot use {trainer.output}: {os.strerror(errno.ENOSPC)}\n"
    assert not (trainer.output / CHECKPOINT).exists()
    assert trainer.run() == 0


def test_file_size_limit(trainer: Trainer, capfd: Output) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        code = trainer.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    assert capfd.readouterr().err.count("\n") == 1
    files = sorted(path.name for path in trainer.output.iterdir())
    assert files == [".lock", "inputs.json", METRICS]
    assert trainer.run() == 0


@pytest.mark.parametrize("subfolder", ["", "run"])
def test_unwritable_output_folder(trainer: Trainer, refusal: Refusal, subfolder: str) -> None:
    # Not in tmp_path, which other users cannot search.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(10001)  # root may write anywhere
        try:
            error = refusal(OUTPUT_DIR=str(Path(folder, subfolder)))
        finally:
            os.seteuid(user)
    assert error.startswith(f"error: cannot use {folder}/")
    assert error.endswith(": Permission denied\n")


def test_output_folder_that_is_a_file(trainer: Trainer, refusal: Refusal) -> None:
    assert "cannot use " in refusal(OUTPUT_DIR=str(trainer.input / "a.npy"))
    assert "cannot use " in refusal(OUTPUT_DIR=str(trainer.input / "a.npy" / "run"))
    assert "cannot use " in refusal(OUTPUT_DIR="/proc/run")
