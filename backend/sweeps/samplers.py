"""Which parameters a trial of a sweep gets. Pure: the same rows lead to the same suggestion.

`grid`, `random` and `qmc` depend on the number of the trial alone, so that trials may be suggested
in any order, by any process. `tpe` depends on the trials so far, too; see `tpe.py`.
"""

import random
from collections.abc import Sequence
from enum import StrEnum
from itertools import count, islice

from backend.domain.catalogue import Goal
from backend.domain.parameter import Value
from backend.domain.sweeps.sweep import Trial
from backend.sweeps.spaces import Space


class Method(StrEnum):
    """How the parameters of trials are chosen."""

    GRID = "grid"
    RANDOM = "random"
    QMC = "qmc"
    TPE = "tpe"


def suggest(
    space: Space,
    history: Sequence[Trial],
    seed: int,
    number: int,
    *,
    method: Method,
    goal: Goal = Goal.MINIMIZE,
) -> dict[str, Value]:
    """Return the values of a trial for every parameter that varies.

    Args:
        space: what varies.
        history: the other trials so far, live ones included, in the order of their numbers.
        seed: of the sweep.
        number: of the trial, from 1.
        method: how to choose.
        goal: which values of the objective are good.
    """
    match method:
        case Method.GRID:
            return _grid(space, number)
        case Method.RANDOM:
            return _random(space, seed, number)
        case Method.QMC:
            return _halton(space, seed, number)
        case Method.TPE:
            # Imported here: Optuna takes a second and 40 MB, which only such a sweep needs.
            from backend.sweeps import tpe

            return tpe.suggest(space, history, seed, number, goal)


def _grid(space: Space, number: int) -> dict[str, Value]:
    """Return a point of the grid; the last parameter varies fastest."""
    values, rest = {}, number - 1
    for name in reversed(list(space)):
        rest, index = divmod(rest, space[name].count or 1)
        values[name] = space[name].value(index)
    return {name: values[name] for name in space}


def _random(space: Space, seed: int, number: int) -> dict[str, Value]:
    generator = random.Random(f"{seed}-{number}")  # noqa: S311  (not for secrets)
    return {name: dimension.at(generator.random()) for name, dimension in space.items()}


def _halton(space: Space, seed: int, number: int) -> dict[str, Value]:
    """Return a point of a Halton sequence, shifted at random (Cranley and Patterson, 1976)."""
    shifts = random.Random(f"{seed}-shifts")  # noqa: S311  (not for secrets)
    return {
        name: dimension.at((_radical_inverse(number, prime) + shifts.random()) % 1.0)
        for (name, dimension), prime in zip(space.items(), _primes(len(space)), strict=True)
    }


def _radical_inverse(number: int, base: int) -> float:
    """Return a number whose digits behind the point are those of `number`, in reverse."""
    inverse, place = 0.0, 1.0
    while number:
        place /= base
        number, digit = divmod(number, base)
        inverse += digit * place
    return inverse


def _primes(number: int) -> list[int]:
    candidates = (one for one in count(2) if all(one % two for two in range(2, int(one**0.5) + 1)))
    return list(islice(candidates, number))
