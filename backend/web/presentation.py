"""How the dashboard shows an experiment: progress, time left, a small curve. Pure functions."""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from backend.domain.experiment import Experiment
from backend.domain.identifiers import experiment_id_problem
from backend.domain.numbers import MAX_MAGNITUDE, MAX_SECONDS, is_number
from backend.domain.status import LIVE, Status

SPARK_WIDTH, SPARK_HEIGHT = 120, 28
SPARK_MARGIN = 2  # or half of the line's width would be cut off at the edges
_UNITS = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))


class Curve(Protocol):
    """The part of a `files.curves.Curve` that is shown."""

    @property
    def epochs(self) -> Sequence[float]:
        """The epochs, ascending."""

    @property
    def series(self) -> Mapping[str, Sequence[float | None]]:
        """By metric, a value for each epoch."""


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
    """

    experiment: Experiment
    epochs_done: int
    percent: float
    time_left: str | None
    loss: float | None
    val_loss: float | None
    spark: str

    @property
    def is_live(self) -> bool:
        """Whether the experiment has not ended."""
        return self.experiment.status in LIVE


def summary(experiment: Experiment, curve: Curve) -> Summary:
    """Return the summary of an experiment; a few dozen points of its curve are enough."""
    epochs, metrics = curve.epochs, curve.series
    done = min(int(epochs[-1]), experiment.epoch) if epochs else 0
    loss = metrics.get("loss", [])
    return Summary(
        experiment,
        epochs_done=done,
        percent=round(100 * done / experiment.epoch, 1),
        time_left=time_left(experiment, done, metrics.get("seconds", [])),
        loss=last_number(loss),
        val_loss=last_number(metrics.get("val_loss", [])),
        spark=sparkline(epochs, loss),
    )


def time_left(experiment: Experiment, done: int, seconds: Sequence[Any]) -> str | None:
    """Return how long a running experiment will still take, from the `seconds` of some epochs.

    None if it is not running, or nothing is known.
    """
    known = [value for value in seconds if is_number(value, 0, MAX_SECONDS)]
    if experiment.status is not Status.RUNNING or not known or done == experiment.epoch:
        return None
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
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: 45 s, 2 min 5 s, 3 h 20 min, 2 d 4 h."""
    whole = max(0, round(min(seconds, MAX_SECONDS)))
    for size, name, small_size, small_name in _UNITS:
        if whole >= size:
            count, rest = divmod(whole, size)
            small = rest // small_size
            return f"{count} {name} {small} {small_name}" if small else f"{count} {name}"
    return f"{whole} s"


def training_time(experiment: Experiment) -> str | None:
    """Return how long the current attempt has been training; None if it has not started."""
    if experiment.started_at is None:
        return None
    end = experiment.finished_at or datetime.now(UTC)
    return duration((end - experiment.started_at).total_seconds())


def size(size_bytes: int) -> str:
    """Return a number of bytes in decimal units, as file managers do: 512 B, 1.5 kB, 23 MB."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}" if unit != "B" else f"{size_bytes} B"
        value /= 1000
    return f"{value:.3g} TB"


def next_id(experiment_id: str) -> str:
    """Return the next id of a series: run-1 -> run-2, run -> run-2.

    An id that is too long for another number is returned as it is.
    """
    match = re.fullmatch(r"(.*?)(\d{1,9})", experiment_id, flags=re.ASCII | re.DOTALL)
    if match:
        head, digits = match.groups()
        suggestion = f"{head}{int(digits) + 1:0{len(digits)}d}"
    else:
        suggestion = f"{experiment_id}-2"
    return experiment_id if experiment_id_problem(suggestion) else suggestion


def curl(experiment: Experiment, url: str) -> str:
    """Return the shell command that submits the experiment's parameters to `url`, quoted."""
    fields: dict[str, Any] = {
        "learning_rate": repr(experiment.learning_rate),
        "epoch": experiment.epoch,
        "experiment_id": experiment.experiment_id,
    }
    if experiment.dataset:
        fields["dataset"] = experiment.dataset
    # With -F instead of --form-string, curl would read a value that begins with @ or < as a file.
    forms = [f"--form-string {shlex.quote(f'{name}={value}')}" for name, value in fields.items()]
    return " \\\n  ".join(["curl", *forms, shlex.quote(url)])


def differ(values: Sequence[Any]) -> bool:
    """Return whether the values are not all equal."""
    return any(value != values[0] for value in values[1:])


def best_loss(values: Sequence[Any]) -> float | None:
    """Return the lowest of the values; None if fewer than two are numbers."""
    known = [value for value in values if is_number(value)]
    return min(known) if len(known) > 1 else None
