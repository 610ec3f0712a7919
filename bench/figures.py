"""The results of measurements: rows of a table, and the growth of a cost with its work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        what: The work that was measured.
        ours: Our figure, with its unit.
        limit: The figure that ours is compared with, its unit, and what it measures.
        ratio: Of both figures, in the sense of the goal; a median over alternating rounds.
        goal: The condition to be met, such as `>= 0.8` or `<= 15 ms`.
        met: Whether the goal is met; None without a goal.
    """

    what: str
    ours: str
    limit: str = ""
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Growth:
    """The growth of a cost with its work, as one plot.

    Attributes:
        name: The plot's file name without its suffix.
        title: The plot's title.
        work: The label of the horizontal axis, with its unit.
        cost: The label of the vertical axis, with its unit.
        series: Points (work, cost) by the name of the series.
    """

    name: str
    title: str
    work: str
    cost: str
    series: Mapping[str, Sequence[tuple[float, float]]]
