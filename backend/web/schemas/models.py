"""Responses about the models of the catalogue."""

from typing import Any

from apiflask import Schema
from apiflask.fields import Dict, Integer, Nested, String

from backend.domain.catalogue import AUTOENCODER, CONTRACT, Entry
from backend.web.languages.current import translated


class ObjectiveOut(Schema):
    """What makes one attempt of a model better than another."""

    metric = String(metadata={"example": "val_loss"})
    goal = String(metadata={"description": "`minimize` or `maximize`.", "example": "minimize"})


class ModelOut(Schema):
    """A model of the catalogue."""

    name = String(metadata={"example": AUTOENCODER})
    description = String()
    parameters = Dict(
        metadata={
            "description": "The JSON Schema of each parameter, by name. One without a default is "
            "required. `x-log`: vary it by orders of magnitude. `x-unit`: its unit.",
            "example": CONTRACT,
        }
    )
    objective = Nested(ObjectiveOut, allow_none=True)
    sizes = Dict(
        metadata={
            "description": "The resources of each size, by name, and its queue if it has one.",
            "example": {"large": {"cpu": "4", "memory": "8Gi", "gpu": "1"}},
        }
    )
    nodes = Integer(
        metadata={
            "description": "How many nodes train each of its experiments; left out if it is one.",
            "example": 2,
        }
    )
    sha256 = String(
        allow_none=True,
        metadata={
            "description": "The digest of the entry.",
            "example": "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab",
        },
    )
    problem = String(
        allow_none=True,
        metadata={"description": "Why the model cannot be used, if so.", "example": None},
    )


def model_out(entry: Entry) -> dict[str, Any]:
    """Return an entry with the members of ModelOut."""
    objective = entry.objective and {
        "metric": entry.objective.metric,
        "goal": entry.objective.goal,
    }
    return {
        "name": entry.name,
        "description": entry.description,
        "parameters": {name: one.schema() for name, one in entry.parameters.items()},
        "objective": objective,
        "sizes": {name: dict(size) for name, size in entry.sizes.items()},
        **({"nodes": entry.nodes} if entry.nodes > 1 else {}),
        "sha256": entry.sha256,
        "problem": None,
    }


def unusable_out(name: str, problem: str) -> dict[str, Any]:
    """Return what is known of an entry that cannot be used, with the members of ModelOut."""
    return {
        "name": name,
        "description": "",
        "parameters": {},
        "objective": None,
        "sizes": {},
        "sha256": None,
        "problem": translated(problem),
    }
