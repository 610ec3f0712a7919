"""Stop rules: which trials are hopeless, from their curves."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.catalogue import Goal
from backend.sweeps.stopping import (
    Progress,
    Rule,
    StopRule,
    best_at,
    explain,
    promoted,
    should_stop,
)

ASHA = StopRule(Rule.ASHA, 3, 3, Goal.MINIMIZE)
MEDIAN = StopRule(Rule.MEDIAN, 2, 3, Goal.MINIMIZE)
MEDIAN_5 = StopRule(Rule.MEDIAN, 5, 3, Goal.MINIMIZE)
NONE = StopRule(Rule.NONE, 1, 3, Goal.MINIMIZE)


def live(*values):
    return Progress(values, may_stop=True)


def ended(*values):
    return Progress(values, may_stop=False)


def test_marks():
    assert ASHA.marks(81) == [3, 9, 27]
    assert ASHA.marks(53) == [3, 9]
    assert ASHA.marks(54) == [3, 9, 27]
    assert ASHA.marks(5) == []
    assert MEDIAN.marks(6) == [2, 3, 4, 5]
    assert NONE.marks(81) == []
    assert len(MEDIAN.marks(100_000)) < 400


def test_best_so_far_at_marks():
    epochs, values = [1, 2, 3, 4, 5], [5.0, 3.0, None, 4.0, 1.0]

    assert best_at(epochs, values, [1, 3, 5, 9], Goal.MINIMIZE) == (5.0, 3.0, 1.0)
    assert best_at(epochs, values, [1, 3, 5, 9], Goal.MAXIMIZE) == (5.0, 5.0, 5.0)
    assert best_at([1, 2], [None, None], [1, 2], Goal.MINIMIZE) == (None, None)
    assert best_at([], [], [1], Goal.MINIMIZE) == ()


def test_asha_keeps_the_best_third_of_a_rung():
    curves = {number: live(float(number)) for number in range(1, 7)}

    assert set(should_stop(curves, ASHA, 81)) == {3, 4, 5, 6}


def test_asha_judges_a_trial_at_its_highest_rung():
    curves = {1: live(9.0, 1.0), 2: ended(1.0), 3: ended(2.0), 4: live(3.0)}

    assert set(should_stop(curves, ASHA, 81)) == {4}


def test_the_first_at_a_rung_goes_on():
    assert should_stop({1: live(5.0)}, ASHA, 81) == {}
    assert should_stop({1: live(None)}, ASHA, 81) == {}


def test_what_diverges_is_stopped():
    assert set(should_stop({1: live(None), 2: ended(5.0)}, ASHA, 81)) == {1}


def test_high_values_may_be_good():
    rule = StopRule(Rule.ASHA, 3, 3, Goal.MAXIMIZE)
    curves = {number: live(float(number)) for number in range(1, 4)}

    assert set(should_stop(curves, rule, 81)) == {1, 2}


def test_only_live_trials_are_stopped():
    assert should_stop({1: ended(9.0), 2: live(1.0), 3: ended(8.0)}, ASHA, 81) == {}


def test_a_trial_that_was_stopped_too_early_is_promoted():
    # At the second rung, 5 and 4 were compared with few; since then, worse ones have come.
    curves = {
        1: ended(9.0, 1.0),
        2: ended(9.0, 2.0),
        3: ended(9.0, 3.0),
        **{number: ended(9.0, 5.0) for number in range(4, 8)},
        8: ended(1.0),  # stopped at the first rung
    }

    assert promoted(curves, {2, 3, 4, 8}, ASHA, 81) == [2, 3]
    assert promoted(curves, {4, 8}, ASHA, 81) == []
    assert promoted(curves, set(), ASHA, 81) == []
    assert promoted(curves, {2}, MEDIAN, 81) == []
    higher = StopRule(Rule.ASHA, 3, 3, Goal.MAXIMIZE)
    assert promoted({1: ended(1.0, 2.0), 2: ended(1.0, None)}, {1, 2}, higher, 81) == [1]


def test_median_needs_others():
    others = {number: ended(1.0) for number in range(1, 8)}

    assert should_stop(others | {9: live(5.0)}, MEDIAN, 20) == {}
    assert set(should_stop(others | {8: ended(1.0), 9: live(5.0)}, MEDIAN, 20)) == {9}
    assert should_stop(others | {8: ended(1.0), 9: live(0.9)}, MEDIAN, 20) == {}


def test_without_a_rule_nothing_is_stopped():
    curves = {number: live(float(number)) for number in range(1, 9)}

    assert should_stop(curves, NONE, 81) == {}


def test_the_sentence_names_rung_and_values():
    curves = {1: live(5.0), 2: ended(1.0), 3: ended(2.0)}
    verdict = should_stop(curves, ASHA, 81)[1]

    assert explain(verdict, ASHA, "val_loss") == (
        "At epoch 3, val_loss was 5 at best; at most 1 was needed to be as good as the best 1 of "
        "the 3 trials that reached it."
    )
    assert "never a finite number" in explain(
        should_stop({1: live(None), 2: ended(5.0)}, ASHA, 81)[1], ASHA, "val_loss"
    )


PROGRESS = st.builds(
    Progress,
    st.lists(st.none() | st.floats(-1e9, 1e9), max_size=3).map(tuple),
    may_stop=st.booleans(),
)


@pytest.mark.parametrize("rule", [ASHA, MEDIAN, StopRule(Rule.ASHA, 1, 2, Goal.MAXIMIZE)])
@given(curves=st.dictionaries(st.integers(1, 50), PROGRESS, max_size=20))
def test_the_best_of_a_rung_is_never_stopped(rule, curves):
    stopped = should_stop(curves, rule, 81)
    sign = 1 if rule.goal is Goal.MINIMIZE else -1

    assert all(curves[number].may_stop for number in stopped)
    for index in range(3):
        column = {
            number: math.inf if one.values[index] is None else sign * one.values[index]
            for number, one in curves.items()
            if len(one.values) > index
        }
        best = [number for number in column if column[number] == min(column.values())]
        highest = [number for number in best if len(curves[number].values) == index + 1]
        assert not stopped.keys() & set(highest)


def simulate(rule, curves, parallel):
    """Train these curves epoch by epoch, `parallel` at a time; return epochs and the winner."""
    epochs = len(curves[0])
    marks = rule.marks(epochs)
    waiting, running, done = list(range(len(curves))), {}, {}
    spent = 0
    while waiting or running:
        while waiting and len(running) < parallel:
            running[waiting.pop(0)] = 0
        for number in list(running):
            running[number] += 1
            spent += 1
            if running[number] == epochs:
                done[number] = running.pop(number)
        lengths = running | done
        progress = {
            number: Progress(
                best_at(range(1, length + 1), curves[number][:length], marks, rule.goal),
                may_stop=number in running,
            )
            for number, length in lengths.items()
        }
        for number in should_stop(progress, rule, epochs):
            done[number] = running.pop(number)
    winner = min(done, key=lambda number: min(curves[number][: done[number]]))
    return spent, winner


def curve(generator, epochs=81):
    """Return losses that fall to a floor, faster for some, with noise."""
    floor, speed = generator.uniform(0.1, 1), generator.uniform(0.25, 0.5)
    return [
        floor + 2 * math.exp(-speed * epoch) + generator.gauss(0, 0.01) for epoch in range(epochs)
    ]


@pytest.mark.parametrize(("rule", "factor", "share"), [(ASHA, 4, 0.6), (MEDIAN_5, 1.8, 0.8)])
def test_rules_save_epochs_and_keep_the_winner(rule, factor, share):
    generator, same, spent, whole = random.Random(1), 0, 0, 0
    for _ in range(5):
        curves = [curve(generator) for _ in range(30)]
        best = min(range(30), key=lambda number: min(curves[number]))
        epochs, winner = simulate(rule, curves, 4)
        spent, whole = spent + epochs, whole + 81 * 30
        # As good as the same: the values of neighbours differ by less than their noise.
        same += min(curves[winner]) - min(curves[best]) < 0.03
    assert whole / spent >= factor
    assert same / 5 >= share
