"""What model.yaml promises is what the trainer does."""

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from backend import __version__ as VERSION
from common.exceptions import UnusableError
from common.settings import Parameters, read_settings
from tests.component.models.support import MODELS, NAMES, Trainer, parameters_of

CONTRACT = ("learning_rate", "epoch")  # of every model, in variables of their own
TYPES = {"integer": int, "number": float, "string": str, "boolean": bool}


def entry(model: str) -> dict[str, Any]:
    """Return the content of a model.yaml."""
    found: dict[str, Any] = yaml.safe_load((MODELS / model / "model.yaml").read_text())
    return found


def own_parameters(model: str) -> dict[str, dict[str, Any]]:
    """Return the schemas of a model's own parameters."""
    parameters = entry(model)["parameters"]
    return {name: schema for name, schema in parameters.items() if name not in CONTRACT}


def read(empty_trainer: Trainer, model: str, **variables: Any) -> Parameters:
    """Return the parameters that the trainer reads from these variables."""
    texts = {name: str(value) for name, value in variables.items()}
    own: Parameters = read_settings(empty_trainer.environment | texts, parameters_of(model)).own
    return own


@pytest.mark.parametrize("model", NAMES)
def test_parameters_and_defaults(model: str) -> None:
    schemas = own_parameters(model)
    defaults = {each.name: each.default for each in fields(parameters_of(model))}
    assert {name: schema["default"] for name, schema in schemas.items()} == defaults
    for name, schema in schemas.items():
        assert type(defaults[name]) is TYPES[schema["type"]], name
        assert schema["description"].endswith("."), name


@pytest.mark.parametrize("model", NAMES[1:])
def test_image_is_that_of_this_version(model: str) -> None:
    """build.sh pushes it; that of the autoencoder is AE_MODEL_IMAGE_URL."""
    assert entry(model)["image"] == f"localhost:5000/{model}:{VERSION}"


@pytest.mark.parametrize("model", NAMES)
def test_limits(empty_trainer: Trainer, model: str) -> None:
    for name, schema in own_parameters(model).items():
        variable = f"PARAM_{name.upper()}"
        allowed, refused = list[Any](), list[Any]()
        if schema["type"] in ("integer", "number"):
            allowed = [schema["minimum"], schema["maximum"]]
            step = 1 if schema["type"] == "integer" else 1e-3
            refused = [schema["minimum"] - step, schema["maximum"] + step, "x", math.nan, " "]
        elif schema["type"] == "boolean":
            allowed, refused = ["true", "false"], ["yes", "1", " "]
        elif "enum" in schema:
            allowed, refused = schema["enum"], ["$(EPOCH)", " "]
        for value in allowed:
            found = getattr(read(empty_trainer, model, **{variable: value}), name)
            assert found == {"true": True, "false": False}.get(value, value)
        for value in refused:
            with pytest.raises(UnusableError, match=f"^{variable} must be "):
                read(empty_trainer, model, **{variable: value})


@pytest.mark.parametrize("model", NAMES)
def test_objective_is_a_metric(tmp_path: Path, model: str) -> None:
    """The best epoch of the summary is the best by the objective."""
    trainer = Trainer(tmp_path, model)
    random = np.random.default_rng(0)
    classes = np.arange(60) % 3
    images = random.normal(size=(60, 4, 4)) + classes[:, None, None]
    np.savez(trainer.input / "a.npz", x=images, y=classes)
    assert trainer.run(EPOCH="4") == 0
    objective = entry(model)["objective"]
    best = max if objective["goal"] == "maximize" else min
    metrics = trainer.metrics()
    value = best(row[objective["metric"]] for row in metrics)
    assert trainer.summary()["best"] == next(
        row for row in metrics if row[objective["metric"]] == value
    )
