"""A Job is there, and the database knows nothing of it."""

import json
from dataclasses import replace

import pytest

from backend.domain.attempt import Attempt
from backend.domain.status import Status
from backend.experiments import adoption as module
from backend.experiments.adoption import Adoption
from backend.launchers.base import Observation, Phase
from tests.unit.test_experiments import PARAMETERS

AN_ATTEMPT = Attempt("first", "0123456789abcdef" * 2, "autoencoder", 0.001, 20, None, 1)


@pytest.fixture
def adoption(services):
    return Adoption(services.archive)


@pytest.fixture
def asked(services, monkeypatch):
    """Count the questions to the database."""
    questions = []
    ask = services.store.by_ids

    def count(ids):
        questions.append(list(ids))
        return ask(ids)

    monkeypatch.setattr(services.store, "by_ids", count)
    return questions


def job(attempt=AN_ATTEMPT, phase=Phase.RUNNING, handle=None):
    return {handle or attempt.handle: Observation(attempt.uid, phase, attempt=attempt)}


def passes(adoption, observed, number=2):
    return [adoption.adopt([], observed) for _ in range(number)]


def test_it_works(reconciler, experiments, launcher, settings):
    launcher.jobs = job()
    for _ in range(3):
        reconciler.reconcile()

    one = experiments.get("first")
    assert one.current_attempt == AN_ATTEMPT
    assert one.status is Status.RUNNING
    assert [(step.to_status, step.reason) for step in experiments.history(one)] == [
        ("submitting", "adopted"),
        ("queued", "adopted"),
        ("running", None),
    ]
    written = json.loads((settings.output_dir / "first" / "run.json").read_text())
    assert written["status"] == "running"
    assert launcher.submissions == 0


def test_only_what_is_listed_again_is_adopted(adoption, experiments):
    assert passes(adoption, job()) == [[], [AN_ATTEMPT]]
    assert passes(adoption, job()) == [[], []]

    other = replace(AN_ATTEMPT, experiment_id="other")
    passes(adoption, job(other), 1)
    passes(adoption, {}, 1)  # it was just being deleted
    passes(adoption, job(other), 1)
    assert [one.experiment_id for one in experiments.page(limit=9)] == ["first"]


def test_a_run_comes_back_with_its_whole_history(
    reconciler,
    experiments,
    client,
    made,
    lose,
):
    made("first", Phase.RUNNING, Phase.FAILED)
    before = client.get("/experiments/first").json
    lose("first")
    for _ in range(2):
        reconciler.reconcile()

    assert client.get("/experiments/first").json == before


@pytest.mark.parametrize(
    "observed",
    [
        {
            AN_ATTEMPT.handle: Observation(AN_ATTEMPT.uid, Phase.RUNNING)
        },  # it does not say which run
        job(handle="another-name-1"),
        {AN_ATTEMPT.handle: Observation("f" * 32, Phase.RUNNING, attempt=AN_ATTEMPT)},
        job(replace(AN_ATTEMPT, uid="not one of ours")),
        job(replace(AN_ATTEMPT, learning_rate=float("nan"))),
    ],
)
def test_what_is_no_run_of_ours_is_not_adopted(adoption, client, settings, observed):
    assert passes(adoption, observed, 3) == [[], [], []]
    assert client.get("/experiments").json == []
    assert not (settings.output_dir / "first").exists()


def test_of_another_run_of_that_id_we_warn_once(
    adoption,
    experiments,
    made,
    caplog,
    asked,
):
    made("first", Phase.FAILED)
    passes(adoption, job(phase=Phase.SUCCEEDED), 9)

    assert experiments.get("first").uid != AN_ATTEMPT.uid
    assert caplog.text.count("is not adopted") == 1
    assert len(asked) == 2


def test_a_folder_of_another_run_is_left_alone(
    adoption,
    client,
    settings,
    made,
    lose,
    caplog,
):
    made("first", Phase.FAILED)
    before = (settings.output_dir / "first" / "run.json").read_bytes()
    lose()
    passes(adoption, job(), 5)

    assert client.get("/experiments").json == []
    assert (settings.output_dir / "first" / "run.json").read_bytes() == before
    assert caplog.text.count("is not adopted") == 1


def test_a_later_attempt_of_an_older_copy_of_the_database(
    reconciler,
    experiments,
    launcher,
    made,
    lose,
    settings,
):
    first = made("first", Phase.FAILED)
    record = (settings.output_dir / "first" / "run.json").read_text()
    second = experiments.retry("first")
    lose()
    (settings.output_dir / "first" / "run.json").write_text(record)  # as old as the copy
    for _ in range(4):
        reconciler.reconcile()

    one = experiments.get("first")
    assert (one.uid, one.attempt, one.status) == (first.uid, 2, Status.QUEUED)
    assert one.job == second.job
    assert [(s.attempt, s.to_status, s.reason) for s in experiments.history(one)][-2:] == [
        (2, "submitting", "adopted"),
        (2, "queued", None),
    ]
    assert launcher.submissions == 2


def test_a_later_attempt_of_a_run_that_has_succeeded_is_not_believed(
    adoption,
    experiments,
    made,
    caplog,
):
    one = made("first", Phase.SUCCEEDED)
    passes(adoption, job(replace(one.current_attempt, number=2)), 4)

    assert experiments.get("first").attempt == 1
    assert caplog.text.count("is not adopted") == 1


def test_a_later_attempt_waits_for_the_end_of_a_live_one(adoption, experiments, made):
    one = made("first", Phase.RUNNING)
    later = job(replace(one.current_attempt, number=3))
    passes(adoption, later, 3)
    assert experiments.get("first").attempt == 1

    made("first", Phase.FAILED)
    passes(adoption, later, 1)

    assert experiments.get("first").attempt == 3


def test_what_was_known_is_asked_for_once_in_a_while(
    adoption,
    experiments,
    launcher,
    made,
    asked,
    monkeypatch,
):
    for number in range(3):
        made(f"run-{number}", Phase.FAILED)
        experiments.retry(f"run-{number}")  # the Jobs of earlier attempts are known too
        made(f"run-{number}", Phase.SUCCEEDED)
    assert len(launcher.jobs) == 6
    passes(adoption, launcher.jobs, 20)
    assert len(asked) == 1

    monkeypatch.setattr(module, "RECHECK_SECONDS", 0)
    passes(adoption, launcher.jobs, 1)
    assert len(asked) == 2


def test_what_goes_on_and_is_known_is_not_asked_for(adoption, launcher, made, asked):
    one = made("first", Phase.RUNNING)
    adoption.adopt([one.job], launcher.jobs)

    assert asked == []


def test_many_jobs_are_asked_for_in_parts(adoption, experiments, asked, monkeypatch):
    monkeypatch.setattr(module, "LOOKUP_SIZE", 2)
    attempts = [replace(AN_ATTEMPT, experiment_id=f"run-{n}", uid=f"{n:032x}") for n in range(5)]
    observed = {}
    for one in attempts:
        observed |= job(one, Phase.SUCCEEDED)
    passes(adoption, observed)

    assert [len(ids) for ids in asked[:3]] == [2, 2, 1]
    assert len(experiments.page(limit=9)) == 5


def test_the_parameters_are_those_of_the_job(adoption, experiments):
    chosen = replace(AN_ATTEMPT, learning_rate=0.25, epoch=7, dataset="digits.npz")
    passes(adoption, job(chosen))

    assert experiments.get("first").parameters == replace(
        PARAMETERS, learning_rate=0.25, epoch=7, dataset="digits.npz"
    )
