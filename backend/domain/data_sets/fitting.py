"""Whether several files can be read together, by the rules of models/common/dataset.py. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.domain.data_sets.content import Fault
from backend.domain.identifiers import canonical

LABEL_COLUMNS = ("target", "label", "class", "y")
SHOWN_NAMES = 10


@dataclass(frozen=True)
class Look:
    """What the header and the first lines of a file show, to see whether files fit together.

    Attributes:
        shape: of one sample, with every column of a table.
        names: of all columns, if the file has a header.
        ignored: the numbers of the columns that are no numbers of a sample.
        texts: the numbers of the columns in whose first cells there is text.
        is_csv: whether it is a table whose columns may have names.
        has_labels: whether its labels are an array beside the samples.
        fault: why no model can read the file.
    """

    shape: tuple[int, ...] = ()
    names: tuple[str, ...] | None = None
    ignored: frozenset[int] = frozenset()
    texts: tuple[tuple[int, Fault], ...] = ()
    is_csv: bool = False
    has_labels: bool = False
    fault: Fault | None = None


def mismatch(looks: Mapping[str, Look], target: str | None) -> str | None:
    """Return why files cannot be read together, as a clause that names them; None if they can be.

    Args:
        looks: the files by name, in the order in which they are read.
        target: the column of the labels, "" for the usual one, None for a model without labels.
    """
    problems = [
        f"{name}: {fault.message}"
        for name, look in looks.items()
        if (fault := look.fault or _text_fault(look, target))
    ]
    if problems:
        return "; ".join(problems[:SHOWN_NAMES])
    known = [(name, look) for name, look in looks.items() if look.shape]
    if len(known) < 2:
        return None
    first, expected = known[0]
    for name, look in known[1:]:
        if _width(look, target) != _width(expected, target):
            return (
                f"mixed shapes: a sample of {first} is {_shape_text(expected.shape)}, "
                f"one of {name} is {_shape_text(look.shape)}"
            )
    headed = [(name, look) for name, look in known if look.names is not None]
    for name, look in headed[1:]:
        before, after = _sample_names(headed[0][1], target), _sample_names(look, target)
        if sorted(before) != sorted(after):
            odd = sorted(set(before) ^ set(after)) or sorted(set(after))
            return (
                f"mixed columns: the headers of {headed[0][0]} and {name} differ in "
                f"{', '.join(odd[:SHOWN_NAMES])}"
            )
    return None


def _text_fault(look: Look, target: str | None) -> Fault | None:
    """Return what is wrong with the first column of text that this model cannot read."""
    labels = _label_columns(look, target)
    return next((fault for column, fault in look.texts if column not in labels), None)


def _label_columns(look: Look, target: str | None) -> frozenset[int]:
    """Return the numbers of the columns that are no numbers of a sample for this model."""
    if target is None or not look.is_csv:
        return look.ignored
    count = look.shape[0]
    names = [canonical(name.strip()) for name in look.names or ()]
    chosen = count - 1
    if target and canonical(target.strip()) in names:
        chosen = names.index(canonical(target.strip()))
    elif names:
        lower = [name.lower() for name in names]
        chosen = next((lower.index(name) for name in LABEL_COLUMNS if name in lower), chosen)
    return look.ignored | {chosen}


def _width(look: Look, target: str | None) -> int:
    labels = len(_label_columns(look, target))
    if target is not None and not look.is_csv and not look.has_labels and len(look.shape) == 1:
        labels = 1
    return math.prod(look.shape) - labels


def _sample_names(look: Look, target: str | None) -> list[str]:
    labels = _label_columns(look, target)
    return [
        canonical(name.strip())
        for number, name in enumerate(look.names or ())
        if number not in labels
    ]


def _shape_text(shape: Sequence[int]) -> str:
    return f"{' x '.join(map(str, shape))}{' numbers' if len(shape) == 1 else ''}"
