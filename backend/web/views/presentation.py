"""How the dashboard shows an experiment: progress, time left, a small curve. Pure functions."""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from backend.domain.attempt import environment_text
from backend.domain.catalogue import AUTOENCODER, Entry, Goal
from backend.domain.data_sets.pins import chosen_names
from backend.domain.experiment import Experiment, Parameters, Transition
from backend.domain.metric_summary import MetricSummary
from backend.domain.numbers import MAX_MAGNITUDE, MAX_SECONDS, is_number
from backend.domain.objective import (
    NO_GOALS,
    Curve,
    CurveWarning,
    Extreme,
    Goals,
    best,
    goal_of,
    objective_of,
    warnings,
)
from backend.domain.parameter import Parameter
from backend.domain.status import LIVE, REQUEUED, Status
from backend.web.languages.current import gettext, marked, translated

SPARK_WIDTH, SPARK_HEIGHT = 120, 28
RECENT_EPOCHS = 50  # whose mean duration is taken for that of the next ones
SPARK_MARGIN = 2  # or half of the line's width would be cut off at the edges
_DAYS, _HOURS = marked("{number} d"), marked("{number} h")
_MINUTES, _SECONDS = marked("{number} min"), marked("{number} s")
_UNITS = ((86400, _DAYS, 3600, _HOURS), (3600, _HOURS, 60, _MINUTES), (60, _MINUTES, 1, _SECONDS))


@dataclass(frozen=True)
class Summary:
    """An experiment and its progress.

    Attributes:
        epochs_done: the number of completed epochs.
        percent: of the epochs to train, 0 to 100.
        time_left: an estimate in words; None if unknown.
        loss: the last loss on the training data, `val_loss` on the validation data; None if
            unknown.
        spark: the loss by epoch as `points` of an SVG polyline; empty for fewer than two points.
        warnings: why the experiment may be worthless although it has not failed.
    """

    experiment: Experiment
    epochs_done: int
    percent: float
    time_left: str | None
    loss: float | None
    val_loss: float | None
    spark: str
    warnings: Sequence[CurveWarning] = ()

    @property
    def is_live(self) -> bool:
        """Whether the experiment has not ended."""
        return self.experiment.status in LIVE


def summary(
    experiment: Experiment,
    curve: Curve,
    recent: Curve | None = None,
    last_row: Mapping[str, Any] | None = None,
    goals: Goals = NO_GOALS,
) -> Summary:
    """Return the summary of an experiment.

    Args:
        experiment: which experiment.
        curve: a few dozen points of its curve are enough.
        recent: the last RECENT_EPOCHS epochs without a gap, by default `curve`.
        last_row: the metrics of the last epoch; without them, there are no warnings.
        goals: the objective of its model.
    """
    epochs, metrics = curve.epochs, curve.series
    done = min(int(epochs[-1]), experiment.epoch) if epochs else 0
    loss = metrics.get("loss", [])
    is_live = experiment.status in LIVE
    return Summary(
        experiment,
        epochs_done=done,
        percent=round(100 * done / experiment.epoch, 1),
        time_left=time_left(experiment, done, (recent or curve).series.get("seconds", [])),
        loss=last_number(loss),
        val_loss=last_number(metrics.get("val_loss", [])),
        spark=sparkline(epochs, loss),
        warnings=warnings(curve, last_row, is_live=is_live, goals=goals)
        if last_row is not None
        else (),
    )


class Figures(NamedTuple):
    """What the list shows of one metric; None if unknown."""

    last: float | None = None
    best: float | None = None
    best_epoch: float | None = None


def figures(metric: str, summaries: Mapping[str, MetricSummary], goals: Goals) -> Figures:
    """Return the figures of a metric from the summaries of all metrics, by name."""
    found = summaries.get(metric)
    if found is None:
        return Figures()
    if best_figure(metric, goals) == "max":
        return Figures(found.last, found.max, found.max_epoch)
    return Figures(found.last, found.min, found.min_epoch)


def best_figure(metric: str, goals: Goals) -> str:
    """Return which figure of a metric is its best: `max` if high is good, otherwise `min`."""
    return "max" if goal_of(metric, goals) is Goal.MAXIMIZE else "min"


