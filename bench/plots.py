"""Draw how costs grow: docs/growth/NAME.png from the points in NAME.json.

python -m bench.plots       # draw all of them again, without measuring
"""

import json
from dataclasses import asdict
from itertools import cycle
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.figures import Growth

FOLDER = Path(__file__).parents[1] / "docs" / "growth"
INCHES, DOTS = (7.2, 3.6), 110
WIDE = 30  # ratio of greatest to least value from which on an axis is logarithmic
# Okabe and Ito's colours, which colour-blind people can distinguish; the markers differ, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"


def save(growth: Growth) -> None:
    """Write the points of a plot, and draw it."""
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(asdict(growth), indent=1, ensure_ascii=False)
    (FOLDER / f"{growth.name}.json").write_text(f"{text}\n")
    draw(growth, FOLDER / f"{growth.name}.png")


def draw(growth: Growth, path: Path) -> None:
    """Draw a plot as PNG, with a light background so that it is legible on dark pages.

    The output is reproducible byte by byte.
    """
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=INCHES, dpi=DOTS, layout="constrained")
        axes = figure.subplots()
        for (name, points), colour, marker in zip(
            growth.series.items(), cycle(COLOURS), cycle(MARKERS), strict=False
        ):
            axes.plot(
                *zip(*points, strict=True), color=colour, marker=marker, markersize=4, label=name
            )
        works = [work for series in growth.series.values() for work, _ in series]
        costs = [cost for series in growth.series.values() for _, cost in series]
        if is_wide(works):
            axes.set_xscale("log" if min(works) > 0 else "symlog")
        if is_wide(costs):
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.set(title=growth.title, xlabel=growth.work, ylabel=growth.cost)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.legend(frameon=False)
        figure.savefig(path, metadata={"Software": None}, pil_kwargs={"optimize": True})


def is_wide(values: list[float]) -> bool:
    """Return whether values are so far apart that a linear axis would hide the small ones."""
    least = min((value for value in values if value > 0), default=0)
    return bool(least) and max(values) > WIDE * least


def main() -> None:
    """Draw all plots from their saved points."""
    for path in sorted(FOLDER.glob("*.json")):
        draw(Growth(**json.loads(path.read_text())), path.with_suffix(".png"))


if __name__ == "__main__":
    main()
