"""Deleting an experiment with its folder while others retry it, or the deleting process dies."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from backend.domain.exceptions import NotRetriable, StillLive, UnknownExperiment
from backend.domain.experiment import Parameters
from backend.launchers.base import Observation, Phase
from tests.integration.waiting import DEADLINE_SECONDS

PARAMETERS = Parameters("autoencoder", 0.001, 20, None)
RACES = 20


@pytest.fixture
def processes(database, make_app):
    """The services of two processes on one database and one output folder."""
    return [make_app(database).extensions["services"] for _ in range(2)]


@pytest.fixture
def make_failed(processes, settings):
    """Return a function that makes a failed experiment with a checkpoint."""

    def make(name):
        services = processes[0]
        _, experiment = services.experiments.submit(name, PARAMETERS)
        services.recorder.record(experiment, Observation(experiment.uid, Phase.FAILED))
        (settings.output_dir / name / "checkpoint.pt").write_text("weights")
        return services.experiments.get(name)

    return make


def result_of(work, name, *arguments, **options):
    try:
        return work(name, *arguments, **options)
    except (NotRetriable, StillLive, UnknownExperiment) as error:
        return error


def test_race_of_delete_and_retry(processes, make_failed, settings):
    """Either the delete wins wholly, or the retry with its checkpoint."""
    deleting, retrying = (services.experiments for services in processes)
    with ThreadPoolExecutor(2) as pool:
        for number in range(RACES):
            name = f"raced {number}"
            make_failed(name)
            together = threading.Barrier(2)

            def at_once(work, *arguments, together=together, **options):
                together.wait(DEADLINE_SECONDS)
                return result_of(work, *arguments, **options)

            deleted = pool.submit(at_once, deleting.delete, name, outputs=True)
            retried = pool.submit(at_once, retrying.retry, name)
            deleted, retried = (each.result(DEADLINE_SECONDS) for each in (deleted, retried))

            folder = settings.output_dir / name
            if deleted is None:
                assert isinstance(retried, (NotRetriable, UnknownExperiment))
                assert not folder.exists()
                assert processes[0].store.get(name) is None
            else:
                assert isinstance(deleted, StillLive)
                assert retried.attempt == 2
                assert (folder / "checkpoint.pt").read_text() == "weights"
    assert not list(settings.output_dir.glob(".*"))


def test_nothing_removed_before_retry_is_refused(processes, make_failed, settings, monkeypatch):
    """A retry at the moment the folder is renamed is refused, and says why."""
    experiments, outputs = processes[0].experiments, processes[0].outputs
    make_failed("first")
    processes[1].store.get("first")  # its first query checks the schema, for which it may write
    set_aside, refusals = outputs.set_aside, []

    def retry_first(*arguments):
        assert (settings.output_dir / "first" / "checkpoint.pt").exists()
        # The other process sees what is committed by now.
        with pytest.raises(NotRetriable, match="is being deleted with its folder"):
            processes[1].experiments.retry("first")
        refusals.append(arguments)
        set_aside(*arguments)

    monkeypatch.setattr(outputs, "set_aside", retry_first)
    experiments.delete("first", outputs=True)

    assert len(refusals) == 1
    assert processes[1].store.get("first") is None


def test_late_deletion_spares_new_experiment(processes, make_failed, settings):
    """A process resumes a deletion after another has finished it and the id is used again."""
    late = make_failed("first")
    processes[0].experiments.delete("first", outputs=True)
    make_failed("first")

    processes[1].experiments.finish_deletion(late)

    assert (settings.output_dir / "first" / "checkpoint.pt").exists()
    assert processes[1].store.get("first").attempt == 1
