"""The stop rules on recorded trainings: how many epochs they save, how often the winner stays.

`bench.sweeps.record_curves` has recorded the curves. Each sweep takes some of them in a random
order and trains them epoch by epoch, several at the same time. What the rules see, and what they
decide, is computed by the functions that the driver calls.
"""

import math
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from backend.domain.catalogue import Goal
from backend.sweeps.stopping import Progress, Rule, StopRule, best_at, promoted, should_stop
from bench.figures import Row

FILE = Path(__file__).parent / "digits_curves.npz"
SWEEPS, QUICK_SWEEPS = 200, 20
TRIALS, PARALLEL = 64, 4
RULES = (  # with the epochs that are to be saved, as a factor, and the share of the same winners
    (StopRule(Rule.ASHA, 3, 3, Goal.MINIMIZE), 6.7, 0.87),
    (StopRule(Rule.MEDIAN, 5, 3, Goal.MINIMIZE), 2.3, 1.0),
)

Curve = Sequence[float | None]


@dataclass(frozen=True)
class Replay:
    """The result of a sweep.

    Attributes:
        epochs: that were trained.
        winner: the place of the curve with the best value.
    """

    epochs: int
    winner: int


@cache
def curves() -> list[list[float | None]]:
    """Return the recorded losses by run and epoch; None where they were not finite."""
    table = np.load(FILE)["val_loss"].tolist()
    return [[each if math.isfinite(each) else None for each in row] for row in table]


def replay(rule: StopRule, chosen: Sequence[Curve], *, promote: bool = False) -> Replay:
    """Train curves, those of lower places first, as a sweep with this rule would.

    Args:
        rule: of the sweep.
        chosen: the whole curve of each trial.
        promote: whether pruned trials that were stopped too early go on once all others have
            ended, as the driver lets them.
    """
    epochs = len(chosen[0])
    marks = rule.marks(epochs)
    waiting, running = list(range(len(chosen))), dict[int, int]()
    ended, pruned, again = dict[int, int](), dict[int, int](), set[int]()
    reached: dict[int, tuple[float | None, ...]] = {}
    spent = 0
    while True:
        while waiting and len(running) < PARALLEL:
            running[waiting.pop(0)] = 0
        if not running and promote:
            seen = {place: Progress(values, may_stop=False) for place, values in reached.items()}
            for place in promoted(seen, pruned.keys(), rule, epochs)[:PARALLEL]:
                running[place] = pruned.pop(place)
                again.add(place)
        if not running:
            break
        for place in list(running):
            running[place] += 1
            spent += 1
            if running[place] in marks:
                values = chosen[place][: running[place]]
                reached[place] = best_at(range(1, len(values) + 1), values, marks, rule.goal)
            if running[place] == epochs:
                ended[place] = running.pop(place)
        progress = {
            place: Progress(values, may_stop=place in running and place not in again)
            for place, values in reached.items()
        }
        for place in should_stop(progress, rule, epochs):
            pruned[place] = running.pop(place)
    lengths = ended | pruned
    winner = min(lengths, key=lambda place: _best(chosen[place][: lengths[place]]))
    return Replay(spent, winner)


def _best(values: Curve) -> float:
    return min((value for value in values if value is not None), default=math.inf)


def figures(rule: StopRule, sweeps: int, *, promote: bool = False) -> tuple[float, float, float]:
    """Return the factor of saved epochs, the share of the same winners, and the mean regret.

    The regret is how much worse the winner is, as a share of the best value.
    """
    spent, same, regrets = 0, 0, list[float]()
    for seed in range(sweeps):
        chosen = random.Random(seed).sample(curves(), TRIALS)
        best = min(range(TRIALS), key=lambda place: _best(chosen[place]))
        result = replay(rule, chosen, promote=promote)
        spent += result.epochs
        same += result.winner == best
        regrets.append(_best(chosen[result.winner]) / _best(chosen[best]) - 1)
    whole = sweeps * TRIALS * len(curves()[0])
    return whole / spent, same / sweeps, statistics.fmean(regrets)


def rows(quick: bool) -> Iterator[Row]:
    """Yield what each rule saves, what it costs, and whether promotion helps."""
    sweeps = QUICK_SWEEPS if quick else SWEEPS
    for rule, factor, share in RULES:
        is_default = rule.rule is Rule.ASHA  # which promotes unless it is told not to
        for promote in (True, False) if is_default else (False,):
            saved, same, regret = figures(rule, sweeps, promote=promote)
            name = f"`{rule.rule}`, min_epoch {rule.min_epoch}"
            name += f", eta {rule.eta}" if rule.rule is Rule.ASHA else ""
            has_goal = promote is is_default
            name += "" if has_goal else ", promote=false"
            yield Row(
                f"{name}: fewer epochs, same winner",
                f"{saved:.1f}x, {same:.0%} (a loss {regret:.1%} higher)",
                goal=f">= {factor}x, >= {share:.0%}" if has_goal else "",
                met=saved >= factor and same >= share if has_goal else None,
            )


def how() -> str:
    """Return how the rules are measured."""
    return (
        f"{SWEEPS} sweeps of {TRIALS} trials, {PARALLEL} at the same time, drawn from "
        f"{len(curves())} recorded trainings of the digits autoencoder, {len(curves()[0])} epochs "
        "each."
    )
