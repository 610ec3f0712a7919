"""A Job exists that the database does not know."""

import json
from dataclasses import replace

import pytest

from backend.domain.attempt import Attempt
from backend.domain.status import Status
from backend.experiments.reconciling import adoption as module
from backend.experiments.reconciling.adoption import Adoption
from backend.launchers.base import Observation, Phase
from tests.component.support import PARAMETERS

ATTEMPT = Attempt("first", "0123456789abcdef" * 2, "autoencoder", 0.001, 20, None, 1)


@pytest.fixture
def adoption(services):
    return Adoption(services.archive)


@pytest.fixture
def queried_ids(services, monkeypatch):
    """The ids of each query to the database."""
    questions = []
    ask = services.store.by_ids

    def count(ids):
        questions.append(list(ids))
        return ask(ids)

    monkeypatch.setattr(services.store, "by_ids", count)
    return questions


def job(attempt=ATTEMPT, phase=Phase.RUNNING, handle=None):
    return {handle or attempt.handle: Observation(attempt.uid, phase, attempt=attempt)}


def adopt_repeatedly(adoption, observed, number=2):
    return [adoption.adopt([], observed) for _ in range(number)]


def test_adopts_unknown_job(reconciler, experiments, launcher, settings):
    """A Job that no row names becomes an experiment, with its folder and its history."""
    launcher.jobs = job()
    for _ in range(3):
        reconciler.reconcile()

    experiment = experiments.get("first")
    assert experiment.current_attempt == ATTEMPT
    assert experiment.status is Status.RUNNING
    assert [(step.to_status, step.reason) for step in experiments.history(experiment)] == [
        ("submitting", "adopted"),
        ("queued", "adopted"),
        ("running", None),
    ]
    written = json.loads((settings.output_dir / "first" / "run.json").read_text())
    assert written["status"] == "running"
    assert launcher.submissions == 0


def test_adopts_on_second_sight(adoption, experiments):
    """A Job is adopted once two lists name it: the first may show one that is being deleted."""
    assert adopt_repeatedly(adoption, job()) == [[], [ATTEMPT]]
    assert adopt_repeatedly(adoption, job()) == [[], []]

    other = replace(ATTEMPT, experiment_id="other")
    adopt_repeatedly(adoption, job(other), 1)
    adopt_repeatedly(adoption, {}, 1)  # the Job was being deleted
    adopt_repeatedly(adoption, job(other), 1)
    assert [experiment.experiment_id for experiment in experiments.page(limit=9)] == ["first"]


def test_history_restored_from_folder(
    reconciler,
    experiments,
    client,
    make_experiment,
    delete_rows,
):
    """With its run.json in place, a lost experiment comes back exactly as it was."""
    make_experiment("first", Phase.RUNNING, Phase.FAILED)
    before = client.get("/experiments/first").json
    delete_rows("first")
    for _ in range(2):
        reconciler.reconcile()

    assert client.get("/experiments/first").json == before


@pytest.mark.parametrize(
    "observed",
    [
        {ATTEMPT.handle: Observation(ATTEMPT.uid, Phase.RUNNING)},  # names no attempt
        job(handle="another-name-1"),
        {ATTEMPT.handle: Observation("f" * 32, Phase.RUNNING, attempt=ATTEMPT)},
        job(replace(ATTEMPT, uid="not one of ours")),
        job(replace(ATTEMPT, learning_rate=float("nan"))),
    ],
)
def test_foreign_job_not_adopted(adoption, client, settings, observed):
    assert adopt_repeatedly(adoption, observed, 3) == [[], [], []]
    assert client.get("/experiments").json == []
    assert not (settings.output_dir / "first").exists()


def test_warns_once_about_other_uid(
    adoption,
    experiments,
    make_experiment,
    caplog,
    queried_ids,
):
    """A Job of an older experiment with the same id is reported once, not at every pass."""
    make_experiment("first", Phase.FAILED)
    adopt_repeatedly(adoption, job(phase=Phase.SUCCEEDED), 9)

    assert experiments.get("first").uid != ATTEMPT.uid
    assert caplog.text.count("is not adopted") == 1
    assert len(queried_ids) == 2


def test_folder_of_other_uid_untouched(
    adoption,
    client,
    settings,
    make_experiment,
    delete_rows,
    caplog,
):
    make_experiment("first", Phase.FAILED)
    before = (settings.output_dir / "first" / "run.json").read_bytes()
    delete_rows()
    adopt_repeatedly(adoption, job(), 5)

    assert client.get("/experiments").json == []
    assert (settings.output_dir / "first" / "run.json").read_bytes() == before
    assert caplog.text.count("is not adopted") == 1


