"""What the OpenAPI document has to say beside what APIFlask reads from the schemas. Pure."""

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

VERSION = "3.1.0"
OPEN_PATHS = ("/", "/healthz", "/readyz")
METHODS = ("get", "put", "post", "patch", "delete")

_LINE = "epoch 1/20  loss 0.679  val_loss 0.481"
_TRANSITION = (
    'event: transition\nid: 7\ndata: {"experiment_id": "run-1", "attempt": 1, "from_status": '
    '"queued", "to_status": "running", "reason": null, "at": "2026-01-31T12:00:00.000000Z", '
    '"by": null}\n\n'
)
_CONTENTS = {  # what is no JSON: examples by content type
    "/": {"text/plain": "Hello Flask!"},
    "/metrics": {"text/plain": 'hello_flask_runs{status="running"} 1.0\n'},
    "/experiments/{experiment_id}/logs": {
        "text/plain": f"{_LINE}\n",
        "text/event-stream": f"id: 1\ndata: {_LINE}\n\n",
    },
    "/events": {"text/event-stream": _TRANSITION},
}
_LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The id of the last event that was seen: go on after that one.",
    "schema": {"type": "integer", "minimum": 0},
}
_TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "description": "Needed where the server has tokens (`API_TOKEN_FILE`).",
}
# What stands before every route: status -> (name, when).
_REFUSALS = {
    "400": ("BadRequest", "The Host header names no host, or the body cannot be read"),
    "401": ("Unauthorized", "The server has tokens, and none of them was sent"),
    "403": ("Forbidden", "The token may only read, or a page of another site sent this"),
    "413": ("ContentTooLarge", "The body is too large"),
    "421": ("MisdirectedRequest", "The server is not called as the Host header says"),
    "503": ("ServiceUnavailable", "The database or the file of tokens is away; try again"),
}
_HEADERS = {
    "401": {"WWW-Authenticate": "How to send a token, RFC 6750."},
    "503": {"Retry-After": "Seconds to wait before the next try."},
    "201": {"Location": "The address of the experiment."},
}
_PATH_PARAMETERS = {
    "experiment_id": {
        "description": "The id of an experiment, percent-encoded.",
        "example": "run-1",
        "schema": {"type": "string", "minLength": 1, "maxLength": 200},
    },
    "name": {
        "description": "The name of a data set: a file of the input folder.",
        "example": "digits.npz",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    },
    "path": {
        "description": "A file's path in the run's folder.",
        "example": "run.json",
        "schema": {"type": "string", "minLength": 1},
    },
}
_EXAMPLES = {  # by type and format, of fields that name none themselves
    ("string", "date-time"): "2026-01-31T12:00:00.000000Z",
    ("string", None): "text",
    ("integer", None): 1,
    ("number", None): 0.5,
    ("boolean", None): True,
}
_FILE = {"required": True, "content": {"application/octet-stream": {"schema": {}}}}
# Their answers hold an experiment, which can be gone on with.
_LINKING = (
    "/test",
    "/experiments",
    "/experiments/{experiment_id}/cancel",
    "/experiments/{experiment_id}/retry",
)
_BINARIES = {
    "/experiments/{experiment_id}/files/{path}": "application/octet-stream",
    "/experiments/{experiment_id}/files.zip": "application/zip",
    "/inputs/{name}": "application/octet-stream",
}


def describe(document: Any, texts: Mapping[tuple[str, str], str]) -> Any:
    """Complete the document, in an order that is always the same.

    Args:
        document: what APIFlask has made.
        texts: what each operation does, by method (lower case) and path.
    """
    components = document.setdefault("components", {})
    components["securitySchemes"] = {"token": _TOKEN}
    components["responses"] = {
        name: _with_headers(status, {"description": when, "content": _problem()})
        for status, (name, when) in _REFUSALS.items()
    }
    components["schemas"] = dict(sorted(components.get("schemas", {}).items()))
    document["tags"] = [
        {"name": name} for name in sorted({one["name"] for one in document["tags"]})
    ]
    document["security"] = [{"token": []}, {}]
    document["paths"] = {
        path: {
            method: _operation(
                path, method, operations[method] | {"description": texts[method, path]}
            )
            for method in METHODS
            if method in operations
        }
        for path, operations in sorted(document["paths"].items())
    }
    links = _links(document["paths"])
    for path in _LINKING:
        responses = document["paths"][path]["post"]["responses"]
        for status in {"200", "201", "202"} & responses.keys():
            responses[status]["links"] = links
    for status, answer in _answers(document):
        for kind, content in answer.get("content", {}).items():
            if kind == "application/json":
                content["example"] = _example(content["schema"], components["schemas"])
            elif kind == "application/problem+json":
                content["example"] = _problem_example(status, answer["description"])
    return document


