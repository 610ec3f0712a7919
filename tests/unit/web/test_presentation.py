import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backend.domain.catalogue import Goal
from backend.domain.experiment import Experiment, Parameters, Transition
from backend.domain.identifiers import experiment_id_problem
from backend.domain.objective import Extreme
from backend.domain.status import Status
from backend.files.curve_table import Curve
from backend.web.views import presentation
from backend.web.views.names import next_id, renamed, shared_start

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUNNING = Experiment(
    id=1,
    experiment_id="first",
    uid="uid",
    model="autoencoder",
    learning_rate=0.001,
    epoch=20,
    dataset=None,
    status=Status.RUNNING,
    attempt=1,
    job="job",
    reason=None,
    message=None,
    remedy=None,
    created_at=NOW,
    updated_at=NOW,
    started_at=NOW,
    finished_at=None,
    cancel_requested_at=None,
    cancel_requested_by=None,
)


def test_summary():
    curve = Curve([1, 5], {"loss": [0.4, 0.1], "val_loss": [0.5, None], "seconds": [2, 4]}, 5)
    summary = presentation.summary(RUNNING, curve)

    assert (summary.epochs_done, summary.percent, summary.time_left) == (5, 25, "45 s")
    assert (summary.loss, summary.val_loss) == (0.1, 0.5)
    assert summary.spark == "2.0,2.0 118.0,26.0"
    assert summary.is_live


def test_summary_without_curve():
    summary = presentation.summary(RUNNING, Curve([], {}, 0))

    assert (
        summary.epochs_done,
        summary.percent,
        summary.time_left,
        summary.loss,
        summary.spark,
    ) == (0, 0, None, None, "")


def test_epoch_beyond_the_last():
    summary = presentation.summary(RUNNING, Curve([900], {"loss": ["low"]}, 1))

    assert (summary.epochs_done, summary.percent, summary.loss) == (20, 100, None)


@pytest.mark.parametrize("status", [Status.QUEUED, Status.SUCCEEDED])
def test_time_left_only_while_running(status):
    assert presentation.time_left(replace(RUNNING, status=status), 5, [1.0]) is None


@pytest.mark.parametrize(
    ("ys", "points"),
    [
        ([4, 2, 1], "2.0,2.0 60.0,14.0 118.0,26.0"),  # by factors: positive values
        ([2, 0, -2], "2.0,2.0 60.0,14.0 118.0,26.0"),
        ([1, 1, 1], "2.0,2.0 60.0,2.0 118.0,2.0"),
        ([1, None, float("nan")], ""),
        ([True, "2", [3]], ""),
    ],
)
def test_sparkline(ys, points):
    assert presentation.sparkline([1, 2, 3], ys) == points


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (45.4, "45 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (3600 + 59, "1 h"),
        (3 * 3600 + 20 * 60 + 9, "3 h 20 min"),
        (2 * 86400 + 4 * 3600, "2 d 4 h"),
    ],
)
def test_duration(seconds, text):
    assert presentation.duration(seconds) == text


def test_run_time_ends_with_attempt():
    ended = replace(RUNNING, finished_at=NOW + timedelta(seconds=90))

    assert presentation.training_time(ended) == "1 min 30 s"
    assert presentation.training_time(replace(ended, started_at=None)) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234, "1,234"),
        (0.0123456, "0.01235"),
        (1.02e-7, "1.02e-7"),
        (42772.4, "42,772"),
        (-1.5e5, "-150,000"),
        (2.862e17, "2.862e+17"),
        (10**20, "100,000,000,000,000,000,000"),
        (None, ""),
        ("text", "text"),
        (True, "True"),
    ],
)
def test_number(value, text):
    assert presentation.number(value) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (23_000_000, "23 MB"), (10**13, "10 TB")],
)
def test_size(size_bytes, text):
    assert presentation.size(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "done", "text"),
    [
        ([1.0] * 50, 100, "1 min 40 s"),
        ([30.0, 1.0, 1.0], 3, "3 min 17 s"),  # the first epoch warms up
        ([30.0, 1.0], 2, "51 min 9 s"),  # too few to leave it out
        ([1.0, None, "slow", -1, 3.0], 100, "3 min 20 s"),
        ([None], 100, None),
        ([], 100, None),
        ([1.0], 200, None),
    ],
)
def test_time_left(seconds, done, text):
    assert presentation.time_left(replace(RUNNING, epoch=200), done, seconds) == text


