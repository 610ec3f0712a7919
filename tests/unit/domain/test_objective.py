from types import SimpleNamespace

import pytest

from backend.domain.catalogue import Goal
from backend.domain.objective import goal_of, objective_of, warnings


def curve(**series):
    length = len(next(iter(series.values()), []))
    return SimpleNamespace(epochs=range(1, length + 1), series=series, points=length)


def codes(shown, last_row=None, *, is_live=False):
    if last_row is None:
        last_row = {name: values[-1] for name, values in shown.series.items() if values}
    found = warnings(shown, last_row, is_live=is_live)
    return [each.code.removeprefix("objective_") for each in found]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([3, 2, 1], []),
        ([3, 1, 2], []),
        ([-1, -2], []),
        ([1], []),
        ([None, 2, 1], []),
        ([1, None, 0.5], []),
        ([5e6, 4e6, 3e6], []),  # a large scale is no explosion
        ([0.5, 0.5, 0.5], ["not_improved"]),
        ([1, 2, 3], ["not_improved"]),
        ([0, 0], ["not_improved"]),
        ([-1, -1], ["not_improved"]),
        ([0.54, 0.55, 0.538], ["not_improved"]),
        ([1, 0.5, None], ["not_finite"]),
        ([None, None], ["not_finite"]),
        ([1e17, 1e9, 0.5], ["unstable"]),
        ([1, 1e17], ["unstable", "not_improved"]),
        ([1e308, -1e308], ["unstable"]),
    ],
)
@pytest.mark.parametrize("name", ["loss", "val_loss", "train_loss", "MSE"])
def test_warnings(name, losses, expected):
    assert codes(curve(**{name: losses})) == expected


def test_without_an_objective():
    assert codes(curve()) == []
    assert codes(curve(seconds=[1, 1], depth=[2, 2])) == []
    assert codes(curve(seconds=[1, 1]), {"error": None, "note": None}) == []


def test_loss_that_was_never_a_number():
    assert codes(curve(), {"epoch": 3, "loss": None}) == ["not_finite"]
    assert codes(curve(loss=[1, 0.5]), {"loss": "diverged"}) == ["not_finite"]


def test_last_row_without_the_objective():
    assert codes(curve(val_loss=[1, 0.5, None]), {"epoch": 3, "loss": 1}) == []


def test_high_is_good():
    assert codes(curve(accuracy=[0.1, 0.9, 0.5])) == []
    assert codes(curve(accuracy=[0.1, 0.1, 0.05])) == ["not_improved"]
    assert codes(curve(val_acc=[0.995, 0.999])) == []


def test_validation_decides_and_training_shows_an_explosion():
    assert codes(curve(loss=[3, 2, 1], val_loss=[3, 4, 5])) == ["not_improved"]
    assert codes(curve(loss=[3e17, 2, 1], val_loss=[3, 2, 1])) == ["unstable"]


def test_a_live_experiment_gets_time():
    assert codes(curve(loss=[1, 1, 1]), is_live=True) == []
    assert codes(curve(loss=[1] * 10), is_live=True) == ["not_improved"]
    assert codes(curve(loss=[1, None]), is_live=True) == ["not_finite"]


def test_messages_name_metric_value_and_epoch():
    def message(losses):
        (warning,) = warnings(curve(loss=losses), {"loss": losses[-1]}, is_live=False)
        return warning.message

    assert message([2.5, 4]) == "loss has not improved since epoch 1: it was 2.5, and 4 at epoch 2."
    assert "0.538 at best (epoch 2)" in message([0.54, 0.538, 0.539])
    assert "loss was 1e+17 at epoch 1" in message([1e17, 1])
    assert "not a finite number at the last epoch" in message([1, None])


@pytest.mark.parametrize(
    ("metric", "goal"),
    [
        ("loss", Goal.MINIMIZE),
        ("val_loss", Goal.MINIMIZE),
        ("error_rate", Goal.MINIMIZE),
        ("RMSE", Goal.MINIMIZE),
        ("accuracy", Goal.MAXIMIZE),
        ("val_acc", Goal.MAXIMIZE),
        ("F1", Goal.MAXIMIZE),
        ("seconds", None),
        ("epoch", None),
        ("heatmap", None),
        ("accumulated", None),
    ],
)
def test_goals(metric, goal):
    assert goal_of(metric) is goal


def test_objective():
    assert objective_of(["loss", "val_loss"]) == "val_loss"
    assert objective_of(["accuracy", "loss"]) == "loss"
    assert objective_of(["seconds", "accuracy"]) == "accuracy"
    assert objective_of(["seconds"]) is None


def test_model_names_its_objective():
    """A classifier's loss may rise while its score, the objective of its model, improves."""
    shown = curve(val_loss=[0.5, 0.6, 0.7], score=[0.1, 0.5, 0.6])
    last = {"val_loss": 0.7, "score": 0.6}
    goals = {"score": Goal.MAXIMIZE}

    assert [one.code for one in warnings(shown, last, is_live=False)] == ["objective_not_improved"]
    assert warnings(shown, last, is_live=False, goals=goals) == []
    assert warnings(shown, last, is_live=False, goals={"score": Goal.MINIMIZE}) != []
    assert objective_of(["val_loss", "score"], goals) == "score"
    assert goal_of("score") is None
