"""Pictures of many experiments."""

import math

import pytest

from backend.domain.catalogue import Goal
from backend.web.views import plots
from backend.web.views.plots import Row


def rows(*values):
    return [Row(f"run-{number}", f"/{number}", one) for number, one in enumerate(values, 1)]


SOME = rows(
    {"lr": 0.001, "kind": "adam", "loss": 0.3},
    {"lr": 0.1, "kind": "sgd", "loss": 0.1},
    {"lr": 0.01, "kind": "adam", "loss": 0.2},
    {"lr": 0.01, "kind": None, "loss": None},
)


def test_axes():
    axis = plots.axis_of("lr", [0.001, 0.1, None])
    assert axis.is_log
    assert [axis.share(value) for value in (0.001, 0.01, 0.1)] == pytest.approx([0, 0.5, 1])
    assert [axis.share(value) for value in (None, "x", 0, math.nan, True)] == [None] * 5
    assert [label for _, label in axis.ticks()] == ["0.001", "0.01", "0.1"]
    linear = plots.axis_of("x", [-1, 1])
    assert (linear.is_log, linear.share(0)) == (False, 0.5)
    assert [label for _, label in linear.ticks()] == ["-1", "-0.5", "0", "0.5", "1"]
    texts = plots.axis_of("kind", ["sgd", "adam", "sgd", True])
    assert texts.choices == ("True", "adam", "sgd")
    assert plots.axis_of("x", [7, 7]).share(7) == 0.5
    assert plots.axis_of("x", [None, ""]) is None


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.00042, 0.0071], ["0.0005", "0.001", "0.002", "0.005"]),
        ([0.0021, 0.0032], ["0.0021", "0.0032"]),
        ([1, 8], ["1", "2", "5"]),
        ([3, 3], ["3"]),
        ([1, 1000], ["1", "10", "100", "1000"]),
    ],
)
def test_labels_of_a_logarithmic_axis(values, labels):
    axis = plots.axis_of("lr", values, log_ratio=1.0)
    assert [label for _, label in axis.ticks()] == labels


@pytest.mark.parametrize(
    "values",
    [
        [1e300, -1e300],
        [5e-324, 1e300],
        [1.0, 1.0 + 1e-16],
        [1e16, 1e16 + 2],
        [0, 5e-324],
        [1, 2**63],
        [10**400, 1],
    ],
)
def test_extreme_numbers(values):
    axis = plots.axis_of("x", values)
    assert all(0 <= axis.share(value) <= 1 for value in values if axis.share(value) is not None)
    assert 1 <= len(axis.ticks()) <= 3 * plots.MAX_TICKS


def test_ranks():
    assert plots.ranks([1, 2, 3, 4, 5, None], Goal.MINIMIZE) == [1, 2, 3, 4, 5, 0]
    assert plots.ranks([1, 2, 3, 4, 5, "x"], Goal.MAXIMIZE) == [5, 4, 3, 2, 1, 0]
    assert plots.ranks([7, 7, 7], None) == [1, 1, 1]


def test_scatter():
    plot = plots.scatter(SOME, "lr", "loss", Goal.MINIMIZE)

    assert [mark.name for mark in plot.marks] == ["run-1", "run-2", "run-3"]
    assert plot.missing == 1
    first, second, third = (mark.points[0] for mark in plot.marks)
    assert first == (plots.LEFT, plots.TOP)
    assert second == (plots.WIDTH - plots.RIGHT, plots.HEIGHT - plots.BOTTOM)
    assert third == pytest.approx(((first[0] + second[0]) / 2, (first[1] + second[1]) / 2))
    assert plot.marks[1].rank == 1
    assert plot.marks[0].title == "run-1: 0.001, 0.3"
    assert plots.scatter(SOME, "lr", "none", None) is None


def test_axes_that_are_logarithmic_by_a_factor_of_their_own():
    near = rows({"lr": 0.001, "loss": 0.3}, {"lr": 0.004, "loss": 0.1}, {"lr": 0.002, "loss": 0.2})
    middle = (plots.LEFT + plots.WIDTH - plots.RIGHT) / 2

    linear = plots.scatter(near, "lr", "loss", None).marks[2].points[0][0]
    logarithmic = plots.scatter(near, "lr", "loss", None, log_ratios={"lr": 1.0}).marks[2]
    assert linear < middle == pytest.approx(logarithmic.points[0][0])
    axis, _ = plots.parallel(near, ["lr"], "loss", None, log_ratios={"lr": 1.0}).axes
    assert [tick.label for tick in axis.ticks] == ["0.001", "0.002"]


def test_parallel_coordinates():
    plot = plots.parallel(SOME, ["lr", "kind", "none"], "loss", Goal.MINIMIZE)

    assert [axis.column for axis in plot.axes] == ["lr", "kind", "loss"]
    assert [mark.name for mark in plot.marks] == ["run-1", "run-3", "run-2"]  # the best on top
    assert [len(mark.points) for mark in plot.marks] == [3, 3, 3]
    assert plot.missing == 1
    assert plots.parallel(SOME[:1], ["lr", "kind"], "loss", None) is None


def test_groups():
    found = plots.groups(SOME, [["a"], ["b"], ["a", "b"], ["c"]], "loss", Goal.MINIMIZE)

    assert [(one.value, one.size, one.best) for one in found] == [
        ("b", 2, 0.1),
        ("a", 2, 0.2),
        ("c", 1, None),
    ]
    assert found[0].mean == pytest.approx(0.15)
    assert (found[1].best_name, found[1].best_url) == ("run-3", "/3")
    highest = plots.groups(SOME, [["a"], ["b"], ["a"], []], "loss", Goal.MAXIMIZE)
    assert [(one.value, one.best) for one in highest] == [("a", 0.3), ("b", 0.1)]
