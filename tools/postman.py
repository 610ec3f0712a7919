"""Generate the Postman collection (format 2.1.0) from the OpenAPI document. Pure."""

import json
import re
from typing import Any

SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
# An experiment is submitted first and deleted last.
_ORDER = ("get", "put", "post", "patch", "delete")
_SUBMISSIONS = ("/test", "/experiments", "/sweeps")
# A stream never ends, which a collection runner would wait for; an upload would never be deleted,
# and a preview needs one.
_OMITTED = ("/events", "/inputs/{name}", "/inputs/{name}/preview", "/inputs/{name}/preview.png")
_ID = "{{experiment_id}}"
_SWEEP_ID = "{{experiment_id}}-sweep"
_IDS = {"experiment_id": _ID, "ids": _ID, "sweep_id": _SWEEP_ID}  # by parameter or field
_BEGIN = """if (!pm.collectionVariables.get("experiment_id")) {
    pm.collectionVariables.set("experiment_id", "postman-" + Date.now());
}"""


def collection(document: Any) -> dict[str, Any]:
    """Return the collection: every operation as a request with tests, in an order that works."""
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if path not in _OMITTED
    ]
    operations.sort(key=lambda entry: (_rank(*entry[:2]), entry[0]))
    return {
        "info": {
            "name": document["info"]["title"],
            "description": document["info"]["description"],
            "schema": SCHEMA,
        },
        "auth": {"type": "bearer", "bearer": [_pair("token", "{{token}}", type="string")]},
        "variable": [
            _pair("base_url", "http://127.0.0.1:31112"),
            _pair("token", ""),
            _pair("experiment_id", ""),
        ],
        "event": [_script("prerequest", _BEGIN)],
        "item": [_item(document, *operation) for operation in operations],
    }


def _rank(path: str, method: str) -> tuple[int, int]:
    """Return the place of an operation: what belongs to an experiment is deleted before it."""
    is_submission = method == "post" and path in _SUBMISSIONS
    order = -1 if is_submission else _ORDER.index(method)
    return order, -path.count("/") if method == "delete" else 0


def _item(document: Any, path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    values = {
        parameter["name"]: _IDS.get(parameter["name"], str(parameter.get("example", "")))
        for parameter in operation.get("parameters", [])
    }
    filled = re.sub(r"{(\w+)}", lambda match: values[match[1]], path)
    query = [
        _pair(
            parameter["name"],
            values[parameter["name"]],
            disabled=parameter["name"] not in _IDS,
            description=parameter["description"],
        )
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "query"
    ]
    request: dict[str, Any] = {
        "method": method.upper(),
        "description": operation.get("description", ""),
        "url": {
            "raw": "{{base_url}}" + filled,
            "host": ["{{base_url}}"],
            "path": filled.strip("/").split("/"),
            "query": query,
        },
    }
    form = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data")
    if form:
        request["body"] = {"mode": "formdata", "formdata": _fields(document, form["schema"])}
    name = f"{operation.get('summary', path)}: {method.upper()} {path}"
    return {
        "name": name,
        "request": request,
        "event": [_script("test", _tests(document, path, method, operation))],
    }


def _fields(document: Any, schema: dict[str, Any]) -> list[dict[str, Any]]:
    name = schema["$ref"].rpartition("/")[2]
    schema = document["components"]["schemas"][name]
    required = schema.get("required") or list(schema["properties"])[:1]  # or there is no change
    return [
        _pair(
            field,
            _IDS.get(field, str(description.get("example", ""))),
            type="text",
            disabled=field not in required,
            description=description.get("description", ""),
        )
        for field, description in schema["properties"].items()
    ]


def _tests(document: Any, path: str, method: str, operation: dict[str, Any]) -> str:
    """Return a test script that expects success, or 409 where the experiment's status decides."""
    responses = operation["responses"]
    good = [int(status) for status in responses if status.startswith("2")]
    if "409" in responses and path not in _SUBMISSIONS:
        good.append(409)
    kinds = {status: list(_content(document, responses[status])) for status in map(str, good)}
    return "\n".join(
        [
            f"const kinds = {json.dumps(kinds)};",
            f'pm.test("{method.upper()} is answered as documented", () => {{',
            f"    pm.expect(pm.response.code).to.be.oneOf({good});",
            "    const kind = (pm.response.headers.get('Content-Type') || '').split(';')[0];",
            "    const documented = kinds[pm.response.code];",
            "    if (documented.length) pm.expect(kind).to.be.oneOf(documented);",
            "});",
        ]
    )


def _content(document: Any, response: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    content: dict[str, Any] = response.get("content", {})
    return content


def _script(listen: str, text: str) -> dict[str, Any]:
    return {"listen": listen, "script": {"type": "text/javascript", "exec": text.splitlines()}}


def _pair(key: str, value: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "value": value} | more
