"""Requests for lists of experiments."""

from datetime import UTC, datetime
from typing import Any

from apiflask.fields import AwareDateTime, Boolean, String
from apiflask.validators import Length, OneOf, Range
from marshmallow import ValidationError, validates_schema

from backend.domain.identifiers import MAX_ID_CHARACTERS
from backend.domain.selection import SORTS
from backend.domain.timestamps import TIMES
from backend.web.schemas.columns import FORMATS, ColumnNames
from backend.web.schemas.fields import (
    FOREIGN_CURSOR,
    After,
    Sort,
    Statuses,
    Tags,
    Text,
    Where,
    WholeNumber,
)
from backend.web.schemas.strict import StrictSchema

MAX_PAGE = 1000  # experiments
MAX_CONDITIONS = 20


class RepeatedTags(Tags):
    """Tags, sent as repeated parameters, separated by commas, or both. Duplicates are dropped."""

    def _deserialize(self, value: Any, *args: Any, **options: Any) -> Any:
        return list(dict.fromkeys(super()._deserialize(",".join(value), *args, **options)))


class ListIn(StrictSchema):
    """Which experiments to list, and in which order."""

    @validates_schema
    def check_cursor(self, data: dict[str, Any], **_options: Any) -> None:
        """Refuse the cursor of a list that is sorted by something else."""
        after = data.get("after")
        if after and isinstance(after.value, datetime) is not (data["sort"] in SORTS):
            raise ValidationError(FOREIGN_CURSOR, "after")

    status = Statuses(
        load_default=[],
        metadata={
            "description": "Only experiments with one of these; separated by commas, or repeated."
        },
    )
    model = Text(
        metadata={
            "description": "Only experiments of this model. One page searches 20,000 experiments, "
            "as with `q`."
        }
    )
    dataset = Text(
        validate=Length(min=1, max=MAX_ID_CHARACTERS + 55),
        metadata={
            "description": "Only experiments that use the data set of this name, or with this "
            "SHA-256 digest, be it chosen or one of every file.",
            "example": "digits.npz",
        },
    )
    q = Text(
        validate=Length(min=1, max=MAX_ID_CHARACTERS),
        metadata={
            "description": "Only experiments whose id contains this text, ignoring case and "
            "accents. One page searches 20,000 experiments: it may be short, or empty, and still "
            "have a Link to the next one."
        },
    )
    tag = RepeatedTags(
        load_default=[],
        validate=Length(max=MAX_CONDITIONS),
        metadata={
            "description": "Only experiments with this tag; repeat it for those with all of them.",
            "example": ["baseline"],
        },
    )
    favourite = Boolean(
        error_messages={"invalid": "must be true or false."},
        metadata={"description": "Only favourites, or only others."},
    )
    created_after = AwareDateTime(
        format="iso",
        default_timezone=UTC,
        validate=Range(*TIMES),
        error_messages={"invalid": "must be a time such as 2024-02-29T12:00:00Z (%2B for a +)."},
        metadata={"description": "Only experiments created after this time (UTC by default)."},
    )
    pruned = Boolean(
        metadata={
            "description": "Only trials that their sweep has stopped early (true), or all other "
            "experiments (false)."
        }
    )
    where = Where(
        load_default=[],
        validate=Length(max=MAX_CONDITIONS),
        metadata={
            "description": "Only experiments for which this comparison holds, such as "
            "`learning_rate<0.01`, `dataset=digits.npz`, `batch_size>=64` (any parameter of a "
            "model) or `metrics.val_loss.min<=0.1`; repeat it, or join several by ` and `. "
            "One page searches 20,000 experiments, as with `q`.",
            "items": {"type": "string"},
        },
    )
    sort = Sort(
        load_default=SORTS[0],
        metadata={
            "description": "The order: a time, a parameter such as `learning_rate` or "
            "`batch_size`, or a metric such as `metrics.val_loss.min`. Experiments without that "
            "parameter or metric are left out. A leading `-` means latest or largest first."
        },
    )
    limit = WholeNumber(
        load_default=100,
        validate=Range(min=1, max=MAX_PAGE),
        metadata={"description": "The largest number of experiments to return."},
    )
    after = After(
        metadata={
            "type": "string",
            "description": "The end of the previous page, from its Link header.",
        }
    )
    format = String(
        validate=OneOf(list(FORMATS), error="must be one of {choices}."),
        metadata={
            "description": "The format; by default what the Accept header names, or else JSON. "
            "CSV and NDJSON hold all pages, or `limit` experiments if that is given."
        },
    )
    fields_ = ColumnNames(
        data_key="fields",
        load_default=[],
        metadata={
            "description": "Only these members of each experiment, separated by commas, or "
            "repeated: also `reason`, `message`, `remedy` and figures such as "
            "`metrics.val_loss.min`.",
            "example": ["experiment_id", "status"],
        },
    )
