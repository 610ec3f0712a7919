"""The members of an experiment in a list, which a client may choose from."""

import re
from collections.abc import Sequence
from typing import Any

import orjson
from marshmallow import ValidationError

from backend.domain.metric_summary import FIGURES, MetricSummary
from backend.domain.parameter import shown_value
from backend.domain.selection import ListedExperiment
from backend.web.schemas.experiments import ListedExperimentOut, listed_out
from backend.web.schemas.fields import Texts

JSON, CSV, NDJSON = "json", "csv", "ndjson"
FORMATS = {JSON: "application/json", CSV: "text/csv", NDJSON: "application/x-ndjson"}
MAX_COLUMNS = 200
MAX_METRICS = 50  # that have columns by default
DIAGNOSIS = ("reason", "message", "remedy")
_MEMBERS = tuple(ListedExperimentOut().fields)
_METRIC = re.compile(rf"metrics\.(.+)\.({'|'.join(MetricSummary._fields)})", re.DOTALL)


class ColumnNames(Texts):
    """Names of columns, sent as Texts are."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> list[str | None]:
        names = super()._deserialize(value)
        if len(names) > MAX_COLUMNS:
            raise ValidationError(f"must be at most {MAX_COLUMNS} names.")
        for name in names:
            if name not in (*_MEMBERS, *DIAGNOSIS) and not _METRIC.fullmatch(str(name)):
                raise ValidationError(
                    f"has an unknown name, {shown_value(name)}: send some of "
                    f"{', '.join((*_MEMBERS, *DIAGNOSIS))} or metrics.NAME.min."
                )
        return names


def default_columns(experiments: Sequence[ListedExperiment]) -> list[str]:
    """Return the columns of a table that begins with these experiments.

    Each metric of theirs, up to MAX_METRICS, has a column for each of FIGURES.
    """
    metrics = (name for each in experiments for name in orjson.loads(each.metrics or "{}"))
    names = list(dict.fromkeys(metrics))[:MAX_METRICS]
    left_out = {"diagnosis", "metrics"}
    if not any(each.nodes for each in experiments):  # as in tables of older versions
        left_out.add("nodes")
    members = [name for name in _MEMBERS if name not in left_out]
    figures = [f"metrics.{name}.{figure}" for name in names for figure in FIGURES]
    return [*members, *DIAGNOSIS, *figures]


def choose(experiment: ListedExperiment, columns: Sequence[str]) -> dict[str, Any]:
    """Return these columns of an experiment, for orjson; None where it has no value."""
    members = listed_out(experiment)
    members |= {name: getattr(experiment, name) for name in DIAGNOSIS}
    summaries = None
    chosen = {}
    for column in columns:
        named = None if column in members else _METRIC.fullmatch(column)
        if named:
            if summaries is None:
                summaries = orjson.loads(experiment.metrics or "{}")
            chosen[column] = summaries.get(named[1], {}).get(named[2])
        else:
            chosen[column] = members.get(column)
    return chosen
