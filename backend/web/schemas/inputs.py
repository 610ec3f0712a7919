"""Requests and responses about data sets."""

from typing import Any

from apiflask import Schema
from apiflask.fields import Boolean, DateTime, Integer, String

from backend.domain.timestamps import to_text
from backend.files.untrusted import Entry
from backend.web.schemas.strict import StrictSchema


class InputIn(StrictSchema):
    """How to upload a data set."""

    overwrite = Boolean(
        load_default=False,
        metadata={"description": "Replace an existing data set of this name."},
    )


class InputDeleteIn(StrictSchema):
    """Which data sets may be deleted."""

    force = Boolean(
        load_default=False,
        metadata={"description": "Delete it although live experiments use it."},
    )


class InputOut(Schema):
    """A data set."""

    name = String(metadata={"example": "digits.npz"})
    size = Integer(metadata={"description": "Bytes.", "example": 97_000})
    modified = DateTime()
    etag = String(metadata={"description": "For If-Match.", "example": '"1a-2b-3c"'})


def input_out(entry: Entry) -> dict[str, Any]:
    """Return a data set with the members of InputOut."""
    return {
        "name": entry.path,
        "size": entry.size,
        "modified": to_text(entry.modified),
        "etag": f'"{entry.version}"',
    }
