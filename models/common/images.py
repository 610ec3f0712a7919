"""Images of samples, encoded as PNG without any library."""

import struct
import zlib

import numpy as np
import numpy.typing as npt

from common.precision import Floats

TILE_PIXELS = 64
MAX_TILE_PIXELS = 256
GAP_PIXELS = 4

Pixels = npt.NDArray[np.uint8]


def comparison(inputs: Floats, reconstructions: Floats, sample_shape: tuple[int, ...]) -> Pixels:
    """Draw rows side by side, each above its reconstruction, from black (low) to white (high).

    `inputs` and `reconstructions` have the shape (samples, width), the result (height, width).
    Samples that are not images are drawn as a strip from left to right.
    """
    height, width = image_shape(sample_shape)
    return side_by_side(
        inputs.reshape(-1, height, width), reconstructions.reshape(-1, height, width)
    )


def side_by_side(inputs: Floats, reconstructions: Floats) -> Pixels:
    """Draw images side by side, each above its reconstruction, from black (low) to white (high).

    Both have the shape (samples, height, width), or (samples, height, width, 3) in colour. The
    result is one image of the same kind.
    """
    low, high = inputs.min(), inputs.max()
    span = high - low if high > low else np.float32(1)
    scaled = np.clip((np.stack([inputs, reconstructions]) - low) / span, 0, 1)
    images = (scaled * 255).round().astype(np.uint8)
    height, width = images.shape[2:4]
    images = images[:, :, :: -(-height // MAX_TILE_PIXELS), :: -(-width // MAX_TILE_PIXELS)]
    height, width = images.shape[2:4]
    if height == 1:
        zoom = (TILE_PIXELS // 4, max(1, TILE_PIXELS // width))
    else:
        zoom = (max(1, TILE_PIXELS // max(height, width)),) * 2
    tiles = images.repeat(zoom[0], axis=2).repeat(zoom[1], axis=3)
    colour = ((0, 0),) * (tiles.ndim - 4)
    gap = (0, GAP_PIXELS)
    framed = np.pad(tiles, ((0, 0), (0, 0), gap, gap, *colour), constant_values=255)
    rows, columns, height, width = framed.shape[:4]
    canvas = framed.swapaxes(1, 2).reshape(rows * height, columns * width, *framed.shape[4:])
    return np.pad(canvas, ((GAP_PIXELS, 0), (GAP_PIXELS, 0), *colour), constant_values=255)


def image_shape(sample_shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the height and width, in pixels, in which one sample is drawn.

    The channels of an image are drawn side by side or one below the other, as they are ordered in
    memory. A flat sample is drawn as a square if its length is the square of 4 or more.
    """
    lengths = [length for length in sample_shape if length > 1] or [1]
    if len(lengths) > 1:
        return int(np.prod(lengths[:-1])), lengths[-1]
    side = round(lengths[0] ** 0.5)
    return (side, side) if side >= 4 and side * side == lengths[0] else (1, lengths[0])


def png(pixels: Pixels) -> bytes:
    """Encode an image as PNG (ISO/IEC 15948).

    `pixels` has the shape (height, width), or (height, width, 3) for red, green and blue.
    """
    height, width = pixels.shape[:2]
    lines = np.pad(
        pixels.reshape(height, -1), ((0, 0), (1, 0))
    )  # before each line: filter type 0, none
    colour_type = 2 if pixels.ndim == 3 else 0

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + chunk(b"IEND", b"")
    )
