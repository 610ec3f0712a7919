"""run.json follows the database."""

import json
import logging

import pytest

from backend.domain.exceptions import OutputUnwritable
from backend.launchers.base import Observation, Phase
from tests.component.support import PARAMETERS, submit


@pytest.fixture
def read_run_json(settings):
    """Return a function that reads status and history from run.json."""

    def read(experiment_id="first"):
        record = json.loads((settings.output_dir / experiment_id / "run.json").read_text())
        return record["status"], [transition["to_status"] for transition in record["history"]]

    return read


def test_run_json_follows_database(services, experiments, launcher, read_run_json, monkeypatch):
    at_submission = []
    submit_job = launcher.submit

    def note(job):
        at_submission.append(read_run_json())
        return submit_job(job)

    monkeypatch.setattr(launcher, "submit", note)
    _, experiment = submit(experiments)
    assert at_submission == [("submitting", ["submitting"])]
    assert read_run_json() == ("queued", ["submitting", "queued"])

    services.recorder.record(experiment, Observation(experiment.uid, Phase.FAILED))
    assert read_run_json()[0] == "failed"

    experiments.retry("first")
    steps = ["submitting", "queued", "failed", "submitting"]
    assert at_submission[1] == ("submitting", steps)
    assert read_run_json() == ("queued", [*steps, "queued"])


def test_submission_writes_run_json_twice(services, experiments, read_run_json, monkeypatch):
    """run.json is not written again after the compare-and-set: it already holds the same."""
    writes, write = [], services.outputs.write_run_file

    def note(experiment_id, attempt, **options):
        writes.append(attempt["status"])
        write(experiment_id, attempt, **options)

    monkeypatch.setattr(services.outputs, "write_run_file", note)
    submit(experiments)

    assert writes == ["submitting", "queued"]
    assert read_run_json() == ("queued", ["submitting", "queued"])


def test_slow_writer_writes_newest_state(services, experiments, store, read_run_json, monkeypatch):
    """A worker reads `queued` and writes late; meanwhile the experiment has ended."""
    _, experiment = submit(experiments)
    write = services.outputs.write_run_file
    later = [Phase.RUNNING, Phase.SUCCEEDED]

    def write_late(*arguments, **options):
        if later:
            now = experiments.get("first")
            services.recorder.apply(now, Observation(now.uid, later.pop(0)))
        write(*arguments, **options)

    monkeypatch.setattr(services.outputs, "write_run_file", write_late)
    services.archive.update_run_file(experiment)

    assert read_run_json() == ("succeeded", ["submitting", "queued", "running", "succeeded"])


def test_missing_folder_not_recreated(services, experiments, settings, caplog):
    _, experiment = submit(experiments)
    (settings.output_dir / "first").rename(settings.output_dir / "aside")
    with caplog.at_level(logging.WARNING):
        services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED))

    assert experiments.get("first").status == "succeeded"
    assert not (settings.output_dir / "first").exists()
    assert "run.json of 'first' cannot be written" in caplog.text


def test_delete_with_unwritable_folder(services, experiments, settings, monkeypatch):
    """The row stays if the tombstone cannot be written: a delete is never half done."""
    _, experiment = submit(experiments)
    services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED))

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(services.outputs, "write_tombstone", full)
    with pytest.raises(OutputUnwritable):
        experiments.delete("first", outputs=False)

    assert experiments.get("first").status == "succeeded"


def test_launch_twice_submits_once(experiments, launcher):
    launcher.down = True
    _, submitting = submit(experiments)
    launcher.down = False
    queued = experiments.launch(submitting)

    assert experiments.launch(submitting) == queued
    assert launcher.submissions == 1


def test_many_attempts_all_recorded(services, experiments, read_run_json):
    submit(experiments, parameters=PARAMETERS)
    for _ in range(150):
        now = experiments.get("first")
        services.recorder.apply(now, Observation(now.uid, Phase.FAILED))
        experiments.retry("first")

    assert len(read_run_json()[1]) == 2 + 150 * 3
    assert services.archive.read("first").attempt.number == 151


@pytest.mark.parametrize("outputs", [True, False])
def test_refused_delete_says_what_is_true(services, experiments, client, monkeypatch, outputs):
    """The sentence is about a deletion, and names what is left; the record stays."""
    _, experiment = submit(experiments)
    services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED))

    def refuse(*_arguments):
        raise OSError(30, "Read-only file system", "first/locked")

    monkeypatch.setattr(services.outputs, "write_tombstone", refuse)
    monkeypatch.setattr(services.outputs, "remove", refuse)
    answer = client.delete(f"/experiments/first?outputs={outputs}".lower())

    assert answer.status_code == 503
    assert "Read-only file system" in answer.json["detail"]
    assert "delete the experiment again" in answer.json["detail"]
    assert ("'first/locked' is left" in answer.json["detail"]) is outputs
    assert "started" not in answer.json["detail"]
    assert client.get("/experiments/first").status_code == 200
