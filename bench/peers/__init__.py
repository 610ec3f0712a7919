"""Other servers that keep or start runs, measured beside ours; `make bench-peers` installs them."""

import re
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Growth, Row
from bench.peers import mlflow, ray


def rows(quick: bool) -> Iterator[Row]:
    """Measure against one after the other."""
    yield from mlflow.rows(quick)
    yield from ray.rows(quick)


def growths() -> Iterator[Growth]:
    """Give how pages grow with the runs that there are."""
    yield from mlflow.growths()


def how() -> str:
    """Name the versions, and say how it is measured."""
    files = sorted(Path(__file__).parent.glob("*.txt"))
    found = (re.findall(r"^(mlflow|ray)\S*==(\S+)$", file.read_text(), re.M) for file in files)
    versions = ", ".join(f"{name} {version}" for pairs in found for name, version in pairs)
    return (
        f"{versions}, as they come; the ratio says how many times better ours is. Both take turns "
        "(medians), and are there at once, so that the one that rests keeps its memory."
    )
