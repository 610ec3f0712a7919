"""Samples of what experiments use: kept in their folders, and as peaks in the database."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backend.domain.attempt import Diagnosis
from backend.domain.exceptions import StoreUnavailable
from backend.domain.execution.usage import Usage
from backend.experiments.rebuild import differences, rebuild
from backend.launchers.base import Observation, Phase

GIB = 2**30


@pytest.fixture
def running(make_experiment, launcher):
    """Return a function that starts an experiment, and returns it."""

    def running(experiment_id="first"):
        return make_experiment(experiment_id, Phase.RUNNING)

    return running


@pytest.fixture
def sample(services, launcher):
    """Return a function that takes a sample, in which the Job of an experiment uses this."""

    def sample(experiment, **usage):
        launcher.used[experiment.job] = Usage(**usage)
        services.sampler.step()
        return services.experiments.get(experiment.experiment_id)

    return sample


def usages(services, experiment):
    return [one.usage for one in services.resources.read(experiment.experiment_id, 1)]


def end(services, launcher, experiment, phase=Phase.SUCCEEDED, **observed):
    seen = Observation(experiment.uid, phase, attempt=experiment.current_attempt, **observed)
    launcher.jobs[experiment.job] = seen
    services.recorder.record(experiment, seen)
    return services.experiments.get(experiment.experiment_id)


def test_peaks_are_the_highest_samples(services, running, sample, monkeypatch):
    experiment = running()
    sample(experiment, cpu=1.5, memory=GIB)
    monkeypatch.setattr("backend.experiments.reconciling.resources.datetime", Later)
    shown = sample(experiment, cpu=0.5, memory=2 * GIB, gpu=0.5)

    assert shown.peaks == Usage(1.5, 2 * GIB, 0.5, None)
    assert shown.updated_at == experiment.updated_at
    assert usages(services, experiment) == [Usage(1.5, GIB), Usage(0.5, 2 * GIB, 0.5)]


class Later(datetime):
    """A clock that is a minute fast."""

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(minutes=1)


def test_elapsed_since_the_start(services, make_experiment, launcher, sample):
    experiment = make_experiment("first", Phase.QUEUED)
    begin = datetime.now(UTC) - timedelta(seconds=100)
    end(services, launcher, experiment, Phase.RUNNING, started_at=begin)
    sample(experiment, cpu=1.0)
    [one] = services.resources.read("first", 1)
    assert 100 <= one.elapsed < 160


def test_only_what_runs_and_is_known(services, running, make_experiment, launcher, sample):
    waiting, ended = make_experiment("waiting"), make_experiment("ended", Phase.SUCCEEDED)
    launcher.used = {one.job: Usage(1.0) for one in (waiting, ended)}
    experiment = running()
    services.sampler.step()
    for one in (waiting, ended, experiment):
        assert services.experiments.get(one.experiment_id).peaks == Usage()
        assert services.resources.entry(one.experiment_id, 1) is None


def test_no_job_is_asked_for_if_none_runs(services, launcher, monkeypatch):
    monkeypatch.setattr(launcher, "usage", None)
    services.sampler.step()


def test_an_unwritable_folder_is_logged_once(services, running, sample, caplog):
    experiment = running()
    (services.outputs.folder("first") / "resources").mkdir()
    (services.outputs.folder("first") / "resources" / "1.jsonl").mkdir()
    for memory in (1, 2, 3):
        assert sample(experiment, memory=memory).peak_memory == memory
    assert [record.message for record in caplog.records].count(caplog.records[-1].message) == 1
    assert "The samples of 'first' are not kept" in caplog.text


def test_end_of_a_short_attempt_has_peaks(services, launcher, running):
    """It was never sampled; its runner knows its mean use of processors and its memory."""
    experiment = end(services, launcher, running(), used=Usage(0.9, 5))
    assert experiment.peaks == Usage(0.9, 5)
    assert run_json(services)["peak_memory"] == 5


def test_end_does_not_lower_peaks(services, launcher, running, sample):
    experiment = running()
    sample(experiment, cpu=1.5, memory=GIB)
    # As it was read before the sample.
    assert end(services, launcher, experiment, used=Usage(0.9, 2 * GIB)).peaks == Usage(
        1.5, 2 * GIB
    )


def test_retry_begins_without_peaks(services, experiments, launcher, running, sample):
    experiment = running()
    sample(experiment, cpu=1.5, memory=GIB)
    end(services, launcher, experiment, Phase.FAILED)
    retried = experiments.retry("first")
    assert retried.peaks == Usage()
    # What is still known of the attempt before does not count for this one.
    services.store.raise_peaks([(experiment, Usage(9.0, 9))])
    assert experiments.get("first").peaks == Usage()

    second = end(services, launcher, experiments.get("first"), Phase.RUNNING)
    assert sample(second, cpu=0.5).peaks == Usage(0.5)
    assert [one.usage for one in services.resources.read("first", 2)] == [Usage(0.5)]
    assert usages(services, experiment) == [Usage(1.5, GIB)]


@pytest.mark.parametrize(
    ("sampled", "used", "limit", "sentence"),
    [
        (None, Usage(memory=3 * GIB), 2 * GIB, " It was seen to use 3,072 MiB; an experiment may"),
        (GIB, Usage(), 2 * GIB, " It was seen to use 1,024 MiB; an experiment may use 2,048 MiB."),
        (GIB, Usage(memory=GIB // 2), 2 * GIB, " It was seen to use 1,024 MiB; an experiment"),
        (None, Usage(), 2 * GIB, "killed. An experiment may use 2,048 MiB."),
        (GIB, Usage(), None, "killed."),
    ],
)
def test_memory_that_ran_out_is_quoted(
    services, launcher, running, sample, sampled, used, limit, sentence
):
    experiment = running()
    if sampled:
        experiment = sample(experiment, memory=sampled)
    why = Diagnosis("out_of_memory", "The trainer needed more memory and was killed.", "More.")
    ended = end(
        services,
        launcher,
        experiment,
        Phase.FAILED,
        diagnosis=why,
        used=used,
        memory_limit=limit,
    )
    assert sentence in ended.message
    assert ended.message.startswith(why.message)
    assert ("MiB" in ended.message) is (limit is not None)


def test_other_diagnoses_do_not_quote_memory(services, launcher, running):
    why = Diagnosis("exit_1", "It failed.", "Look.")
    ended = end(services, launcher, running(), Phase.FAILED, diagnosis=why, memory_limit=GIB)
    assert ended.message == "It failed."


def run_json(services, experiment_id="first"):
    return json.loads((services.outputs.folder(experiment_id) / "run.json").read_text())


def test_rebuild_restores_peaks(services, archive, launcher, running, sample, delete_rows):
    experiment = sample(running(), cpu=1.5, memory=GIB, gpu=0.25, gpu_memory=7)
    ended = end(services, launcher, experiment)
    delete_rows()
    rebuild(archive, launcher)
    restored = services.experiments.get("first")
    assert restored.peaks == ended.peaks == Usage(1.5, GIB, 0.25, 7)
    assert list(differences(archive, launcher)) == []


@pytest.mark.parametrize("value", ["much", -1, True, [], 1e300, None])
def test_run_json_of_a_trainer_or_an_older_version(
    services, archive, launcher, running, delete_rows, value
):
    end(services, launcher, running(), used=Usage(0.9, 5))
    content = run_json(services)
    del content["peak_memory"]
    content["peak_cpu"] = value
    (services.outputs.folder("first") / "run.json").write_text(json.dumps(content))
    delete_rows()
    rebuild(archive, launcher)
    assert services.experiments.get("first").peaks == Usage()


def test_database_is_away(services, running, launcher, outage):
    experiment = running()
    launcher.used[experiment.job] = Usage(1.0)
    outage.begin()
    with pytest.raises(StoreUnavailable):
        services.sampler.step()
    outage.end()
    services.sampler.step()
    assert services.experiments.get("first").peaks == Usage(1.0)


def test_deleted_meanwhile(services, experiments, running, launcher):
    experiment = running()
    end(services, launcher, experiment)
    experiments.delete("first", outputs=True)
    again = running()
    services.store.raise_peaks([(replace(experiment, id=again.id), Usage(1.0))])
    assert experiments.get("first").peaks == Usage()
