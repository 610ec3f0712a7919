"""Requests and responses of the data sets."""

from typing import Any

from apiflask import Schema
from apiflask.fields import (
    Boolean,
    DateTime,
    Integer,
    String,
)
from marshmallow import RAISE

from backend.domain.timestamps import to_text
from backend.files.untrusted import Entry


class InputIn(Schema):
    """How to put a data set in place."""

    class Meta:
        """A parameter that is not known is named in the answer, not passed over."""

        unknown = RAISE

    error_messages = {"unknown": "is not known: there is overwrite."}  # noqa: RUF012  (as above)

    overwrite = Boolean(
        load_default=False,
        metadata={"description": "Replace a data set of that name, whatever it holds."},
    )


class InputOut(Schema):
    """A data set."""

    name = String(metadata={"example": "digits.npz"})
    size = Integer(metadata={"description": "Bytes.", "example": 97_000})
    modified = DateTime()
    etag = String(metadata={"description": "For If-Match.", "example": '"1a-2b-3c"'})


def input_out(entry: Entry) -> dict[str, Any]:
    """Give a data set as JSON has it."""
    return {
        "name": entry.path,
        "size": entry.size,
        "modified": to_text(entry.modified),
        "etag": f'"{entry.version}"',
    }
