"""The convolutional autoencoder's own parameters. Uses the standard library alone."""

from dataclasses import dataclass

from common.settings import Parameters, choice, flag, integer, number


@dataclass(frozen=True)
class ConvParameters(Parameters):
    """How images lie in the files, the sizes of the network, and its training."""

    layout: str = choice("auto", "channels_first", "channels_last")
    noise: float = number(0.1, minimum=0, maximum=10)
    """Standard deviation of the noise on training images, in standard deviations of the pixels."""
    filters: int = integer(16, minimum=1, maximum=512)
    code: int = integer(8, minimum=1, maximum=512)
    mixed_precision: bool = flag(False)
