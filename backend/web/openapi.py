"""Adds to the OpenAPI document what APIFlask cannot read from the routes and schemas. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from backend.domain.annotations.rules import MAX_TAG_CHARACTERS
from backend.domain.catalogue import AUTOENCODER, Entry
from backend.domain.identifiers import MAX_ID_CHARACTERS, SUFFIX_CHARACTERS
from backend.files.inputs import MAX_NAME_BYTES
from backend.web.access import OPEN_PATHS
from backend.web.openapi_models import describe_submissions, describe_sweeps

VERSION = "3.1.0"
METHOD_ORDER = ("get", "put", "post", "patch", "delete")

_LOG_LINE = "epoch 1/20  loss 0.679  val_loss 0.481"
_TRANSITION_EVENT = (
    'event: transition\nid: 7\ndata: {"experiment_id": "run-1", "attempt": 1, "from_status": '
    '"queued", "to_status": "running", "reason": null, "at": "2026-01-31T12:00:00.000000Z", '
    '"by": null}\n\n'
)
_TEXT_EXAMPLES = {  # of responses other than JSON, by path and content type
    "/": {"text/plain": "Hello Flask!", "text/html": "<!doctype html>..."},
    "/metrics": {"text/plain": 'hello_flask_runs{status="running"} 1.0\n'},
    "/experiments/{experiment_id}/logs": {
        "text/plain": f"{_LOG_LINE}\n",
        "text/event-stream": f"id: 1\ndata: {_LOG_LINE}\n\n",
    },
    "/events": {"text/event-stream": _TRANSITION_EVENT},
}
_LIST_EXAMPLES = {
    "text/csv": "experiment_id,metrics.val_loss.min\r\nrun-1,0.03\r\n",
    "application/x-ndjson": '{"experiment_id":"run-1","metrics.val_loss.min":0.03}\n',
}
_LAST_EVENT_ID_PARAMETER = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The id of the last event that the client has seen: continue after it.",
    "schema": {"type": "integer", "minimum": 0},
}
_TOKEN_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "Required if tokens are set (`API_TOKEN` or `API_TOKEN_FILE`).",
}
# Responses that precede every route, by status: the name of the component, and its description.
_COMMON_RESPONSES = {
    "400": ("BadRequest", "The Host header names no host, or the body cannot be read"),
    "401": ("Unauthorized", "Tokens are set, and the request carries none of them"),
    "403": ("Forbidden", "The token may only read, or a page of another site sent this"),
    "413": ("ContentTooLarge", "The body is too large"),
    "421": ("MisdirectedRequest", "The server does not answer to this Host header"),
    "503": ("ServiceUnavailable", "The database or the token file is unavailable; try again"),
}
_RESPONSE_HEADERS = {
    "401": {"WWW-Authenticate": "How to send a token, RFC 6750."},
    "503": {"Retry-After": "Seconds to wait before the next try."},
    "201": {"Location": "The address of what was made."},
}
_PATH_PARAMETERS = {
    "experiment_id": {
        "description": "The id of an experiment, percent-encoded.",
        "example": "run-1",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARACTERS},
    },
    "sweep_id": {
        "description": "The id of a sweep, percent-encoded.",
        "example": "s1",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_ID_CHARACTERS - SUFFIX_CHARACTERS,
        },
    },
    "model": {
        "description": "The name of a model of the catalogue.",
        "example": AUTOENCODER,
        "schema": {"type": "string", "minLength": 1},
    },
    "name": {
        "description": "The name of a data set: a file of the input folder.",
        "example": "digits.npz",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_BYTES},
    },
    "tag": {
        "description": "A tag, percent-encoded.",
        "example": "baseline",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_TAG_CHARACTERS},
    },
    "path": {
        "description": "The path of a file in the experiment's output folder.",
        "example": "run.json",
        "schema": {"type": "string", "minLength": 1},
    },
}
_DEFAULT_EXAMPLES = {  # by type and format, for fields without an example
    ("string", "date-time"): "2026-01-31T12:00:00.000000Z",
    ("string", None): "text",
    ("integer", None): 1,
    ("number", None): 0.5,
    ("boolean", None): True,
}
_FILE_BODY = {"required": True, "content": {"application/octet-stream": {"schema": {}}}}
# POSTs whose response is an experiment: links lead on to its other operations.
_LINKING_PATHS = (
    "/test",
    "/experiments",
    "/experiments/{experiment_id}/cancel",
    "/experiments/{experiment_id}/retry",
)
_DOWNLOADS = {
    "/experiments/{experiment_id}/files/{path}": "application/octet-stream",
    "/experiments/{experiment_id}/files.zip": "application/zip",
    "/inputs/{name}": "application/octet-stream",
}


def describe(
    document: Any, texts: Mapping[tuple[str, str], tuple[str, str]], entries: Sequence[Entry]
) -> Any:
    """Complete the document in place, in an order that is always the same, and return it.

    Args:
        document: as APIFlask has made it.
        texts: the name and the description of each operation, by method (lower case) and path.
        entries: the models of the catalogue.
    """
    components = document.setdefault("components", {})
    describe_submissions(document, entries)
    describe_sweeps(document, entries)
    components["securitySchemes"] = {"token": _TOKEN_SCHEME}
    components["responses"] = {
        name: _with_headers(status, {"description": description, "content": _problem()})
        for status, (name, description) in _COMMON_RESPONSES.items()
    }
    components["schemas"] = dict(sorted(components.get("schemas", {}).items()))
    for schema in components["schemas"].values():
        for field in schema.get("properties", {}).values():
            # Swagger UI would send a null as the text "null" in a form.
            if field.get("default", ...) is None:
                del field["default"]
    document["tags"] = [
        {"name": name} for name in sorted({one["name"] for one in document["tags"]})
    ]
    document["security"] = [{"token": []}, {}]
    document["paths"] = {
        path: {
            method: _operation(
                path, method, operations[method] | _named(path, method, *texts[method, path])
            )
            for method in METHOD_ORDER
            if method in operations
        }
        for path, operations in sorted(document["paths"].items())
    }
    links = _links(document["paths"])
    for path in _LINKING_PATHS:
        responses = document["paths"][path]["post"]["responses"]
        for status in {"200", "201", "202"} & responses.keys():
            responses[status]["links"] = links
    for status, response in _all_responses(document):
        for kind, content in response.get("content", {}).items():
            if kind == "application/json":
                content["example"] = _example(content["schema"], components["schemas"])
            elif kind == "application/problem+json":
                content["example"] = _problem_example(status, response["description"])
    return document


def _operation(path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            parameter |= _PATH_PARAMETERS.get(parameter["name"], {})
    if "text/event-stream" in _TEXT_EXAMPLES.get(path, {}):
        operation["parameters"].append(_LAST_EVENT_ID_PARAMETER)
    if (method, path) == ("put", "/inputs/{name}"):
        operation["requestBody"] = _FILE_BODY
    has_body = bool(operation.get("requestBody"))
    operation["responses"] = _responses(path, method, operation["responses"], has_body)
    if path in OPEN_PATHS:
        operation["security"] = []
    return operation


def _responses(path: str, method: str, responses: dict[str, Any], has_body: bool) -> dict[str, Any]:
    main = responses.get("201") or responses.get("202") or {}
    if "content" in main:
        for status in {"200", "202"} & responses.keys():
            responses[status]["content"] = main["content"]
    if method == "get" and path in _TEXT_EXAMPLES:
        responses["200"]["content"] = {
            kind: {"schema": {"type": "string"}, "example": example}
            for kind, example in _TEXT_EXAMPLES[path].items()
        }
    if method == "get" and path in ("/model", "/experiments"):
        responses["200"]["content"] |= {
            kind: {"schema": {"type": "string"}, "example": example}
            for kind, example in _LIST_EXAMPLES.items()
        }
    for status in {"200", "206"} & responses.keys():
        if method == "get" and path in _DOWNLOADS:
            responses[status]["content"] = {_DOWNLOADS[path]: {"schema": {}}}
    for status, response in responses.items():
        content = response.get("content", {})
        if status[0] in "45" and "application/json" in content:
            content["application/problem+json"] = content.pop("application/json")
    common = {"400", "421"}
    if path not in OPEN_PATHS:
        common |= {"401", "503"}
    if method != "get":
        common |= {"403"}
    if has_body:
        common |= {"413"}
    for status in common - responses.keys():
        responses[status] = {"$ref": f"#/components/responses/{_COMMON_RESPONSES[status][0]}"}
    return {
        status: _with_headers(status, response) for status, response in sorted(responses.items())
    }


def _with_headers(status: str, response: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in response or status not in _RESPONSE_HEADERS:
        return response
    headers = {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in _RESPONSE_HEADERS[status].items()
    }
    return response | {"headers": headers}


def _all_responses(document: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every response with its status, first those that operations share."""
    for status, (name, _) in _COMMON_RESPONSES.items():
        yield status, document["components"]["responses"][name]
    for operations in document["paths"].values():
        for operation in operations.values():
            yield from operation["responses"].items()


