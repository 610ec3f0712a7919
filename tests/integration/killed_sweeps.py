"""Two sweeps that must survive every kill, and the parameters that their trials must have.

SWEEP_TRIALS=200 gives them that many trials, which take minutes.
"""

import os
from itertools import product

from backend.sweeps.samplers import Method, suggest
from backend.sweeps.spaces import Choices, Range

TRIALS = int(os.environ.get("SWEEP_TRIALS", "18"))
RATES = tuple(round(0.1 * (number + 1), 1) for number in range(-(-TRIALS // 6)))
SIZES = (8, 16, 32, 64, 128, 256)
FORM = [
    ("sweep_id", "s"),
    ("epoch", "4"),
    ("stop", "none"),
    ("seed", "5"),
    ("parallel", "3"),
    ("max_failed", "9999"),  # killed trainers fail
]
RANGE = [("learning_rate", "0.001..0.1 log"), ("method", "random"), ("trials", str(TRIALS))]
GRID = [
    *(("learning_rate", str(rate)) for rate in RATES),
    *(("hidden", str(hidden)) for hidden in SIZES),
    *(("method", "grid"), ("trials", str(TRIALS))),
]


def undisturbed(method):
    """Return the parameters that vary, in the order of the numbers of the trials."""
    if method is Method.RANDOM:
        space = {"learning_rate": Range(0.001, 0.1, log=True)}
        return [suggest(space, [], 5, number, method=method) for number in range(1, TRIALS + 1)]
    space = {"hidden": Choices(SIZES), "learning_rate": Choices(RATES)}
    points = [suggest(space, [], 5, number, method=method) for number in range(1, TRIALS + 1)]
    different = {tuple(point.values()) for point in points}
    assert len(different) == TRIALS
    assert different <= set(product(SIZES, RATES))
    return points
