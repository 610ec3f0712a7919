"""run.json follows the database."""

import json
import logging

import pytest

from backend.domain.exceptions import OutputUnwritable
from backend.launchers.base import Observation, Phase
from tests.unit.test_experiments import PARAMETERS, submit


@pytest.fixture
def written(settings):
    """Read the status and the history in run.json."""

    def read(experiment_id="first"):
        record = json.loads((settings.output_dir / experiment_id / "run.json").read_text())
        return record["status"], [one["to_status"] for one in record["history"]]

    return read


def test_it_works(services, experiments, launcher, written, monkeypatch):
    at_submission = []
    submit_job = launcher.submit

    def note(job):
        at_submission.append(written())
        return submit_job(job)

    monkeypatch.setattr(launcher, "submit", note)
    _, one = submit(experiments)
    assert at_submission == [("submitting", ["submitting"])]
    assert written() == ("queued", ["submitting", "queued"])

    services.recorder.record(one, Observation(one.uid, Phase.FAILED))
    assert written()[0] == "failed"

    experiments.retry("first")
    steps = ["submitting", "queued", "failed", "submitting"]
    assert at_submission[1] == ("submitting", steps)
    assert written() == ("queued", [*steps, "queued"])


def test_what_a_submission_expects_is_what_the_database_holds(
    services, experiments, written, monkeypatch
):
    """So run.json need not be written again after it was compared."""
    writes, write = [], services.outputs.write_run_file

    def note(experiment_id, attempt, **options):
        writes.append(attempt["status"])
        write(experiment_id, attempt, **options)

    monkeypatch.setattr(services.outputs, "write_run_file", note)
    submit(experiments)

    assert writes == ["submitting", "queued"]
    assert written() == ("queued", ["submitting", "queued"])


def test_the_last_writer_writes_what_is_so(services, experiments, store, written, monkeypatch):
    """A worker reads that it is queued, and is slow to write it: it has ended meanwhile."""
    _, one = submit(experiments)
    write = services.outputs.write_run_file
    later = [Phase.RUNNING, Phase.SUCCEEDED]

    def write_late(*arguments, **options):
        if later:
            now = experiments.get("first")
            services.recorder.apply(now, Observation(now.uid, later.pop(0)))
        write(*arguments, **options)

    monkeypatch.setattr(services.outputs, "write_run_file", write_late)
    services.archive.update_run_file(one)

    assert written() == ("succeeded", ["submitting", "queued", "running", "succeeded"])


def test_a_folder_that_is_gone_is_not_made_again(services, experiments, settings, caplog):
    _, one = submit(experiments)
    (settings.output_dir / "first").rename(settings.output_dir / "aside")
    with caplog.at_level(logging.WARNING):
        services.recorder.record(one, Observation(one.uid, Phase.SUCCEEDED))

    assert experiments.get("first").status == "succeeded"
    assert not (settings.output_dir / "first").exists()
    assert "run.json of 'first' cannot be written" in caplog.text


def test_a_run_whose_folder_cannot_be_written_is_not_forgotten_by_halves(
    services, experiments, settings, monkeypatch
):
    _, one = submit(experiments)
    services.recorder.record(one, Observation(one.uid, Phase.SUCCEEDED))

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(services.outputs, "write_tombstone", full)
    with pytest.raises(OutputUnwritable):
        experiments.delete("first", outputs=False)

    assert experiments.get("first").status == "succeeded"


def test_a_run_that_somebody_else_has_started_is_not_started_again(experiments, launcher):
    launcher.down = True
    _, submitting = submit(experiments)
    launcher.down = False
    queued = experiments.launch(submitting)

    assert experiments.launch(submitting) == queued
    assert launcher.submissions == 1


def test_many_attempts_are_all_written_down(services, experiments, written):
    submit(experiments, parameters=PARAMETERS)
    for _ in range(150):
        now = experiments.get("first")
        services.recorder.apply(now, Observation(now.uid, Phase.FAILED))
        experiments.retry("first")

    assert len(written()[1]) == 2 + 150 * 3
    assert services.archive.read("first").attempt.number == 151