def _example(schema: Any, schemas: Mapping[str, Any]) -> Any:
    """Return an example for a schema, put together from the examples of its fields."""
    if "$ref" in schema:
        return _example(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "example" in schema:
        return schema["example"]
    kind = schema.get("type")
    if not isinstance(kind, str):  # a list of types, one of which is null
        return None
    if kind == "array":
        return [_example(schema["items"], schemas)]
    if kind == "object":
        fields = schema.get("properties", {})
        more = schema.get("additionalProperties")
        metrics = {"loss": more} if isinstance(more, dict) and more else {}
        return {name: _example(one, schemas) for name, one in (fields | metrics).items()}
    return _DEFAULT_EXAMPLES[kind, schema.get("format")]


def _problem_example(status: str, detail: str) -> dict[str, Any]:
    code = HTTPStatus(int(status))
    return {"type": "about:blank", "title": code.phrase, "status": code, "detail": f"{detail}."}


def _named(path: str, method: str, name: str, description: str) -> dict[str, str]:
    """Return id and description of an operation; generated clients name it by its id.

    The second address of a function has the id of its path: `/test` is `post_test`.
    """
    second = {"/test": "post_test", "/model": "list_model"}
    return {"operationId": second.get(path, name), "description": description}


def _links(paths: dict[str, Any]) -> dict[str, Any]:
    """Return a Link Object for each operation on the experiment that a response holds."""
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