def time_left(experiment: Experiment, done: int, seconds: Sequence[Any]) -> str | None:
    """Return how long a running experiment will still take; None if it is not running.

    It is None, too, if no epoch's duration is known.

    Args:
        experiment: which experiment.
        done: the number of completed epochs.
        seconds: the duration of each of the last epochs. A sample that prefers extremes would be
            wrong: its mean is not that of the epochs to come.
    """
    known = [value for value in seconds if is_number(value, 0, MAX_SECONDS)]
    if experiment.status is not Status.RUNNING or not known or done == experiment.epoch:
        return None
    if done == len(seconds) and len(known) > 2:
        known = known[1:]  # the first epoch warms up
    return duration((experiment.epoch - done) * sum(known) / len(known))


def sparkline(xs: Sequence[Any], ys: Sequence[Any]) -> str:
    """Return the `points` of an SVG polyline, SPARK_WIDTH by SPARK_HEIGHT units.

    Pairs that are not both numbers are left out; the result is empty if fewer than two remain. The
    vertical axis is logarithmic if every value is positive, because a loss falls by factors.
    """
    points = [
        (float(x), float(y))
        for x, y in zip(xs, ys, strict=False)
        if is_number(x) and is_number(y, -MAX_MAGNITUDE, MAX_MAGNITUDE)
    ]
    if len(points) < 2:
        return ""
    if all(y > 0 for _, y in points):
        points = [(x, math.log(y)) for x, y in points]
    left, right = points[0][0], points[-1][0]
    low, high = min(y for _, y in points), max(y for _, y in points)
    width, height = SPARK_WIDTH - 2 * SPARK_MARGIN, SPARK_HEIGHT - 2 * SPARK_MARGIN
    return " ".join(
        f"{SPARK_MARGIN + width * (x - left) / ((right - left) or 1):.1f},"
        f"{SPARK_MARGIN + height * (high - y) / ((high - low) or 1):.1f}"
        for x, y in points
    )


def last_number(values: Sequence[Any]) -> float | None:
    """Return the last finite number among the values, or None."""
    return next((float(value) for value in reversed(values) if is_number(value)), None)


def number(value: Any) -> str:
    """Return a number as text with four significant digits, and anything else as it is."""
    if not is_number(value):
        return "" if value is None else str(value)
    if isinstance(value, int) or 1e4 <= abs(value) < 1e6:
        return f"{round(value):,}"
    return re.sub(r"e([+-])0+", r"e\1", f"{value:.4g}")


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: 45 s, 2 min 5 s, 3 h 20 min, 2 d 4 h."""
    whole = max(0, round(min(seconds, MAX_SECONDS)))
    for size, name, small_size, small_name in _UNITS:
        if whole >= size:
            count, rest = divmod(whole, size)
            small = rest // small_size
            large = gettext(name).format(number=count)
            return f"{large} {gettext(small_name).format(number=small)}" if small else large
    return gettext(_SECONDS).format(number=whole)


def training_time(experiment: Experiment, history: Sequence[Transition] = ()) -> str | None:
    """Return how long the current attempt has been training; None if it has not started.

    With the changes of its status, that is without the times in which its queue held it back.
    """
    if experiment.started_at is None:
        return None
    end = experiment.finished_at or datetime.now(UTC)
    seconds = (end - experiment.started_at).total_seconds()
    return duration(seconds - _suspended_seconds(experiment, history, end))


def waiting_time(experiment: Experiment, history: Sequence[Transition]) -> str | None:
    """Return how long the current attempt has been, or was, waiting; None if that is not known.

    Args:
        experiment: which experiment.
        history: the changes of its status.
    """
    begin = next((step.at for step in history if step.attempt == experiment.attempt), None)
    if begin is None:
        return None
    end = experiment.finished_at or datetime.now(UTC)
    seconds = ((experiment.started_at or end) - begin).total_seconds()
    return duration(seconds + _suspended_seconds(experiment, history, end))


def _suspended_seconds(
    experiment: Experiment, history: Sequence[Transition], end: datetime
) -> float:
    """Return how long a queue has held the current attempt back after it had begun to train."""
    steps = [step for step in history if step.attempt == experiment.attempt]
    ends = [*(step.at for step in steps[1:]), end]
    return sum(
        (after - step.at).total_seconds()
        for step, after in zip(steps, ends, strict=False)
        if (step.from_status, step.to_status) == REQUEUED
    )


def size(size_bytes: int) -> str:
    """Return a number of bytes in decimal units, as file managers do: 512 B, 1.5 kB, 23 MB."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}" if unit != "B" else f"{size_bytes} B"
        value /= 1000
    return f"{value:.3g} TB"


