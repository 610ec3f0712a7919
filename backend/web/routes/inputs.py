"""The data sets in the input folder, which all experiments share."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import orjson
from apiflask import APIBlueprint
from flask import Response, abort, current_app, request
from werkzeug.exceptions import ClientDisconnected

from backend.domain.data_sets.exceptions import NoImages
from backend.domain.exceptions import InputTooLarge, UnknownFile
from backend.web.access import actor
from backend.web.current import services
from backend.web.forms import FORMS, refuse_encoded
from backend.web.proxies import address
from backend.web.routes.downloads import PIECE_BYTES, send
from backend.web.schemas.inputs import (
    DeleteInputIn,
    InputIn,
    InputOut,
    PreviewOut,
    input_out,
    preview_out,
)

blueprint = APIBlueprint("inputs", __name__, tag="Inputs")


@blueprint.get("/inputs")
@blueprint.output(InputOut(many=True), description="The data sets")
@blueprint.doc(summary="List the data sets")
def list_inputs() -> Response:
    """List the data sets in the input folder, sorted by name, 10,000 at most.

    No file is read for it: a file that others have put into the folder is read by the reconciler
    within seconds.
    """
    content = [input_out(found) for found in services.data_sets.list_all()]
    return Response(orjson.dumps(content), content_type="application/json")


@blueprint.get("/inputs/<name>")
@blueprint.doc(
    summary="Download a data set",
    responses={
        200: "The file",
        206: "The requested part of the file (Range)",
        304: "The file is unchanged (If-None-Match, If-Modified-Since)",
        404: "There is no such data set",
        416: "The file is shorter than the requested part (Range)",
    },
)
def download_input(name: str) -> Response:
    """Download a data set, or the part of it that `Range` asks for."""
    file = services.inputs.open(name)
    if file is None:
        raise UnknownFile(name)
    return send(file, name)


@blueprint.get("/inputs/<name>/preview")
@blueprint.output(PreviewOut)
@blueprint.doc(summary="Preview a data set", responses=[404])
def preview_input(name: str) -> Response:
    """Show a data set with its first rows, and each column's type, extremes and missing cells."""
    content = preview_out(services.data_sets.preview(name))
    return Response(orjson.dumps(content), content_type="application/json")


@blueprint.get("/inputs/<name>/preview.png")
@blueprint.doc(
    summary="Draw a data set",
    responses={200: "The first images", 404: "There is no such data set, or it holds no images"},
)
def draw_input(name: str) -> Response:
    """Draw the first images of a data set side by side, as PNG."""
    sheet = services.data_sets.contact_sheet(name)
    if sheet is None:
        raise NoImages(name)
    response = Response(sheet, content_type="image/png")
    response.headers["Cache-Control"] = "no-cache"
    return response


@blueprint.put("/inputs/<name>")
@blueprint.input(InputIn, location="query")
@blueprint.output(InputOut, status_code=201, description="The data set was created")
@blueprint.doc(
    summary="Upload a data set",
    responses={
        200: "The existing data set was replaced",
        400: "The body is a part of a file (Content-Range), or ends too early",
        409: "The data set exists; send If-Match or ?overwrite=true to replace it",
        412: "The data set is not the version that If-Match names",
        413: "The data set is larger than INPUT_MAX_BYTES",
        415: "The body is a form or compressed, and not the file itself",
        422: "The name is not allowed, or no model can read the file (`line`, `column`)",
        503: "The input folder cannot be written, or another upload does not end",
        507: "The input folder is full",
    },
)
def upload_input(name: str, query_data: dict[str, Any]) -> Response:
    """Write the body to the input folder. Readers see the old file or the new one, never a mix.

    A file that no model can read is refused, unless `validate=false`. Of a file of more than 128
    MiB, the header and the first lines are judged.
    """
    _check_is_file()
    limit = current_app.config["INPUT_MAX_BYTES"]
    if (request.content_length or 0) > limit:
        raise InputTooLarge(limit)
    request.max_content_length = limit + PIECE_BYTES  # above ours, whose message says more
    found, new = services.data_sets.write(
        name,
        _body(),
        max_bytes=limit,
        overwrite=query_data["overwrite"],
        versions=request.if_match or None,
        validate=query_data["validate_"],
        by=actor(),
    )
    response = Response(orjson.dumps(input_out(found)), content_type="application/json")
    response.status_code = 201 if new else 200
    response.set_etag(found.entry.version)
    response.headers["Location"] = address(f"/inputs/{quote(found.entry.path, safe='')}")
    return response


@blueprint.delete("/inputs/<name>")
@blueprint.input(DeleteInputIn, location="query")
@blueprint.output({}, status_code=204, description="The data set was deleted")
@blueprint.doc(
    summary="Delete a data set",
    responses={
        404: "There is no such data set",
        409: "Live experiments use it (`experiments` names them); send ?force=true",
        503: "The input folder cannot be written, or the database is unavailable",
    },
)
def delete_input(name: str, query_data: dict[str, Any]) -> tuple[str, int]:
    """Delete a data set. An experiment that uses it fails at its next attempt."""
    services.data_sets.delete(name, force=query_data["force"], by=actor())
    return "", 204


def _check_is_file() -> None:
    """Refuse a body that is not the file as it is.

    Raises:
        HTTPException: 415 for a form or a compressed body; 400 for a part of a file, which RFC
            9110 (14.5) forbids to store as the whole.
    """
    if request.mimetype in FORMS:
        abort(
            415,
            f"The body must be the file itself, not {request.mimetype}: send it with curl -T FILE, "
            "or as a binary body in Postman.",
        )
    refuse_encoded(request)
    if "Content-Range" in request.headers:
        abort(400, "A part of a file cannot be stored: send the whole file, without Content-Range.")


def _body() -> Iterator[bytes]:
    """Yield the body in pieces of at most PIECE_BYTES.

    Raises:
        ClientDisconnected: the body is shorter than its Content-Length, which gunicorn accepts.
    """
    size = 0
    while piece := request.stream.read(PIECE_BYTES):
        size += len(piece)
        yield piece
    if size < (request.content_length or 0):
        raise ClientDisconnected
