"""The order of an image's axes. Uses the standard library alone.

- Two axes are height and width.
- Of three axes, the one with 1, 3 or 4 entries holds the channels (grey, RGB, RGBA): the first or
  the last. If both or neither could be it, the images are refused, unless `layout` decides.
- A row of n numbers is a square image if n is the square of 4 or more.
"""

import math
from dataclasses import dataclass

from common.exceptions import UnusableError

CHANNELS = (1, 3, 4)
MIN_SIDE = 4  # of a row that is drawn as a square


@dataclass(frozen=True)
class ImageLayout:
    """The size of images, and whether the axis of the channels comes first in the files."""

    channels: int
    height: int
    width: int
    channels_first: bool


def image_layout(sample_shape: tuple[int, ...], layout: str) -> ImageLayout:
    """Return how samples of a shape are images; `layout` is that of `ConvParameters`.

    Raises:
        UnusableError: They are no images, or could be images in two ways.
    """
    text = " x ".join(map(str, sample_shape))
    if len(sample_shape) == 1:
        side = math.isqrt(sample_shape[0])
        if side < MIN_SIDE or side * side != sample_shape[0]:
            raise UnusableError(
                f"samples of {text} numbers are no images: save them as N x height x width, or as "
                f"rows whose length is the square of {MIN_SIDE} or more"
            )
        return ImageLayout(1, side, side, channels_first=True)
    if len(sample_shape) == 2:
        height, width = sample_shape
        return ImageLayout(1, height, width, channels_first=True)
    if len(sample_shape) > 3:
        raise UnusableError(f"samples of {text} numbers are no images: they have too many axes")
    first, last = sample_shape[0] in CHANNELS, sample_shape[-1] in CHANNELS
    if layout != "auto":
        first, last = first and layout == "channels_first", last and layout == "channels_last"
    if first and last:
        raise UnusableError(
            f"the channels of {text} images could be the first or the last axis: set the parameter "
            "layout to channels_first or channels_last"
        )
    if first:
        channels, height, width = sample_shape
        return ImageLayout(channels, height, width, channels_first=True)
    if last:
        height, width, channels = sample_shape
        return ImageLayout(channels, height, width, channels_first=False)
    where = {"channels_first": "first", "channels_last": "last"}.get(layout, "first or last")
    raise UnusableError(
        f"images of {text} have no axis of channels: the {where} axis must have 1, 3 or 4 entries"
    )
