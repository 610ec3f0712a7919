"""Pictures of the trials of a sweep, and what the form for a new one suggests."""

import pytest

from backend.domain.catalogue import Goal
from backend.domain.parameter import Parameter
from backend.domain.status import Status
from backend.web.views import plots
from backend.web.views.sweeps import best_chart, range_around, trial_rows
from tests.unit.sweeps.support import make_trial

PRUNED = {"status": Status.CANCELLED, "reason": "pruned"}


def test_best_so_far():
    values = [0.5, 0.8, 0.2, 0.3]
    trials = [make_trial(number, value) for number, value in enumerate(values, 1)]
    chart = best_chart(trials, Goal.MINIMIZE, 10)

    assert [mark.name for mark in chart.marks] == ["s-0001", "s-0002", "s-0003", "s-0004"]
    assert chart.marks[2].rank == 1
    corners = [tuple(map(float, corner.split(","))) for corner in chart.line.split(" ")]
    heights = [mark.points[0][1] for mark in chart.marks]
    assert corners[0][1] == pytest.approx(heights[0], abs=0.06)
    assert corners[-1][1] == pytest.approx(heights[2], abs=0.06)  # the best stays
    assert len(corners) == 4  # one step
    assert best_chart(trials[:1], Goal.MINIMIZE, 10) is None


def test_pruned_trials_are_faint_and_below():
    trials = [make_trial(1, 0.5), make_trial(2, 0.1, **PRUNED), make_trial(3, 0.2)]
    rows = trial_rows(trials, "loss")
    picture = plots.scatter(rows, "x", "loss", Goal.MINIMIZE)
    layers = plots.layers(picture.marks)

    assert [layer.names for layer in layers] == [["s-0002"], ["s-0001"], ["s-0003"]]
    assert [layer.style.endswith("faint") for layer in layers] == [True, False, False]
    for layer in layers:
        assert layer.path.count("M") == len(layer.names)


def test_failed_trials_have_no_value_in_pictures():
    (row,) = trial_rows([make_trial(1, 0.5, Status.FAILED)], "loss")

    assert row.values == {"x": 0.5, "loss": None}


RATE = Parameter("rate", "number", exclusive_minimum=0, maximum=10, log=True)
WIDTH = Parameter("width", "integer", minimum=1, maximum=100)


@pytest.mark.parametrize(
    ("parameter", "value", "ends"),
    [
        (RATE, 0.001, ("0.0001", "0.01")),
        (RATE, 5, ("0.5", "10")),
        (WIDTH, 5, ("2", "10")),
        (WIDTH, 80, ("40", "100")),
        (WIDTH, 1, ("1", "2")),
        (WIDTH, 0, ("", "")),
        (RATE, None, ("", "")),
        (Parameter("kind", "string"), "adam", ("", "")),
        (Parameter("on", "boolean"), True, ("", "")),
    ],
)
def test_a_range_around_a_value(parameter, value, ends):
    assert range_around(parameter, value) == ends
