"""Describes submissions in the OpenAPI document: one schema for each model of the catalogue. Pure.

Each content type has a schema of its own, because generated clients choose the content type by the
class of the body.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from backend.domain.catalogue import AUTOENCODER, Entry
from backend.domain.parameter import Parameter

NAME = "ExperimentIn"  # the component that APIFlask makes of the fields that all models share
_SUFFIXES = {
    "multipart/form-data": "Multipart",
    "application/x-www-form-urlencoded": "Form",
    "application/json": "",
}
SWEEP_NAME = "SweepIn"
_DIMENSION = {"type": ["number", "string", "boolean", "array", "object"]}
_SCHEMAS = "#/components/schemas/"


def describe_submissions(document: Any, entries: Sequence[Entry]) -> None:
    """Replace the body of each submission by one that knows the parameters of these models."""
    schemas = document["components"]["schemas"]
    shared = schemas[NAME]
    for field in shared["properties"].values():
        field.pop("default", None)  # only that of a parameter is worth sending
    names = _component_names(entries)
    for entry in entries:
        schemas[names[entry.name]] = _model_schema(entry, shared)
    references = {name: f"{_SCHEMAS}{component}" for name, component in names.items()}
    schemas[NAME] = {
        "oneOf": [{"$ref": reference} for reference in references.values()],
        "discriminator": {"propertyName": "model", "mapping": references},
    }
    form = _form_schema(entries, shared)
    for suffix in filter(None, _SUFFIXES.values()):
        schemas[NAME + suffix] = form
    content = {
        kind: {"schema": {"$ref": f"{_SCHEMAS}{NAME}{suffix}"}}
        for kind, suffix in _SUFFIXES.items()
    }
    for path in ("/test", "/experiments"):
        # Not `required`: openapi-python-client 0.29 then forgets an import. A request without a
        # body is answered like one without fields.
        document["paths"][path]["post"]["requestBody"] = {
            "description": "The model, its parameters and the data set. GET /models lists models.",
            "content": content,
        }


def describe_sweeps(document: Any, entries: Sequence[Entry]) -> None:
    """Describe the parameters in the bodies of sweeps, which may be ranges and lists."""
    schema, first = document["components"]["schemas"][SWEEP_NAME], entries[0]
    always = [
        name
        for name in first.parameters
        if all(name in entry.parameters for entry in entries) and name not in schema["properties"]
    ]
    examples: dict[str, Any] = {"learning_rate": "0.0001..0.1 log", "epoch": 81}
    parameters = {
        name: _DIMENSION
        | {"description": f"A range, a list or a value. {first.parameters[name].description}"}
        | ({"example": examples[name]} if name in examples else {})
        for name in always
    }
    schema["properties"] |= parameters
    defaults = {
        name: _or_empty(field.pop("default", None), field)
        for name, field in schema["properties"].items()
    }
    schema["required"] = ["sweep_id"] + [
        name for name in always if all(entry.parameters[name].is_required for entry in entries)
    ]
    schema["additionalProperties"] = _DIMENSION | {"description": "Another parameter of the model."}
    # In a form they are text: Swagger UI parses examples of other types as JSON, and fails.
    as_text = {
        name: {key: str(value) for key, value in field.items()}
        | {
            "type": "string",
            "example": str(examples.get(name, entries[0].parameters[name].default)),
        }
        for name, field in parameters.items()
    }
    form = schema | {
        "properties": {
            name: field | {"example": field.get("example", defaults[name])}
            for name, field in schema["properties"].items()
        }
        | as_text,
        "additionalProperties": {"type": "string"},
    }
    for suffix in filter(None, _SUFFIXES.values()):
        document["components"]["schemas"][SWEEP_NAME + suffix] = form
    bodies = document["paths"]["/sweeps"]["post"]["requestBody"]
    bodies["content"] = {
        kind: {"schema": {"$ref": f"{_SCHEMAS}{SWEEP_NAME}{suffix}"}}
        for kind, suffix in _SUFFIXES.items()
    }
    change = {"schema": {"$ref": f"{_SCHEMAS}SweepChangeIn"}}
    body = document["paths"]["/sweeps/{sweep_id}"]["patch"]["requestBody"]
    body["content"] = dict.fromkeys(_SUFFIXES, change)


def _or_empty(default: Any, field: Mapping[str, Any]) -> Any:
    """Return what a form sends for a field that is left as it is: an empty one counts as absent."""
    return next(iter(field.get("enum", [""]))) if default is None else default


def _component_names(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the name of each model's schema, such as ConvAutoencoderExperiment."""
    names: dict[str, str] = {}
    for entry in entries:
        words = re.findall(r"[a-z0-9]+", entry.name)
        name = "".join(word.capitalize() for word in words)
        name = name if name[0].isalpha() else f"Model{name}"
        same = sum(other == f"{name}Experiment" for other in names.values())
        names[entry.name] = f"{name}{same or ''}Experiment"
    return names


def _model_schema(entry: Entry, shared: Mapping[str, Any]) -> dict[str, Any]:
    model = {"type": "string", "const": entry.name}
    required = [
        "experiment_id",
        *(one.name for one in entry.parameters.values() if one.is_required),
    ]
    if entry.name != AUTOENCODER:
        required.append("model")
    fields = shared["properties"] | {"model": model | {"example": entry.name}}
    fields["size"] = _size(entry.sizes, shared)
    fields = {name: field for name, field in fields.items() if field}
    parameters = {name: _property(one) for name, one in entry.parameters.items()}
    return {
        "type": "object",
        "description": entry.description or f"An experiment with the model {entry.name}.",
        "properties": parameters | fields,
        "required": required,
        "additionalProperties": False,
    }


def _form_schema(entries: Sequence[Entry], shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a form: the parameters that all models share, and others as text."""
    first, *rest = entries
    common = [
        one
        for name, one in first.parameters.items()
        if all(one == other.parameters.get(name) for other in rest)
    ]
    model = {"type": "string", "enum": [entry.name for entry in entries]}
    properties = {one.name: _property(one) for one in common} | shared["properties"]
    properties["model"] = shared["properties"]["model"] | model
    properties["size"] = _size({size for entry in entries for size in entry.sizes}, shared)
    properties = {name: field for name, field in properties.items() if field}
    others = {"type": "string", "description": "Another parameter of the model."}
    return {
        "type": "object",
        "description": "An experiment; which other fields a form may have depends on the model.",
        "properties": properties,
        "required": ["experiment_id", *(one.name for one in common if one.is_required)],
        "additionalProperties": others if rest else False,
    }


def _size(sizes: Iterable[str], shared: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the schema of the field `size`, or None if there is nothing to choose."""
    names = sorted(sizes)
    if not names:
        return None
    field: dict[str, Any] = shared["properties"]["size"]
    return field | {"type": "string", "enum": names, "example": names[0]}


def _property(parameter: Parameter) -> dict[str, Any]:
    example = parameter.default if parameter.example is None else parameter.example
    return parameter.schema() | ({} if example is None else {"example": example})
