"""What a measurement says: lines of the table, and how a cost grows with its work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: The work that was measured.
        ours: Our figure, with its unit.
        limit: The figure that it is held against, with its unit, and what that is.
        ratio: Ours against the limit's, as the goal counts it; a median over rounds in turn.
        goal: What is to be reached, as `>= 0.8` or `<= 15 ms`.
        met: Whether it is reached; None without a goal.
    """

    what: str
    ours: str
    limit: str = ""
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Growth:
    """How a cost grows with its work, for one plot.

    Attributes:
        name: The plot's file name without its ending.
        title: What the plot shows.
        work: The axis of the work, with its unit.
        cost: The axis of the cost, with its unit.
        series: Points (work, cost) by the name of what was measured.
    """

    name: str
    title: str
    work: str
    cost: str
    series: Mapping[str, Sequence[tuple[float, float]]]
