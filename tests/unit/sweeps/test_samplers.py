"""Samplers: same rows, same suggestion; and TPE finds what random search does not."""

import statistics
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.catalogue import Goal
from backend.domain.status import Status
from backend.sweeps.samplers import Method, suggest
from backend.sweeps.spaces import Choices, Range, grid_size
from tests.unit.sweeps.support import make_trial

SPACE = {
    "depth": Range(1, 9, is_integer=True),
    "kind": Choices(("a", "b", "c")),
    "rate": Range(1e-4, 1e-1, log=True),
}
GRID = {"a": Choices((1, 2, 3)), "b": Range(0.0, 1.0, step=0.5), "c": Range(1, 2, is_integer=True)}


def run(method, trials, objective, seed=1, space=SPACE, goal=Goal.MINIMIZE):
    """Return the trials of a sweep without parallel ones."""
    history = []
    for number in range(1, trials + 1):
        values = suggest(space, history, seed, number, method=method, goal=goal)
        history.append(make_trial(number, objective(**values), parameters=values))
    return history


def test_a_grid_holds_each_point_once():
    size = grid_size(GRID)
    points = [suggest(GRID, [], 0, number, method=Method.GRID) for number in range(1, size + 1)]

    expected = set(product((1, 2, 3), (0.0, 0.5, 1.0), (1, 2)))
    assert len(points) == size == 18
    assert {tuple(point.values()) for point in points} == expected


@pytest.mark.parametrize("method", Method)
def test_the_same_rows_lead_to_the_same_suggestion(method):
    space = GRID if method is Method.GRID else SPACE
    history = [
        make_trial(number, number / 7, parameters=suggest(space, [], 3, number, method=Method.QMC))
        for number in range(1, 18)
    ]
    first = suggest(space, history, 7, 18, method=method)

    assert first == suggest(space, list(history), 7, 18, method=method)
    assert list(first) == list(space)


@pytest.mark.parametrize("method", [Method.RANDOM, Method.QMC, Method.TPE])
def test_another_seed_leads_to_another_suggestion(method):
    assert suggest(SPACE, [], 1, 1, method=method) != suggest(SPACE, [], 2, 1, method=method)


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 9999), st.sampled_from([Method.RANDOM, Method.QMC])
)
def test_suggestions_are_inside(seed, number, method):
    values = suggest(SPACE, [], seed, number, method=method)

    assert 1 <= values["depth"] <= 9
    assert isinstance(values["depth"], int)
    assert values["kind"] in "abc"
    assert 1e-4 <= values["rate"] <= 1e-1


def test_qmc_fills_the_space_evenly():
    space = {"x": Range(0.0, 1.0), "y": Range(0.0, 1.0)}
    points = [suggest(space, [], 5, number, method=Method.QMC) for number in range(1, 65)]
    cells = {(int(4 * point["x"]), int(4 * point["y"])) for point in points}

    assert len(cells) == 16  # 64 random points leave one of 16 cells empty in a fourth of cases


def test_tpe_finds_more_than_random_search():
    def objective(x, y):
        return (x - 0.3) ** 2 + (y - 0.8) ** 2

    space = {"x": Range(0.0, 1.0), "y": Range(0.0, 1.0)}

    def best(method):
        runs = [run(method, 30, objective, seed, space) for seed in range(3)]
        return statistics.median(min(trial.value for trial in trials) for trials in runs)

    assert best(Method.TPE) < best(Method.RANDOM) / 2


def test_tpe_maximizes():
    trials = run(
        Method.TPE, 40, lambda x: -((x - 0.3) ** 2), 3, {"x": Range(0.0, 1.0)}, Goal.MAXIMIZE
    )

    assert abs(max(trials, key=lambda trial: trial.value).parameters["x"] - 0.3) < 0.05


def test_tpe_takes_any_history():
    values = suggest(SPACE, [], 1, 1, method=Method.RANDOM)
    odd = [
        make_trial(1, 1.0, parameters=values),
        make_trial(2, None, parameters=values),
        make_trial(3, None, Status.RUNNING, parameters=values),
        make_trial(4, None, Status.FAILED, parameters=values),
        make_trial(5, 2.0, Status.CANCELLED, reason="pruned", parameters=values),
        make_trial(6, None, Status.CANCELLED, reason="pruned", parameters=values),
        make_trial(7, 2.0, Status.CANCELLED, parameters=values),
        make_trial(8, 1.0, parameters={"kind": "z"}),  # a damaged row
    ]

    assert suggest(SPACE, odd * 4, 1, 9, method=Method.TPE).keys() == SPACE.keys()


def test_parallel_suggestions_differ():
    history = run(Method.TPE, 15, lambda depth, kind, rate: depth + rate)
    seen = []
    for number in range(16, 20):
        values = suggest(SPACE, history, 1, number, method=Method.TPE)
        history.append(make_trial(number, None, Status.RUNNING, parameters=values))
        seen.append(values["rate"])

    assert len(set(seen)) == 4


def test_importances():
    from backend.sweeps import tpe

    trials = run(Method.RANDOM, 60, lambda depth, kind, rate: depth + 0.001 * rate)
    found = tpe.importances(SPACE, trials, Goal.MINIMIZE)

    assert found.keys() == SPACE.keys()
    assert sum(found.values()) == pytest.approx(1)
    assert found["depth"] > 0.8
    assert tpe.importances(SPACE, trials[:2], Goal.MINIMIZE) == {}
