"""What the OpenAPI document has to say beside what APIFlask reads from the schemas."""

from typing import Any

VERSION = "3.1.0"

_LINE = "epoch 1/20  loss 0.679  val_loss 0.481"
_TRANSITION = (
    'event: transition\nid: 7\ndata: {"experiment_id": "run-1", "attempt": 1, "from_status": '
    '"queued", "to_status": "running", "reason": null, "at": "2026-01-31T12:00:00.000000Z", '
    '"by": null}\n\n'
)
_CONTENTS = {  # what is no JSON: examples by content type
    "/": {"text/plain": "Hello Flask!"},
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

_BINARIES = {
    "/experiments/{experiment_id}/files/{path}": "application/octet-stream",
    "/experiments/{experiment_id}/files.zip": "application/zip",
    "/inputs/{name}": "application/octet-stream",
}


def describe(document: Any) -> Any:
    """Name the content types that are truly taken and given."""
    for operations in document["paths"].values():
        for operation in operations.values():
            if isinstance(operation, dict):
                _describe_operation(operation)
    for path, content_type in _BINARIES.items():
        responses = document["paths"][path]["get"]["responses"]
        for status in {"200", "206"} & responses.keys():
            responses[status]["content"] = {content_type: {"schema": {}}}
    for path, examples in _CONTENTS.items():
        operation = document["paths"][path]["get"]
        operation["responses"]["200"]["content"] = {
            kind: {"schema": {"type": "string"}, "example": example}
            for kind, example in examples.items()
        }
        if "text/event-stream" in examples:
            operation["parameters"].append(_LAST_EVENT_ID)
    document["paths"]["/inputs/{name}"]["put"]["requestBody"] = {
        "required": True,
        "content": {"application/octet-stream": {"schema": {}}},
    }
    return document


def _describe_operation(operation: dict[str, Any]) -> None:
    body = operation.get("requestBody", {}).get("content", {})
    if "application/json" in body:
        operation["requestBody"]["content"] = {
            "multipart/form-data": body["application/json"]
        } | body
    responses = operation["responses"]
    main = responses.get("201") or responses.get("202")
    for status in {"200", "202"} & responses.keys() if main else ():
        responses[status]["content"] = main["content"]
    for status, response in responses.items():
        content = response.get("content", {})
        if status[0] in "45" and "application/json" in content:
            content["application/problem+json"] = content.pop("application/json")