def test_time_left_comes_from_recent_epochs():
    sample = Curve([1, 20, 40], {"seconds": [90, 1, 30]}, 40)  # of which extremes are a third
    recent = Curve(range(1, 41), {"seconds": [1] * 40}, 40)
    summary = presentation.summary(replace(RUNNING, epoch=100), sample, recent)

    assert summary.time_left == "1 min"


@pytest.mark.parametrize(
    ("experiment_id", "following"),
    [
        ("run-1", "run-2"),
        ("run-09", "run-10"),
        ("run1", "run2"),
        ("run", "run-2"),
        ("실험 9", "실험 10"),
        ("7", "8"),
        ("digits-lr-0.1", "digits-lr-0.1-2"),
        ("digits-lr-0.1-2", "digits-lr-0.1-3"),
        ("lr-1", "lr-1-2"),
        ("lr=10", "lr=10-2"),
        ("lr 1e-3", "lr 1e-3-2"),
        ("lr-0,1", "lr-0,1-2"),
        ("epochs-20", "epochs-20-2"),
        ("resnet50", "resnet50-2"),
        ("night 2024-02-29", "night 2024-02-29-2"),
        ("demo-20240229-120000", "demo-20240229-120000-2"),
    ],
)
def test_next_id(experiment_id, following):
    assert next_id(experiment_id) == following


@pytest.mark.parametrize(
    ("experiment_id", "following"),
    [
        ("digits 20", "digits 20-2"),  # epochs
        ("mnist_10", "mnist_10-2"),  # learning rate
        ("part-3", "part-3-2"),  # data set
        ("run-20", "run-21"),  # says itself that it counts
        ("digits-4", "digits-5"),
        ("lr-0.1-20", "lr-0.1-21"),  # a counter that was added before
    ],
)
def test_next_id_does_not_count_parameters(experiment_id, following):
    parameters = Parameters("autoencoder", 10.0, 20, "Part-3.csv")

    assert next_id(experiment_id, parameters) == following


@pytest.mark.parametrize("longest", ["x" * 200, "한" * 85, "x" * 198 + "-9"])
def test_next_id_without_room(longest):
    assert experiment_id_problem(longest) is None
    following = next_id(longest)

    assert following != longest
    assert experiment_id_problem(following) is None


def test_curl_submits_the_same_under_a_new_id():
    parameters = replace(RUNNING, dataset="<a b.npz").parameters
    command = presentation.curl(parameters, '@it\'s; $(rm) "x"', "http://host/experiments")

    assert shlex.split(command.replace("\\\n", "")) == [
        "curl",
        *("--form-string", "learning_rate=0.001"),
        *("--form-string", "epoch=20"),
        *("--form-string", 'experiment_id=@it\'s; $(rm) "x"'),
        *("--form-string", "dataset=<a b.npz"),
        "http://host/experiments",
    ]


def test_curl_with_tokens():
    command = presentation.curl(RUNNING.parameters, "second", "http://host/", needs_token=True)

    assert '-H "Authorization: Bearer $TOKEN"' in command


def test_differing():
    assert presentation.differ([1, 1, 2])
    assert not presentation.differ([1, 1])


def test_best_values():
    curves = [
        Curve([1, 2, 3], {"loss": [3, 1, 2], "accuracy": [0.1, 0.9, 0.5], "seconds": [1, 1, 1]}, 3),
        Curve([1, 2], {"loss": [None, 2]}, 2),
    ]
    best = presentation.best_values(curves)

    assert best == {
        "loss": [Extreme(2, 1), Extreme(2, 2)],
        "accuracy": [Extreme(2, 0.9), None],
    }
    assert presentation.winner("loss", best["loss"]) == 1
    assert presentation.winner("accuracy", [Extreme(1, 0.5), Extreme(1, 0.75)]) == 0.75
    assert presentation.winner("accuracy", best["accuracy"]) is None


