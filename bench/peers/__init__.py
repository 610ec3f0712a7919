"""Comparisons with MLflow and Ray, which `make bench-peers` installs."""

import re
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Growth, Row
from bench.peers import mlflow, ray


def rows(quick: bool) -> Iterator[Row]:
    """Yield the comparisons with one peer after the other."""
    yield from mlflow.rows(quick)
    yield from ray.rows(quick)


def growths() -> Iterator[Growth]:
    """Yield how pages grow with the number of experiments."""
    yield from mlflow.growths()


def how() -> str:
    """Return the versions of the peers, and how they are measured."""
    files = sorted(Path(__file__).parent.glob("*.txt"))
    found = (re.findall(r"^(mlflow|ray)\S*==(\S+)$", file.read_text(), re.M) for file in files)
    versions = ", ".join(f"{name} {version}" for pairs in found for name, version in pairs)
    return (
        f"{versions}, with their defaults; the ratio says how many times better ours is. Figures "
        "are medians of alternating rounds; both servers run all the time and keep their memory."
    )
