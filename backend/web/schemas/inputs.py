"""Requests and responses about data sets."""

from typing import Any
from urllib.parse import quote

from apiflask import Schema
from apiflask.fields import Boolean, DateTime, Float, Integer, List, Nested, String

from backend.domain.data_sets.content import Content
from backend.domain.timestamps import to_text
from backend.experiments.data_sets.service import DataSet, Preview
from backend.files.data_sets.contact_sheet import has_images
from backend.web.languages.current import translated
from backend.web.proxies import address
from backend.web.schemas.strict import StrictSchema


class InputIn(StrictSchema):
    """How to upload a data set."""

    overwrite = Boolean(
        load_default=False,
        metadata={"description": "Replace an existing data set of this name."},
    )
    validate_ = Boolean(
        data_key="validate",
        load_default=True,
        metadata={"description": "Refuse a file that no model can read."},
    )


class DeleteInputIn(StrictSchema):
    """How to delete a data set."""

    force = Boolean(
        load_default=False,
        metadata={"description": "Delete it although live experiments use it."},
    )


class FaultOut(Schema):
    """Why no model can read a file."""

    message = String(
        metadata={"example": "could not convert string 'x' to a number: line 3, column b"}
    )
    line = Integer(allow_none=True, metadata={"example": 3})
    column = String(allow_none=True, metadata={"example": "b"})


class InputOut(Schema):
    """A data set. What is known only after its file was read is null until then."""

    name = String(metadata={"example": "digits.npz"})
    size = Integer(metadata={"description": "Bytes.", "example": 97_000})
    modified = DateTime()
    etag = String(metadata={"description": "For If-Match.", "example": '"1a-2b-3c"'})
    sha256 = String(allow_none=True)
    examined = Boolean(metadata={"description": "Whether its whole file was read."})
    rows = Integer(allow_none=True, metadata={"example": 1797})
    columns = Integer(
        allow_none=True,
        metadata={"description": "Of a table, with those of labels.", "example": None},
    )
    shape = List(
        Integer(),
        allow_none=True,
        metadata={"description": "The samples' lengths along each axis.", "example": [1797, 8, 8]},
    )
    dtype = String(
        allow_none=True,
        metadata={"description": "Of arrays; null for .csv.", "example": "uint8"},
    )
    fault = Nested(FaultOut, allow_none=True)
    uploaded_at = DateTime(allow_none=True)
    by = String(
        allow_none=True,
        metadata={"description": "The name of the token it was uploaded with, if any."},
    )
    used_by = List(
        String(),
        allow_none=True,
        metadata={"description": "The newest experiments that use a file of this name."},
    )
    used_by_count = Integer(
        allow_none=True, metadata={"description": "The number of those experiments."}
    )


class ColumnOut(Schema):
    """A column of a table."""

    name = String()
    type = String(metadata={"description": "`number` or `text`.", "example": "number"})
    minimum = Float(allow_none=True)
    maximum = Float(allow_none=True)
    missing = Integer(allow_none=True, metadata={"description": "Cells that are empty or NaN."})


class ArrayOut(Schema):
    """An array of samples."""

    name = String(metadata={"example": "x"})
    shape = List(Integer())
    dtype = String()


class PreviewOut(InputOut):
    """A data set and the beginning of its content."""

    header = Boolean(metadata={"description": "Whether the first line names the columns."})
    minimum = Float(allow_none=True, metadata={"description": "Of all numbers of arrays."})
    maximum = Float(allow_none=True)
    column_details = List(Nested(ColumnOut), metadata={"description": "The first ones."})
    arrays = List(Nested(ArrayOut), metadata={"description": "Those that hold samples."})
    first_rows = List(List(String()), metadata={"description": "The first cells of a table."})
    images = String(
        allow_none=True,
        metadata={
            "description": "Where the first images are, as PNG.",
            "example": "/inputs/digits.npz/preview.png",
        },
    )


def input_out(found: DataSet) -> dict[str, Any]:
    """Return a data set with the members of InputOut."""
    entry, facts = found.entry, found.facts
    content = facts.content if facts else None
    shape = content.shape if content else ()
    fault = content.fault if content else None
    return {
        "name": entry.path,
        "size": entry.size,
        "modified": to_text(entry.modified),
        "etag": f'"{entry.version}"',
        "sha256": facts.sha256 if facts else None,
        "examined": content is not None,
        "rows": shape[0] if shape else None,
        "columns": shape[1] if len(shape) == 2 else None,
        "shape": list(shape) or None,
        "dtype": content.dtype if content else None,
        "fault": {**vars(fault), "message": translated(fault.message)} if fault else None,
        "uploaded_at": to_text(facts.uploaded_at) if facts and facts.uploaded_at else None,
        "by": facts.uploaded_by if facts else None,
        "used_by": list(found.usage.newest) if found.usage else None,
        "used_by_count": found.usage.total if found.usage else None,
    }


def preview_out(preview: Preview) -> dict[str, Any]:
    """Return a data set with the members of PreviewOut."""
    facts = preview.data_set.facts
    content = facts.content if facts and facts.content else Content()
    is_drawn = content.dtype is not None and has_images(content.shape)
    path = address(f"/inputs/{quote(preview.data_set.entry.path, safe='')}/preview.png")
    return input_out(preview.data_set) | {
        "header": content.header,
        "minimum": content.minimum,
        "maximum": content.maximum,
        "column_details": [dict(vars(column)) for column in content.columns],
        "arrays": [vars(array) | {"shape": list(array.shape)} for array in content.arrays],
        "first_rows": [list(row) for row in preview.rows],
        "images": path if is_drawn else None,
    }
