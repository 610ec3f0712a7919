"""Reads the fields of a request body: form-data, urlencoded form or JSON, with the same result."""

import json
from collections import Counter
from typing import Any
from urllib.parse import unquote_to_bytes

from apiflask import Schema
from apiflask.schema_adapters.marshmallow import parser
from flask import Request, abort
from marshmallow import ValidationError

MAX_BODY_BYTES = 64 * 1024
MAX_FIELDS = 100
REPEATABLE = ("dataset",)  # fields of a form that may be sent more than once
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
CONTENT_TYPES = (*FORMS, "application/json")
ACCEPTED = f"{', '.join(CONTENT_TYPES[:-1])} or {CONTENT_TYPES[-1]}"
UTF_8 = ("utf-8", "utf8", "us-ascii", "ascii")  # ASCII is a part of it


def register_parser() -> None:
    """Make APIFlask read bodies with `load_fields`, and leave unknown fields to the schema.

    webargs' own loader for "json_or_form" does not read form-data, and its parser ignores unknown
    fields of a query string, whatever the schema says. APIFlask has one parser for all apps.
    """
    parser.location_loader("json_or_form")(load_fields)
    parser.unknown = None


def load_fields(request: Request, schema: Schema) -> Any:
    """Return the fields of a body by name; of JSON, whatever value the body holds.

    Of a form, a field that was sent several times is a list if `schema` is `repeatable` and does
    not name it.

    Raises:
        ValidationError: a field was sent twice, as a file, or in another encoding than UTF-8.
        HTTPException: 400 for a body that is not what its content type says, 413 for more than
            MAX_FIELDS fields, 415 for another content type or encoding.
    """
    refuse_encoded(request)
    kind = request.mimetype
    if kind not in CONTENT_TYPES:
        if kind or request.content_length or "Transfer-Encoding" in request.headers:
            abort(415, f"Send {ACCEPTED} with that Content-Type.")
        return {}  # no body at all: every field is missing
    charset = request.mimetype_params.get("charset", "utf-8")
    if charset.lower() not in UTF_8:
        abort(415, f"The charset {charset[:40]!r} is not supported: send the body as UTF-8.")
    fields = _json(request) if kind == "application/json" else _form(request, schema)
    if isinstance(fields, dict) and len(fields) > MAX_FIELDS:
        abort(413)
    return fields


def refuse_encoded(request: Request) -> None:
    """Refuse a compressed body.

    Raises:
        HTTPException: 415, the request has a Content-Encoding.
    """
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        abort(
            415,
            f"The body is compressed (Content-Encoding: {encoding[:40]}): send it uncompressed, "
            "without that header.",
        )


def _json(request: Request) -> Any:
    body = request.get_data()
    if not body.strip():
        abort(400, "The body is empty: send a JSON object with the fields.")
    try:
        return json.loads(body, object_pairs_hook=_object)
    except UnicodeDecodeError:
        return abort(400, "The body is not UTF-8 text: JSON is always sent as UTF-8 (RFC 8259).")
    except (ValueError, RecursionError):
        return abort(400, "The body is not JSON, although its content type says so.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, none of whose names is repeated or holds half of a character."""
    counts = Counter(name for name, _ in pairs)
    for name in counts:
        if any("\ud800" <= character <= "\udfff" for character in name):
            abort(400, f"The name {name[:40]!a} holds half of a surrogate pair, which is no text.")
    repeated = [name for name, number in counts.items() if number > 1]
    if repeated:
        raise ValidationError(
            {name: ["was sent more than once: send it once."] for name in repeated}
        )
    return dict(pairs)


def _form(request: Request, schema: Schema) -> dict[str, Any]:
    is_multipart = request.mimetype == "multipart/form-data"
    if is_multipart and not request.mimetype_params.get("boundary"):
        abort(
            400,
            "The Content-Type has no boundary: do not set that header yourself, but leave it to "
            "your client, which adds one.",
        )
    if not is_multipart:
        _check_urlencoded(request.get_data(parse_form_data=False), request)
    elif not (request.form or request.files):
        abort(
            400,
            "The body holds no fields between the boundaries that the Content-Type names: send "
            f"the fields as {ACCEPTED}.",
        )
    return _checked(request, schema)


def _check_urlencoded(body: bytes, request: Request) -> None:
    """Refuse a body that is something else, such as JSON that `curl -d` sends as a form."""
    start = body.lstrip()[:80]
    if not start and not request.form:
        abort(400, f"The body is empty: send the fields as {ACCEPTED}.")
    if start.startswith((b"{", b"[")):
        abort(
            415,
            "The body is JSON, but its content type is that of a form: send Content-Type: "
            "application/json.",
        )
    try:
        unquote_to_bytes(body).decode()
    except UnicodeDecodeError:
        abort(400, "The body is not UTF-8 text: send the fields as UTF-8.")
    if start.startswith(b"--"):
        abort(
            415,
            "The body is multipart/form-data, but its content type is that of a URL-encoded form: "
            "leave the Content-Type to your client.",
        )


def _checked(request: Request, schema: Schema) -> dict[str, Any]:
    if None in request.form or None in request.files:  # Werkzeug's name of a part without one
        abort(400, f"A part of the body has no name: send the fields as {ACCEPTED}.")
    is_repeatable = getattr(schema, "repeatable", False)
    problems = {
        name: ["was sent more than once: send it once."]
        for name, values in request.form.lists()
        if len(values) > 1
        and name not in REPEATABLE
        and not (is_repeatable and name not in schema.fields)
    }
    # Werkzeug puts U+FFFD in place of a byte of form-data that is not UTF-8.
    problems |= {
        name: ["is not UTF-8 text: send UTF-8."]
        for name, value in request.form.items(multi=True)
        if "\ufffd" in name or "\ufffd" in value
    }
    problems |= {name: ["was sent as a file: send it as text."] for name in request.files}
    if "dataset" in request.files:
        problems["dataset"] = [
            "was sent as a file: upload it with PUT /inputs/NAME, and send its NAME as text."
        ]
    if problems:
        raise ValidationError(dict(problems))
    return {name: values if len(values) > 1 else values[0] for name, values in request.form.lists()}
