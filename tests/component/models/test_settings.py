from collections.abc import Callable
from pathlib import Path

import pytest

from autoencoder_parameters import AutoencoderParameters
from common.settings import Settings, read_settings
from tests.component.models.support import Trainer

Refusal = Callable[..., str]


def test_settings_from_environment(empty_trainer: Trainer) -> None:
    chosen = {"ATTEMPT": "2", "PARAM_SEED": "7", "PARAM_HIDDEN": "48", "DATASET": "a.csv"}
    settings = read_settings(empty_trainer.environment | chosen, AutoencoderParameters)
    assert settings == Settings(
        input_dir=empty_trainer.input,
        output_dir=empty_trainer.output,
        learning_rate=0.001,
        epochs=3,
        dataset="a.csv",
        own=AutoencoderParameters(seed=7, hidden=48),
        experiment_id="first",
        attempt=2,
        checkpoint_seconds=10.0,
    )


def test_empty_dataset_is_every_file(empty_trainer: Trainer) -> None:
    environment = empty_trainer.environment | {"DATASET": ""}
    assert read_settings(environment, AutoencoderParameters).dataset is None


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("LEARNING_RATE", ["abc", "nan", "inf", "0", "-1", "10.1", "1_0", "0,1", "٣"]),
        ("EPOCH", ["abc", "1.5", "0", "-3", "100001", "1_0", " 5", "٣"]),
        ("SEED", ["-1", "x", "4294967296"]),
        ("PARAM_SEED", ["-1", "x", "4294967296"]),
        ("PARAM_BATCH_SIZE", ["-1", "65537", "$(EPOCH)"]),
        ("PARAM_HIDDEN", ["16385", "1e9"]),
        ("PARAM_CODE", ["0.5"]),
        ("PARAM_VALIDATION_SHARE", ["0", "0.6", "nan"]),
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


@pytest.mark.parametrize(
    ("variable", "text"), [("PARAM_SEED", "5"), ("PARAM_SEED", "5.0"), ("SEED", "5")]
)
def test_names_and_forms_of_a_number(empty_trainer: Trainer, variable: str, text: str) -> None:
    """`SEED` is what version 0.2 called it; 5.0 is a whole number, as in JSON."""
    environment = empty_trainer.environment | {variable: text}
    assert read_settings(environment, AutoencoderParameters).own.seed == 5


def test_long_values_are_cut(refusal: Refusal) -> None:
    assert len(refusal(PARAM_HIDDEN="\n" * 10_000)) < 500
