"""The value of an experiment in a column, by the column's name. Pure functions."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from backend.domain.conditions import full_name, metric_of, parameter_of
from backend.domain.execution.usage import PEAKS
from backend.domain.experiment import Experiment
from backend.domain.metric_summary import MetricSummary
from backend.domain.numbers import is_number
from backend.web.languages.current import gettext, marked, translated
from backend.web.views.presentation import duration, label_of, number, size

Summaries = Mapping[str, MetricSummary]

_LABELS = {
    "by": marked("By"),
    "created_at": marked("Submitted"),
    "dataset": marked("Data set"),
    "duration": marked("Duration"),
    "epoch": marked("Epochs"),
    "model": marked("Model"),
    "peak_cpu": marked("Peak CPU cores"),
    "peak_gpu": marked("Peak GPUs"),
    "peak_gpu_memory": marked("Peak GPU memory"),
    "peak_memory": marked("Peak memory"),
    "progress": marked("Epochs"),
    "size": marked("Size"),
    "sweep": marked("Sweep"),
    "tags": marked("Tags"),
}
_FIGURES = {
    "last": marked("Last {metric}"),
    "min": marked("Min {metric}"),
    "max": marked("Max {metric}"),
}


def column_label(name: str) -> str:
    """Return the header of a column."""
    metric = metric_of(name)
    if metric:
        return gettext(_FIGURES[metric[1]]).format(metric=metric[0])
    return gettext(_LABELS[name]) if name in _LABELS else label_of(parameter_of(name) or name)


def value_of(experiment: Experiment, summaries: Summaries, column: str) -> Any:
    """Return a number, a text or None: what an experiment has in a column.

    `duration` is the number of seconds of the current attempt, up to now if it goes on.
    """
    metric = metric_of(column)
    if metric:
        found = summaries.get(metric[0])
        return getattr(found, metric[1]) if found else None
    match column:
        case "by":
            return experiment.submitted_by
        case "sweep":
            return experiment.sweep_id
        case "tags":
            return ", ".join(experiment.tag_names)
        case "dataset":
            return experiment.dataset or translated("every file")
        case "model" | "size" | "peak_cpu" | "peak_memory" | "peak_gpu" | "peak_gpu_memory":
            return getattr(experiment, column)
        case "duration":
            if experiment.started_at is None:
                return None
            end = experiment.finished_at or datetime.now(UTC)
            return max(0.0, (end - experiment.started_at).total_seconds())
        case _:
            name = full_name(column)
            return experiment.parameters.readable_values.get(parameter_of(name) or name)


def value_text(column: str, value: Any) -> str:
    """Return a value as the dashboard shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if column == "duration" and is_number(value):
        return duration(value)
    if column in ("peak_memory", "peak_gpu_memory") and is_number(value):
        return size(int(value))
    return number(value)


def peak_texts(experiment: Experiment) -> list[tuple[str, str]]:
    """Return the label and the text of each peak of an experiment that is known."""
    peaks = zip(PEAKS, experiment.peaks, strict=True)
    return [
        (column_label(name), value_text(name, value)) for name, value in peaks if value is not None
    ]
