"""Draws the first images of a .npy or .npz file side by side, as PNG, without any library."""

import math
import struct
import zlib
from typing import BinaryIO, NamedTuple

from backend.files.data_sets.arrays import (
    Header,
    damage_is_unreadable,
    numbers_of,
    opened_samples,
    read_exactly,
)
from backend.files.data_sets.csv_layout import Unreadable

MAX_IMAGES = 40
COLUMNS = 10
TILE_PIXELS = 64
GAP_PIXELS = 4
MAX_SAMPLE_BYTES = 4 * 2**20  # of one image; larger ones are not drawn
MAX_BYTES = 8 * 2**20  # of all images that are read
MIN_SIDE = 8  # of a row of numbers that is drawn as a square
CHANNELS = (1, 3, 4)


class _Layout(NamedTuple):
    """How a sample is an image; the strides count numbers."""

    height: int
    width: int
    channels: int
    by_row: int
    by_column: int
    by_channel: int


def has_images(shape: tuple[int, ...]) -> bool:
    """Return whether arrays of this shape can be drawn."""
    return _layout(shape) is not None


def contact_sheet(file: BinaryIO) -> bytes | None:
    """Return the first images of a file as one PNG, from black (low) to white (high).

    None if it holds no images, or images that are too large.
    """
    try:
        with damage_is_unreadable(), opened_samples(file) as (members, _, _):
            _, header, open_member = members[0]
            layout = _layout(header.shape)
            sample = math.prod(header.shape[1:])
            if layout is None or header.is_fortran or not sample:
                return None
            bytes_each = sample * header.width
            if bytes_each > MAX_SAMPLE_BYTES:
                return None
            count = min(MAX_IMAGES, header.shape[0], max(1, MAX_BYTES // bytes_each))
            with open_member() as member:
                member.read(header.start)
                content = read_exactly(member, count * bytes_each)
            return _draw(content, header, layout, sample)
    except Unreadable:
        return None


def _layout(shape: tuple[int, ...]) -> _Layout | None:
    sizes = shape[1:]
    if len(sizes) == 1:
        side = math.isqrt(sizes[0])
        is_square = side >= MIN_SIDE and side * side == sizes[0]
        return _Layout(side, side, 1, side, 1, 0) if is_square else None
    if len(sizes) == 2:
        return _Layout(sizes[0], sizes[1], 1, sizes[1], 1, 0) if min(sizes) > 1 else None
    if len(sizes) != 3:
        return None
    if sizes[2] in CHANNELS:
        height, width, channels = sizes
        return _Layout(height, width, channels, width * channels, channels, 1)
    if sizes[0] in CHANNELS:
        channels, height, width = sizes
        return _Layout(height, width, channels, width, 1, height * width)
    return None


def _draw(content: bytes, header: Header, layout: _Layout, sample: int) -> bytes | None:
    numbers = numbers_of(content, header)
    if numbers is None or len(numbers) < sample:
        return None
    finite = numbers
    if header.item[0] == "f" and not math.isfinite(sum(numbers)):
        finite = [number for number in numbers if math.isfinite(number)] or [0.0]
    low, high = float(min(finite)), float(max(finite))
    span = high - low if high > low else 1.0
    colours = 3 if layout.channels >= 3 else 1
    step = max(1, -(-max(layout.height, layout.width) // TILE_PIXELS))
    zoom = max(1, TILE_PIXELS // max(layout.height, layout.width))
    height = -(-layout.height // step) * zoom
    width = -(-layout.width // step) * zoom
    count = len(numbers) // sample
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    total_width = columns * (width + GAP_PIXELS) + GAP_PIXELS
    total_height = rows * (height + GAP_PIXELS) + GAP_PIXELS
    lines = [bytearray(b"\xff" * (total_width * colours)) for _ in range(total_height)]
    for image in range(count):
        top = GAP_PIXELS + image // columns * (height + GAP_PIXELS)
        left = (GAP_PIXELS + image % columns * (width + GAP_PIXELS)) * colours
        for row in range(0, layout.height, step):
            begin = image * sample + row * layout.by_row
            line = bytearray()
            for column in range(0, layout.width, step):
                place = begin + column * layout.by_column
                pixel = bytes(
                    _grey(numbers[place + colour * layout.by_channel], low, span)
                    for colour in range(colours)
                )
                line += pixel * zoom
            for copy in range(zoom):
                lines[top + row // step * zoom + copy][left : left + len(line)] = line
    return png(lines, total_width, colours)


def _grey(number: float, low: float, span: float) -> int:
    return round(255 * (number - low) / span) if math.isfinite(number) else 0


def png(lines: list[bytearray], width: int, colours: int) -> bytes:
    """Encode an image of 8 bits a channel as PNG (ISO/IEC 15948).

    Args:
        lines: the pixels of each line, with 1 (grey) or 3 (red, green, blue) bytes each.
        width: pixels of a line.
        colours: 1 or 3.
    """

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, len(lines), 8, 2 if colours == 3 else 0, 0, 0, 0)
    content = b"".join(b"\0" + line for line in lines)  # before each line: filter type 0, none
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(content, 6))
        + chunk(b"IEND", b"")
    )
