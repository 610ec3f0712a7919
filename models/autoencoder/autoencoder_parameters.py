"""The autoencoder's own parameters. Uses the standard library alone."""

from dataclasses import dataclass

from common.settings import Parameters, integer


@dataclass(frozen=True)
class AutoencoderParameters(Parameters):
    """Sizes of the network; 0 stands for a size that fits the width of the samples."""

    hidden: int = integer(0, minimum=0, maximum=16_384)
    code: int = integer(0, minimum=0, maximum=16_384)