def test_waiting_time_is_that_of_the_current_attempt():
    history = [
        Transition(1, None, "submitting", None, NOW),
        Transition(1, "running", "failed", None, NOW + timedelta(seconds=50)),
        Transition(2, "failed", "submitting", None, NOW + timedelta(seconds=100)),
        Transition(2, "submitting", "queued", None, NOW + timedelta(seconds=101)),
    ]
    started = replace(RUNNING, started_at=NOW + timedelta(seconds=20))
    retried = replace(RUNNING, attempt=2, started_at=NOW + timedelta(seconds=225))
    cancelled = replace(RUNNING, started_at=None, finished_at=NOW + timedelta(seconds=30))

    assert presentation.waiting_time(started, history) == "20 s"
    assert presentation.waiting_time(retried, history) == "2 min 5 s"
    assert presentation.waiting_time(cancelled, history) == "30 s"
    assert presentation.waiting_time(replace(RUNNING, attempt=3), history) is None


def test_time_in_a_queue_after_a_preemption_is_no_training():
    def at(seconds):
        return NOW + timedelta(seconds=seconds)

    history = [
        Transition(1, None, "submitting", None, at(0)),
        Transition(1, "submitting", "queued", None, at(1)),
        Transition(1, "queued", "running", None, at(10)),
        Transition(1, "running", "queued", "preempted", at(30)),
        Transition(1, "queued", "running", None, at(90)),
        Transition(1, "running", "queued", "preempted", at(95)),
        Transition(1, "queued", "failed", "job_deleted", at(100)),
    ]
    ended = replace(RUNNING, started_at=at(10), finished_at=at(100))

    assert presentation.training_time(ended, history) == "25 s"
    assert presentation.waiting_time(ended, history) == "1 min 15 s"
    assert presentation.training_time(ended) == "1 min 30 s"
    waits = replace(ended, finished_at=at(50))
    assert presentation.training_time(waits, history[:4]) == "20 s"


def test_objective_of_a_curve():
    curve = Curve([1], {"loss": [1], "macro_f1": [0.5]}, 1)

    assert presentation.objective(curve) == ("loss", Goal.MINIMIZE)
    assert presentation.objective(curve, {"macro_f1": Goal.MAXIMIZE}) == ("macro_f1", "maximize")
    assert presentation.objective(Curve([1], {"x": [1]}, 1)) is None


@pytest.mark.parametrize(
    ("names", "left"),
    [
        (["digits-lr-0.1", "digits-lr-0.2"], ["0.1", "0.2"]),
        (["digits-lr-0.01", "digits-lr-0.02"], ["0.01", "0.02"]),
        (["s1-0001", "s1-0002"], ["s1-0001", "s1-0002"]),  # short as they are
        (["long-series", "long-series-2"], ["long-series", "long-series-2"]),
        (["a longer name ", "a longer name b"], ["a longer name ", "a longer name b"]),
        (["손글씨 실험 1", "손글씨 실험 2"], ["1", "2"]),
        (["one", "two"], ["one", "two"]),
        (["", "x"], ["", "x"]),
    ],
)
def test_shared_start_of_names(names, left):
    assert [name[shared_start(names) :] for name in names] == left


@pytest.mark.parametrize(
    ("experiment_id", "new", "expected"),
    [
        ("digits-lr-0.1", {"learning_rate": "0.05"}, "digits-lr-0.05"),
        ("digits-lr-0.1-2", {"learning_rate": " 1e-3 "}, "digits-lr-1e-3-2"),
        ("digits-lr-0.1", {"learning_rate": "0.10"}, "digits-lr-0.1"),
        ("digits-lr-0.1", {"learning_rate": "abc"}, "digits-lr-0.1"),
        ("digits-0.15", {"learning_rate": "0.05"}, "digits-0.15"),
        ("v1.0.1", {"learning_rate": "0.05"}, "v1.0.1"),
        ("epochs-20-lr-0.1", {"epoch": "40", "learning_rate": "0.2"}, "epochs-40-lr-0.2"),
        ("run-20", {"epoch": "40"}, "run-20"),
        ("bs64", {"batch_size": "128", "unknown": "1"}, "bs128"),
    ],
)
def test_names_say_no_other_value(experiment_id, new, expected):
    old = {"learning_rate": 0.1, "epoch": 20, "batch_size": 64, "flag": True}
    assert renamed(experiment_id, old, new) == expected
