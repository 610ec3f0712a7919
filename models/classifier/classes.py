"""The classes among the labels of a data set. Uses NumPy alone."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.dataset import Dataset
from common.exceptions import UnusableError

MAX_CLASSES = 100
MAX_CHARACTERS = 200  # of a label
SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class Classes:
    """The classes in order, and the number of each sample's class."""

    names: list[str]
    numbers: npt.NDArray[np.int64]


def find_classes(dataset: Dataset) -> Classes:
    """Return the classes of a data set with labels: ordered as numbers if all are numbers.

    Raises:
        UnusableError: There is one class only, or so many that the labels are no classes.
    """
    labels = dataset.labels or []
    distinct = set(labels)
    names = sorted(distinct, key=float) if _all_numbers(distinct) else sorted(distinct)
    if len(names) == 1:
        shown = names[0][:SHOWN_CHARACTERS]
        raise UnusableError(
            f"all {len(labels)} labels in {dataset.target} are {shown!r}: a classifier "
            "needs at least two classes"
        )
    if len(names) > MAX_CLASSES or 2 * len(names) > len(labels):
        raise UnusableError(
            f"{dataset.target} has {len(names)} different values in {len(labels)} samples, "
            f"so these are no classes: choose a target with at most {MAX_CLASSES} classes, each "
            "with several samples"
        )
    if longest := next((name for name in names if len(name) > MAX_CHARACTERS), None):
        raise UnusableError(
            f"{dataset.target} holds the label {longest[:SHOWN_CHARACTERS]!r}..., which has "
            f"{len(longest)} characters: a label may have {MAX_CHARACTERS}"
        )
    number_of = {name: number for number, name in enumerate(names)}
    numbers = np.array([number_of[label] for label in labels], dtype=np.int64)
    return Classes(names, numbers)


def _all_numbers(labels: set[str]) -> bool:
    try:
        return all(np.isfinite(float(label)) for label in labels)
    except ValueError:
        return False
