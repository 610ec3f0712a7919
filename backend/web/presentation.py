"""How an experiment is shown to people: progress, time left, a small curve. Pure functions."""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from backend.domain.experiment import Experiment
from backend.domain.identifiers import experiment_id_problem
from backend.domain.status import LIVE, Status

SPARK_WIDTH, SPARK_HEIGHT = 120, 28
SPARK_MARGIN = 2  # half the width of the line would be cut off at the edges
_UNITS = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))


class Curve(Protocol):
    """What is needed of a curve, see `curve_table.Curve`."""

    @property
    def epochs(self) -> Sequence[int]:
        """Ascending."""

    @property
    def series(self) -> Mapping[str, Sequence[float | None]]:
        """By metric, a value for each epoch."""


@dataclass(frozen=True)
class Row:
    """One line of the list.

    Attributes:
        epoch: epochs done.
        percent: of the epochs wanted, 0 to 100.
        left: how long it will still take, in words; None if that is not known.
        loss: the last loss on the training data, and `val_loss` that on the validation data.
        spark: the loss by epoch as `points` of an SVG polyline; empty for fewer than two.
    """

    experiment: Experiment
    epoch: int
    percent: float
    left: str | None
    loss: float | None
    val_loss: float | None
    spark: str

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.experiment.status in LIVE


def row(experiment: Experiment, curve: Curve) -> Row:
    """Show an experiment with its curve, of which a few dozen points are enough."""
    epochs, metrics = curve.epochs, curve.series
    done = min(int(epochs[-1]), experiment.epoch) if epochs else 0
    loss = metrics.get("loss", [])
    return Row(
        experiment,
        epoch=done,
        percent=round(100 * done / experiment.epoch, 1),
        left=time_left(experiment, done, metrics.get("seconds", [])),
        loss=last_number(loss),
        val_loss=last_number(metrics.get("val_loss", [])),
        spark=sparkline(epochs, loss),
    )


def time_left(experiment: Experiment, done: int, seconds: Sequence[Any]) -> str | None:
    """Estimate how long a running experiment still takes, from the `seconds` of some epochs."""
    known = [value for value in seconds if is_number(value)]
    if experiment.status is not Status.RUNNING or not known or done == experiment.epoch:
        return None
    return duration((experiment.epoch - done) * sum(known) / len(known))


def sparkline(xs: Sequence[Any], ys: Sequence[Any]) -> str:
    """Give the `points` of an SVG polyline through the points that are numbers.

    The vertical axis is logarithmic if every value is positive: a loss falls by factors.
    """
    points = [
        (float(x), float(y)) for x, y in zip(xs, ys, strict=False) if is_number(x) and is_number(y)
    ]
    if len(points) < 2:
        return ""
    if all(y > 0 for _, y in points):
        points = [(x, math.log(y)) for x, y in points]
    left, right = points[0][0], points[-1][0]
    low, high = min(y for _, y in points), max(y for _, y in points)
    wide, tall = SPARK_WIDTH - 2 * SPARK_MARGIN, SPARK_HEIGHT - 2 * SPARK_MARGIN
    return " ".join(
        f"{SPARK_MARGIN + wide * (x - left) / ((right - left) or 1):.1f},"
        f"{SPARK_MARGIN + tall * (high - y) / ((high - low) or 1):.1f}"
        for x, y in points
    )


def is_number(value: Any) -> bool:
    """Tell whether a metric, which a trainer wrote, can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def last_number(values: Sequence[Any]) -> float | None:
    """Give the last of the values that can be drawn."""
    return next((float(value) for value in reversed(values) if is_number(value)), None)


def number(value: Any) -> str:
    """Write a number with four significant digits, anything else as the text it is."""
    if not is_number(value):
        return "" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """Write a duration in its two largest units: 45 s, 2 min 5 s, 3 h 20 min, 2 d 4 h."""
    whole = max(0, round(seconds))
    for size, name, small_size, small_name in _UNITS:
        if whole >= size:
            count, rest = divmod(whole, size)
            small = rest // small_size
            return f"{count} {name} {small} {small_name}" if small else f"{count} {name}"
    return f"{whole} s"


def run_time(experiment: Experiment) -> str | None:
    """Say how long the current attempt has trained; None if it has not begun."""
    if experiment.started_at is None:
        return None
    end = experiment.finished_at or datetime.now(UTC)
    return duration((end - experiment.started_at).total_seconds())


def size(size_bytes: int) -> str:
    """Write a number of bytes in decimal units, as file managers do: 512 B, 1.5 kB, 23 MB."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}" if unit != "B" else f"{size_bytes} B"
        value /= 1000
    return f"{value:.3g} TB"


def following_id(experiment_id: str) -> str:
    """Suggest the next id of a series: run-1 -> run-2, run -> run-2.

    An id that has no room for a number is given back as it is.
    """
    match = re.fullmatch(r"(.*?)(\d{1,9})", experiment_id, flags=re.ASCII | re.DOTALL)
    if match:
        head, digits = match.groups()
        following = f"{head}{int(digits) + 1:0{len(digits)}d}"
    else:
        following = f"{experiment_id}-2"
    return experiment_id if experiment_id_problem(following) else following


def curl(experiment: Experiment, url: str) -> str:
    """Write the command that submits an experiment to `url`; no character of it is special."""
    fields: dict[str, Any] = {
        "learning_rate": repr(experiment.learning_rate),
        "epoch": experiment.epoch,
        "experiment_id": experiment.experiment_id,
    }
    if experiment.dataset:
        fields["dataset"] = experiment.dataset
    # --form-string: with -F, a value that begins with @ or < would be read as a file's name.
    forms = [f"--form-string {shlex.quote(f'{name}={value}')}" for name, value in fields.items()]
    return " \\\n  ".join(["curl", *forms, shlex.quote(url)])


def differing(values: Sequence[Any]) -> bool:
    """Tell whether the values of a line of a comparison are not all the same."""
    return any(value != values[0] for value in values[1:])


def best(values: Sequence[Any]) -> float | None:
    """Give the smallest of the values of a loss, if there are at least two to choose from."""
    known = [value for value in values if is_number(value)]
    return min(known) if len(known) > 1 else None