def curl(parameters: Parameters, experiment_id: str, url: str, *, needs_token: bool = False) -> str:
    """Return the shell command that submits an experiment to `url`, quoted.

    With `needs_token`, it sends the token of the environment variable TOKEN.
    """
    fields = {name: environment_text(value) for name, value in parameters.values.items()}
    fields["experiment_id"] = experiment_id
    if parameters.model != AUTOENCODER:
        fields["model"] = parameters.model
    fields |= {"size": parameters.size} if parameters.size else {}
    fields |= {"priority": parameters.priority} if parameters.priority else {}
    # With -F instead of --form-string, curl would read a value that begins with @ or < as a file.
    sent = [*fields.items(), *(("dataset", name) for name in chosen_names(parameters.dataset))]
    forms = [f"--form-string {shlex.quote(f'{name}={value}')}" for name, value in sent]
    token = ['-H "Authorization: Bearer $TOKEN"'] if needs_token else []
    return " \\\n  ".join(["curl", *token, *forms, shlex.quote(url)])


@dataclass(frozen=True)
class FormField:
    """A parameter as a field of the form for a new experiment.

    Attributes:
        kind: `select`, `text`, `decimal` or `numeric`; the last two are keyboards of telephones.
        choices: of a select.
    """

    name: str
    label: str
    hint: str
    kind: str
    value: str
    choices: tuple[str, ...] = ()


def form_fields(entry: Entry, values: Mapping[str, Any]) -> list[FormField]:
    """Return the fields of a model's parameters, filled in with `values` as far as it has them."""
    return [_form_field(one, values) for one in entry.parameters.values()]


def _form_field(parameter: Parameter, values: Mapping[str, Any]) -> FormField:
    default = parameter.default if parameter.example is None else parameter.example
    value = values.get(parameter.name, default)
    choices = parameter.enum or ((True, False) if parameter.type == "boolean" else ())
    kinds = {"integer": "numeric", "number": "decimal", "string": "text"}
    allowed = translated(parameter.allowed)
    allowed = allowed[0].upper() + allowed[1:]
    unit = parameter.unit and gettext("In {unit}").format(unit=translated(parameter.unit))
    parts = [translated(parameter.description), unit]
    parts += [] if choices or parameter.type == "string" else [allowed]
    return FormField(
        name=parameter.name,
        label=label_of(parameter.name),
        hint=" ".join(f"{part.rstrip('.')}." for part in parts if part),
        kind="select" if choices else kinds[parameter.type],
        value="" if value is None else environment_text(value),
        choices=tuple(environment_text(choice) for choice in choices),
    )


def label_of(name: str) -> str:
    """Return the label of a parameter: Learning rate for learning_rate."""
    text = name.replace("_", " ")
    return gettext("Epochs" if name == "epoch" else text[0].upper() + text[1:])


def word(code: str) -> str:
    """Return a status, a reason or another code as a page shows it: out of memory."""
    return gettext(code.replace("_", " "))


def differ(values: Sequence[Any]) -> bool:
    """Return whether the values are not all equal."""
    return any(value != values[0] for value in values[1:])


def best_values(
    curves: Sequence[Curve], goals: Goals = NO_GOALS
) -> dict[str, list[Extreme | None]]:
    """Return the best value of each metric that has a goal, in each of the curves."""
    names = dict.fromkeys(name for curve in curves for name in curve.series)
    known = {name: goal for name in names if (goal := goal_of(name, goals))}
    return {
        name: [
            best(curve.epochs, curve.series[name], goal) if name in curve.series else None
            for curve in curves
        ]
        for name, goal in known.items()
    }


def winner(metric: str, values: Sequence[Extreme | None], goals: Goals = NO_GOALS) -> float | None:
    """Return the best of the best values of a metric; None if fewer than two are known."""
    known = [each.value for each in values if each is not None]
    choose = max if goal_of(metric, goals) is Goal.MAXIMIZE else min
    return choose(known) if len(known) > 1 else None


class Objective(NamedTuple):
    """The metric that an experiment is judged by, and which of its values are good."""

    metric: str
    goal: Goal


def objective(curve: Curve, goals: Goals = NO_GOALS) -> Objective | None:
    """Return the objective of a curve; None if it has none."""
    metric = objective_of(curve.series, goals)
    goal = goal_of(metric, goals) if metric else None
    return Objective(metric, goal) if metric and goal else None