def _operation(path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    operation["operationId"] = operation_id(method, path)
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            parameter |= _PATH_PARAMETERS.get(parameter["name"], {})
    if "text/event-stream" in _CONTENTS.get(path, {}):
        operation["parameters"].append(_LAST_EVENT_ID)
    if (method, path) == ("put", "/inputs/{name}"):
        operation["requestBody"] = _FILE
    body = operation.get("requestBody", {}).get("content", {})
    if "application/x-www-form-urlencoded" in body and "application/json" in body:
        form = {"multipart/form-data": body["application/json"]}
        operation["requestBody"] = {"required": True, "content": form | body}
    operation["responses"] = _responses(path, method, operation["responses"], bool(body))
    if path in OPEN_PATHS:
        operation["security"] = []
    return operation


def _responses(path: str, method: str, responses: dict[str, Any], has_body: bool) -> dict[str, Any]:
    main = responses.get("201") or responses.get("202") or {}
    for status in {"200", "202"} & responses.keys():
        responses[status] |= {"content": main["content"]} if "content" in main else {}
    if method == "get" and path in _CONTENTS:
        responses["200"]["content"] = {
            kind: {"schema": {"type": "string"}, "example": example}
            for kind, example in _CONTENTS[path].items()
        }
    for status in {"200", "206"} & responses.keys():
        if method == "get" and path in _BINARIES:
            responses[status]["content"] = {_BINARIES[path]: {"schema": {}}}
    for status, response in responses.items():
        content = response.get("content", {})
        if status[0] in "45" and "application/json" in content:
            content["application/problem+json"] = content.pop("application/json")
    refusals = {"400", "421"} | (set() if path in OPEN_PATHS else {"401", "503"})
    refusals |= ({"403"} if method != "get" else set()) | ({"413"} if has_body else set())
    for status in refusals - responses.keys():
        responses[status] = {"$ref": f"#/components/responses/{_REFUSALS[status][0]}"}
    return {
        status: _with_headers(status, response) for status, response in sorted(responses.items())
    }


def _with_headers(status: str, response: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in response or status not in _HEADERS:
        return response
    headers = {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in _HEADERS[status].items()
    }
    return response | {"headers": headers}


def _answers(document: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give every answer with its status, those too that operations share."""
    for status, (name, _) in _REFUSALS.items():
        yield status, document["components"]["responses"][name]
    for operations in document["paths"].values():
        for operation in operations.values():
            yield from operation["responses"].items()


def _example(schema: Any, schemas: Mapping[str, Any]) -> Any:
    """Make an example of the examples of the fields."""
    if "$ref" in schema:
        return _example(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "example" in schema:
        return schema["example"]
    kind = schema.get("type")
    if not isinstance(kind, str):  # several: null is one of them
        return None
    if kind == "array":
        return [_example(schema["items"], schemas)]
    if kind == "object":
        fields = schema.get("properties", {})
        more = schema.get("additionalProperties")
        named = {"loss": more} if isinstance(more, dict) and more else {}
        return {name: _example(one, schemas) for name, one in (fields | named).items()}
    return _EXAMPLES[kind, schema.get("format")]


def _problem_example(status: str, detail: str) -> dict[str, Any]:
    code = HTTPStatus(int(status))
    return {"type": "about:blank", "title": code.phrase, "status": code, "detail": f"{detail}."}


def operation_id(method: str, path: str) -> str:
    """Name an operation by its address: a client generator makes a function's name of it."""
    return "_".join([method, *re.findall(r"\w+", path)])


def _links(paths: dict[str, Any]) -> dict[str, Any]:
    """Say what can be done with the experiment that an answer holds (Link Object)."""
    return {
        operation["operationId"]: {
            "operationId": operation["operationId"],
            "parameters": {"experiment_id": "$response.body#/experiment_id"},
        }
        for path, operations in paths.items()
        if "{experiment_id}" in path
        for operation in operations.values()
        if sum(one["in"] == "path" for one in operation["parameters"]) == 1
    }


def _problem() -> dict[str, Any]:
    return {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
