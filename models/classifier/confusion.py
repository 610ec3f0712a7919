"""What follows from a confusion matrix: metrics and an image. Uses NumPy alone.

Row i, column j of the matrix counts the samples of class i that were predicted as class j.
"""

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]

CELL_PIXELS, MIN_CELL_PIXELS = 32, 6
MAX_IMAGE_PIXELS = 1024
LOW, HIGH = np.array([255, 255, 255]), np.array([8, 48, 107])  # white to dark blue
DIGIT_ZOOM = 2
# 3 x 5 pixels each; a line is a number of three bits.
DIGITS = [
    (7, 5, 5, 5, 7),
    (2, 6, 2, 2, 7),
    (7, 1, 7, 4, 7),
    (7, 1, 7, 1, 7),
    (5, 5, 7, 1, 1),
    (7, 4, 7, 1, 7),
    (7, 4, 7, 5, 7),
    (7, 1, 1, 1, 1),
    (7, 5, 7, 5, 7),
    (7, 5, 7, 1, 7),
]


def accuracy(confusion: Counts) -> float:
    """Return the share of the samples whose class was predicted."""
    return float(np.trace(confusion) / confusion.sum())


def macro_f1(confusion: Counts) -> float:
    """Return the mean F1 score of the classes that occur among the samples or the predictions."""
    both = confusion.sum(axis=0) + confusion.sum(axis=1)
    occurring = both > 0
    return float((2 * np.diagonal(confusion)[occurring] / both[occurring]).mean())


def confusion_image(confusion: Counts) -> Pixels:
    """Draw a confusion matrix, shape (height, width, 3).

    Each row is the actual class, each column the predicted one. The darker a cell, the larger its
    share of the row. Where there is room, its count is written into it.
    """
    classes = len(confusion)
    cell = max(MIN_CELL_PIXELS, min(CELL_PIXELS, MAX_IMAGE_PIXELS // classes))
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    colours = (LOW + shares[..., None] * (HIGH - LOW)).round().astype(np.uint8)
    image = colours.repeat(cell, axis=0).repeat(cell, axis=1)
    image[::cell] = image[:, ::cell] = 200  # the grid
    for (row, column), count in np.ndenumerate(confusion):
        text = _number(int(count))
        if count and max(text.shape) <= cell - 4:
            top = row * cell + (cell - text.shape[0]) // 2
            left = column * cell + (cell - text.shape[1]) // 2
            ink = 255 if shares[row, column] > 0.5 else 0
            image[top : top + text.shape[0], left : left + text.shape[1]][text] = ink
    return np.pad(image, ((0, 1), (0, 1), (0, 0)), constant_values=200)


def _number(count: int) -> npt.NDArray[np.bool_]:
    """Return the pixels of a number's digits."""
    glyphs = [DIGITS[int(digit)] for digit in str(count)]
    lines = [[f"{line:03b}0" for line in lines] for lines in zip(*glyphs, strict=True)]
    bits = np.array([[bit == "1" for bit in "".join(line)[:-1]] for line in lines])
    return bits.repeat(DIGIT_ZOOM, axis=0).repeat(DIGIT_ZOOM, axis=1)