def test_adopts_later_attempt(
    reconciler,
    experiments,
    launcher,
    make_experiment,
    delete_rows,
    settings,
):
    """Database and run.json come from a backup taken before the retry whose Job still exists."""
    first = make_experiment("first", Phase.FAILED)
    record = (settings.output_dir / "first" / "run.json").read_text()
    second = experiments.retry("first")
    delete_rows()
    (settings.output_dir / "first" / "run.json").write_text(record)  # as old as the backup
    for _ in range(4):
        reconciler.reconcile()

    experiment = experiments.get("first")
    assert (experiment.uid, experiment.attempt, experiment.status) == (first.uid, 2, Status.QUEUED)
    assert experiment.job == second.job
    assert [
        (step.attempt, step.to_status, step.reason) for step in experiments.history(experiment)
    ][-2:] == [
        (2, "submitting", "adopted"),
        (2, "queued", None),
    ]
    assert launcher.submissions == 2


def test_success_outranks_later_attempt(
    adoption,
    experiments,
    make_experiment,
    caplog,
):
    """A later attempt of a succeeded experiment is impossible, so its Job is not adopted."""
    experiment = make_experiment("first", Phase.SUCCEEDED)
    adopt_repeatedly(adoption, job(replace(experiment.current_attempt, number=2)), 4)

    assert experiments.get("first").attempt == 1
    assert caplog.text.count("is not adopted") == 1


def test_later_attempt_waits_for_live_one(adoption, experiments, make_experiment):
    experiment = make_experiment("first", Phase.RUNNING)
    later = job(replace(experiment.current_attempt, number=3))
    adopt_repeatedly(adoption, later, 3)
    assert experiments.get("first").attempt == 1

    make_experiment("first", Phase.FAILED)
    adopt_repeatedly(adoption, later, 1)

    assert experiments.get("first").attempt == 3


def test_known_jobs_queried_rarely(
    adoption,
    experiments,
    launcher,
    make_experiment,
    queried_ids,
    monkeypatch,
):
    """Jobs of ended attempts are looked up once per RECHECK_SECONDS, not at every pass."""
    for number in range(3):
        make_experiment(f"run-{number}", Phase.FAILED)
        experiments.retry(f"run-{number}")  # the Jobs of earlier attempts are known too
        make_experiment(f"run-{number}", Phase.SUCCEEDED)
    assert len(launcher.jobs) == 6
    adopt_repeatedly(adoption, launcher.jobs, 20)
    assert len(queried_ids) == 1

    monkeypatch.setattr(module, "RECHECK_SECONDS", 0)
    adopt_repeatedly(adoption, launcher.jobs, 1)
    assert len(queried_ids) == 2


def test_live_known_job_not_queried(adoption, launcher, make_experiment, queried_ids):
    experiment = make_experiment("first", Phase.RUNNING)
    adoption.adopt([experiment.job], launcher.jobs)

    assert queried_ids == []


def test_jobs_queried_in_batches(adoption, experiments, queried_ids, monkeypatch):
    monkeypatch.setattr(module, "LOOKUP_SIZE", 2)
    attempts = [replace(ATTEMPT, experiment_id=f"run-{n}", uid=f"{n:032x}") for n in range(5)]
    observed = {}
    for attempt in attempts:
        observed |= job(attempt, Phase.SUCCEEDED)
    adopt_repeatedly(adoption, observed)

    assert [len(ids) for ids in queried_ids[:3]] == [2, 2, 1]
    assert len(experiments.page(limit=9)) == 5


def test_parameters_come_from_job(adoption, experiments):
    chosen = replace(ATTEMPT, learning_rate=0.25, epoch=7, dataset="digits.npz")
    adopt_repeatedly(adoption, job(chosen))

    assert experiments.get("first").parameters == replace(
        PARAMETERS, learning_rate=0.25, epoch=7, dataset="digits.npz"
    )


def test_bad_history_is_replaced(
    reconciler, experiments, launcher, settings, make_experiment, delete_rows, caplog
):
    """A run.json that cannot be used is written again from the Job, and the folder is named."""
    for name in ("bad", "good"):
        make_experiment(name, Phase.RUNNING)
    path = settings.output_dir / "bad" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"history": []}))
    delete_rows()
    for _ in range(3):
        reconciler.reconcile()

    assert experiments.get("good").status is Status.RUNNING
    assert experiments.get("bad").status is Status.RUNNING
    assert any("'bad'" in record.getMessage() for record in caplog.records)


def test_unforeseen_error_leaves_others(
    services, launcher, reconciler, experiments, monkeypatch, caplog
):
    adopt = services.archive.adopt

    def fail(attempt, since):
        if attempt.experiment_id == "bad":
            raise ZeroDivisionError
        return adopt(attempt, since)

    monkeypatch.setattr(services.archive, "adopt", fail)
    bad = replace(ATTEMPT, experiment_id="bad", uid="f" * 32)
    launcher.jobs = job(bad) | job()
    for _ in range(4):
        reconciler.reconcile()

    assert experiments.get("first").status is Status.RUNNING
    [record] = [record for record in caplog.records if record.exc_info]
    assert bad.handle in record.getMessage()
    assert b"experiment_failures_total 3.0" in reconciler.passes.metrics()
