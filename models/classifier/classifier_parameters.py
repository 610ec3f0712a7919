"""The classifier's own parameters. Uses the standard library alone."""

from dataclasses import dataclass

from common.settings import Parameters, flag, integer, number, string


@dataclass(frozen=True)
class ClassifierParameters(Parameters):
    """What is predicted, the sizes of the network, and its training."""

    target: str = string()
    """The column or array that holds the labels; empty for the usual one (see dataset.py)."""
    hidden: int = integer(64, minimum=1, maximum=16_384)
    layers: int = integer(2, minimum=0, maximum=16)
    dropout: float = number(0.0, minimum=0, maximum=0.9)
    mixed_precision: bool = flag(False)
