"""What the OpenAPI document has to say beside what APIFlask reads from the schemas."""

from typing import Any

VERSION = "3.1.0"

_TEXTS = {
    "/": "Hello Flask!",
    "/experiments/{experiment_id}/logs": "epoch 1/20  loss 0.679  val_loss 0.481\n",
}

_BINARIES = {
    "/experiments/{experiment_id}/files/{path}": "application/octet-stream",
    "/experiments/{experiment_id}/files.zip": "application/zip",
}


def describe(document: Any) -> Any:
    """Name the content types that are truly taken and given."""
    for operations in document["paths"].values():
        for operation in operations.values():
            if isinstance(operation, dict):
                _describe_operation(operation)
    for path, example in _TEXTS.items():
        answer = document["paths"][path]["get"]["responses"]["200"]
        answer["content"] = {"text/plain": {"schema": {"type": "string"}, "example": example}}
    for path, content_type in _BINARIES.items():
        responses = document["paths"][path]["get"]["responses"]
        for status in {"200", "206"} & responses.keys():
            responses[status]["content"] = {content_type: {"schema": {}}}
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
