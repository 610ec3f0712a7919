"""Inputs: the data sets that all runs share."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import orjson
from apiflask import APIBlueprint
from flask import Response, current_app, request
from marshmallow import RAISE
from werkzeug.exceptions import ClientDisconnected

from backend.domain.exceptions import InputTooLarge, UnknownFile
from backend.web.current import services
from backend.web.routes.downloads import send
from backend.web.schemas.inputs import InputIn, InputOut, input_out

PIECE_BYTES = 256 * 1024

blueprint = APIBlueprint("inputs", __name__, tag="Inputs")


@blueprint.get("/inputs")
@blueprint.output(InputOut(many=True), description="The data sets")
@blueprint.doc(summary="List the data sets")
def list_inputs() -> Response:
    """List the data sets in the input folder, sorted by name, at most 10,000."""
    content = [input_out(entry) for entry in services.inputs.list_entries()]
    return Response(orjson.dumps(content), content_type="application/json")


@blueprint.get("/inputs/<name>")
@blueprint.doc(
    summary="Download a data set",
    responses={
        200: "The file",
        206: "A part of it (Range)",
        304: "It is as it was (If-None-Match, If-Modified-Since)",
        404: "There is no such data set",
        416: "It is shorter than that (Range)",
    },
)
def download_input(name: str) -> Response:
    """Download a data set."""
    file = services.inputs.open(name)
    if file is None:
        raise UnknownFile(name)
    return send(file, name)


@blueprint.put("/inputs/<name>")
@blueprint.input(InputIn, location="query", unknown=RAISE)
@blueprint.output(InputOut, status_code=201, description="It is there")
@blueprint.doc(
    summary="Upload a data set",
    responses={
        200: "It has replaced the one that was there",
        409: "There is one of that name; send If-Match or ?overwrite=true",
        412: "There is another one than If-Match says",
        413: "It is larger than INPUT_MAX_BYTES",
        503: "The input folder cannot be written",
        507: "The input folder is full",
    },
)
def upload_input(name: str, query_data: dict[str, Any]) -> Response:
    """Put the body into the input folder, in one step: a run reads the old file or the new one."""
    limit = current_app.config["INPUT_MAX_BYTES"]
    if (request.content_length or 0) > limit:
        raise InputTooLarge(limit)
    request.max_content_length = limit + PIECE_BYTES  # the file's own limit comes first
    entry, new = services.inputs.write(
        name,
        _body(),
        max_bytes=limit,
        overwrite=query_data["overwrite"],
        versions=request.if_match or None,
    )
    response = Response(orjson.dumps(input_out(entry)), content_type="application/json")
    response.status_code = 201 if new else 200
    response.set_etag(entry.version)
    response.headers["Location"] = f"/inputs/{quote(name, safe='')}"
    return response


def _body() -> Iterator[bytes]:
    """Give the body in pieces.

    Raises:
        ClientDisconnected: it is shorter than it was said to be, which gunicorn lets pass.
    """
    size = 0
    while piece := request.stream.read(PIECE_BYTES):
        size += len(piece)
        yield piece
    if size < (request.content_length or 0):
        raise ClientDisconnected
