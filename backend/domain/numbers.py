"""The gate for numbers that come from a file: nothing is counted with one that did not pass it."""

import math
from typing import Any, TypeGuard

MAX_MAGNITUDE = 1e300  # the sum, difference or product of a few such numbers is still finite
MAX_SECONDS = 1e10  # 317 years


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> TypeGuard[float]:
    """Return whether `value` is a finite number from `low` to `high`; a boolean is no number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value) and low <= value <= high
    except OverflowError:  # an integer too large for a float
        return False
