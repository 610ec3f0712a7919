from collections.abc import Callable
from pathlib import Path

import pytest

from settings import Settings
from tests.unit.models.support import Trainer

Refusal = Callable[..., str]


def test_settings_from_environment(empty_trainer: Trainer) -> None:
    settings = Settings.from_environment(
        empty_trainer.environment | {"ATTEMPT": "2", "SEED": "7", "DATASET": "a.csv"}
    )
    assert settings == Settings(
        input_dir=empty_trainer.input,
        output_dir=empty_trainer.output,
        learning_rate=0.001,
        epochs=3,
        dataset="a.csv",
        seed=7,
        experiment_id="first",
        attempt=2,
        checkpoint_seconds=10.0,
    )


def test_empty_dataset_is_every_file(empty_trainer: Trainer) -> None:
    assert Settings.from_environment(empty_trainer.environment | {"DATASET": ""}).dataset is None


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("LEARNING_RATE", ["abc", "nan", "inf", "0", "-1", "10.1"]),
        ("EPOCH", ["abc", "1.5", "0", "-3", "100001"]),
        ("SEED", ["-1", "x", "4294967296"]),
        ("ATTEMPT", ["0", "x"]),
        ("CHECKPOINT_SECONDS", ["-1", "nan", "inf"]),
    ],
)
def test_invalid_value_is_named(refusal: Refusal, name: str, values: list[str]) -> None:
    for value in values:
        error = refusal(**{name: value})
        assert error.startswith(f"error: {name} must be ")
        assert error.endswith(f", not '{value}'\n")


def test_all_mistakes_in_one_message(refusal: Refusal) -> None:
    error = refusal(INPUT_DIR="", OUTPUT_DIR="", LEARNING_RATE="", EPOCH="x")
    for name in ("INPUT_DIR", "OUTPUT_DIR", "LEARNING_RATE", "EPOCH"):
        assert f"{name} " in error


def test_output_folder_is_created(trainer: Trainer, tmp_path: Path) -> None:
    assert trainer.run(OUTPUT_DIR=str(tmp_path / "new" / "folder")) == 0
    assert (tmp_path / "new" / "folder" / "summary.json").exists()
