"""Reads the fields of a request body: form-data, urlencoded form or JSON, with the same result."""

import json
from typing import Any

from apiflask import Schema
from apiflask.schema_adapters.marshmallow import parser
from flask import Request, abort
from marshmallow import ValidationError

MAX_BODY_BYTES = 64 * 1024
MAX_FIELDS = 100
CONTENT_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded", "application/json")


def register_parser() -> None:
    """Make APIFlask read bodies with `load_fields`, and leave unknown fields to the schema.

    webargs' own loader for "json_or_form" does not read form-data, and its parser ignores unknown
    fields of a query string, whatever the schema says. APIFlask has one parser for all apps.
    """
    parser.location_loader("json_or_form")(load_fields)
    parser.unknown = None


def load_fields(request: Request, _schema: Schema) -> Any:
    """Return the fields of a body by name; of JSON, whatever value the body holds.

    Raises:
        ValidationError: a field was sent twice, or as a file.
        HTTPException: 400 for broken JSON, 413 for more than MAX_FIELDS fields, 415 for another
            content type.
    """
    if request.mimetype == "application/json":
        fields = _json(request)
    elif request.mimetype in CONTENT_TYPES or not request.mimetype:
        fields = _form(request)
    else:
        abort(415, f"Send {', '.join(CONTENT_TYPES[:-1])} or {CONTENT_TYPES[-1]}.")
    if isinstance(fields, dict) and len(fields) > MAX_FIELDS:
        abort(413)
    return fields


def _json(request: Request) -> Any:
    try:
        return json.loads(request.get_data())
    except (ValueError, RecursionError):
        return abort(400, "The body is not JSON, although its content type says so.")


def _form(request: Request) -> dict[str, str]:
    problems = {
        name: ["was sent more than once: send it once."]
        for name, values in request.form.lists()
        if len(values) > 1
    }
    problems |= {name: ["was sent as a file: send it as text."] for name in request.files}
    if problems:
        raise ValidationError(dict(problems))
    return request.form.to_dict()
