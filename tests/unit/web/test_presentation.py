import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backend.domain.experiment import Experiment
from backend.domain.identifiers import experiment_id_problem
from backend.domain.status import Status
from backend.files.curve_table import Curve
from backend.web import presentation

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
    [(1234, "1,234"), (0.0123456, "0.01235"), (None, ""), ("text", "text"), (True, "True")],
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
    ("experiment_id", "following"),
    [("run-1", "run-2"), ("run-09", "run-10"), ("run", "run-2"), ("실험 9", "실험 10"), ("7", "8")],
)
def test_following_id(experiment_id, following):
    assert presentation.next_id(experiment_id) == following


def test_following_id_without_room():
    longest = "x" * 200

    assert presentation.next_id(longest) == longest
    assert experiment_id_problem(longest) is None


def test_curl_repeats_the_submission():
    hostile = replace(RUNNING, experiment_id='@it\'s; $(rm) "x"', dataset="<a b.npz")
    arguments = shlex.split(
        presentation.curl(hostile, "http://host/experiments").replace("\\\n", "")
    )

    assert arguments == [
        "curl",
        *("--form-string", "learning_rate=0.001"),
        *("--form-string", "epoch=20"),
        *("--form-string", 'experiment_id=@it\'s; $(rm) "x"'),
        *("--form-string", "dataset=<a b.npz"),
        "http://host/experiments",
    ]


def test_differing_and_best():
    assert presentation.differ([1, 1, 2])
    assert not presentation.differ([1, 1])
    assert presentation.best_loss([0.2, None, 0.1]) == 0.1
    assert presentation.best_loss([0.2, None]) is None
