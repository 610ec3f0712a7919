import json

import pytest

from backend.domain.attempt import Diagnosis
from backend.domain.exceptions import (
    FolderTaken,
    OtherParameters,
    OutputUnwritable,
    StoreUnavailable,
    SubmissionRefused,
    UnknownDataset,
    UnknownExperiment,
)
from backend.domain.experiment import Parameters
from backend.domain.selection import ALL, Selection
from backend.domain.status import Status
from backend.experiments.service import Outcome
from backend.launchers.base import Observation, Phase
from tests.component.support import submit


def statuses(experiments, experiment):
    return [transition.to_status for transition in experiments.history(experiment)]


def test_submit_creates_job(experiments, launcher, settings):
    outcome, experiment = submit(experiments)

    assert outcome is Outcome.CREATED
    assert experiment.status is Status.QUEUED
    assert list(launcher.jobs) == [experiment.job]
    record = json.loads((settings.output_dir / "first" / "run.json").read_text())
    assert record["experiment_id"] == "first"
    assert record["learning_rate"] == 0.001
    assert statuses(experiments, experiment) == ["submitting", "queued"]


def test_repeat_starts_nothing(experiments, launcher):
    _, first = submit(experiments)
    outcome, again = submit(experiments)

    assert outcome is Outcome.EXISTING
    assert again == first
    assert launcher.submissions == 1


@pytest.mark.parametrize(
    "other",
    [
        Parameters("autoencoder", 0.002, 20, None),
        Parameters("autoencoder", 0.001, 21, None),
    ],
)
def test_other_parameters_refused(experiments, other):
    submit(experiments)

    with pytest.raises(OtherParameters):
        submit(experiments, parameters=other)


def test_submit_while_launcher_is_down(experiments, launcher):
    launcher.down = True
    outcome, experiment = submit(experiments)

    assert outcome is Outcome.ACCEPTED
    assert experiment.status is Status.SUBMITTING
    assert experiment.reason == "unreachable"

    launcher.down = False
    started = experiments.launch(experiment)

    assert started.status is Status.QUEUED
    assert started.reason is None


def test_refused_job_means_failed(experiments, launcher):
    launcher.refusing = True

    with pytest.raises(SubmissionRefused):
        submit(experiments)

    assert experiments.get("first").status is Status.FAILED
    assert experiments.get("first").reason == "job_refused"


def test_foreign_files_not_overwritten(experiments, launcher, settings):
    (settings.output_dir / "first").mkdir(parents=True)
    (settings.output_dir / "first" / "model.pt").touch()

    with pytest.raises(FolderTaken):
        submit(experiments)

    assert not launcher.jobs
    with pytest.raises(UnknownExperiment):
        experiments.get("first")


def test_unwritable_output_starts_nothing(experiments, launcher, settings):
    settings.output_dir.rmdir()
    settings.output_dir.touch()  # a file where the folder should be

    with pytest.raises(OutputUnwritable):
        submit(experiments)

    assert not launcher.jobs
    with pytest.raises(UnknownExperiment):
        experiments.get("first")


def test_dataset_must_exist(experiments, launcher, settings):
    (settings.input_dir / "a.npz").touch()
    chosen = Parameters("autoencoder", 0.001, 20, "a.npz")

    with pytest.raises(UnknownDataset) as error:
        submit(experiments, parameters=Parameters("autoencoder", 0.001, 20, "../a.npz"))

    assert error.value.names == ["a.npz"]
    assert submit(experiments, parameters=chosen)[1].dataset == "a.npz"


def test_database_lost_after_intent(experiments, launcher, store, monkeypatch):
    """The database fails after the row and the Job were created: nothing is lost or doubled."""

    def away(*_args, **_options):
        raise StoreUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(store, "advance", away)
        outcome, experiment = submit(experiments)

    assert outcome is Outcome.ACCEPTED
    assert list(launcher.jobs) == [experiment.job]
    assert experiments.launch(experiment).status is Status.QUEUED
    assert launcher.submissions == 2
    assert list(launcher.jobs) == [experiment.job]


def test_observation_is_recorded(services, experiments, settings):
    _, experiment = submit(experiments)
    services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED))
    ended = experiments.get("first")

    assert ended.status is Status.SUCCEEDED
    assert ended.finished_at is not None
    assert statuses(experiments, ended) == ["submitting", "queued", "running", "succeeded"]
    record = json.loads((settings.output_dir / "first" / "run.json").read_text())
    assert record["status"] == "succeeded"


def test_terminal_status_is_final(services, experiments):
    _, experiment = submit(experiments)
    services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED))
    # A second reconciler acts on a stale read.
    services.recorder.record(experiment, Observation(experiment.uid, Phase.FAILED))

    assert experiments.get("first").status is Status.SUCCEEDED
    assert statuses(experiments, experiment) == ["submitting", "queued", "running", "succeeded"]


def test_diagnosis_without_transition(services, experiments):
    _, queued = submit(experiments)
    why = Diagnosis("image_not_pulled", "It cannot be pulled.", "Push it.")
    services.recorder.record(queued, Observation(queued.uid, Phase.QUEUED, diagnosis=why))
    waiting = experiments.get("first")

    assert (waiting.status, waiting.reason) == (Status.QUEUED, "image_not_pulled")

    services.recorder.record(waiting, Observation(waiting.uid, Phase.QUEUED))

    assert experiments.get("first").reason is None
    assert statuses(experiments, waiting) == ["submitting", "queued"]


def test_waiting_for_next_pod_is_running(services, experiments):
    _, experiment = submit(experiments)
    services.recorder.record(experiment, Observation(experiment.uid, Phase.RUNNING))
    running = experiments.get("first")
    services.recorder.record(running, Observation(running.uid, Phase.QUEUED))

    assert experiments.get("first").status is Status.RUNNING


def test_job_of_other_uid_ignored(services, experiments):
    _, experiment = submit(experiments)
    services.recorder.record(experiment, Observation("another uid", Phase.FAILED))
    services.recorder.record(experiment, Observation(experiment.uid, Phase.UNKNOWN))

    assert experiments.get("first").status is Status.QUEUED


@pytest.mark.parametrize(
    ("done", "cancelled", "status"),
    [
        (True, False, Status.SUCCEEDED),
        (True, True, Status.SUCCEEDED),
        (False, True, Status.CANCELLED),
        (False, False, Status.FAILED),
    ],
)
def test_lost_attempt_judged_by_folder(services, experiments, settings, done, cancelled, status):
    """Without its Job, summary.json and the cancel request decide how an attempt ended."""
    _, experiment = submit(experiments)
    if done:
        (settings.output_dir / "first" / "summary.json").write_text("{}")
    if cancelled:
        experiment = experiments.cancel("first")
    why = Diagnosis("process_lost", "It is gone.", "Retry.")
    services.recorder.record(experiment, Observation(experiment.uid, Phase.LOST, diagnosis=why))
    ended = experiments.get("first")

    assert ended.status is status
    assert ended.reason == ("process_lost" if status is Status.FAILED else None)


def test_pages_are_newest_first(experiments):
    for number in range(5):
        submit(experiments, f"run-{number}")
    first = experiments.page(limit=3)
    second = experiments.page(limit=3, after=ALL.cursor(first[-1]))

    assert [experiment.experiment_id for experiment in [*first, *second]] == [
        f"run-{number}" for number in (4, 3, 2, 1, 0)
    ]
    assert [
        experiment.experiment_id
        for experiment in experiments.page(limit=9, selection=Selection(text="N-3"))
    ] == ["run-3"]
    assert experiments.page(limit=9, selection=Selection(text="%")) == []
