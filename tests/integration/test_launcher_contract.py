"""What every launcher promises: the same tests for processes and for Kubernetes."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backend.launchers.base import LauncherUnavailable, Phase
from tests.integration.launcher_harness import AN_ATTEMPT, KubernetesHarness, LocalHarness
from tests.integration.waiting import DEADLINE_SECONDS, eventually

LONGER_THAN_ANY_TEST = 2 * DEADLINE_SECONDS


@pytest.fixture(params=["local", "kubernetes"])
def harness(request, environ):
    if request.param == "local":
        harness = LocalHarness(environ)
    else:
        harness = KubernetesHarness(environ, request.getfixturevalue("kubernetes"))
    yield harness
    harness.close()


@pytest.fixture
def launcher(harness):
    return harness.launcher()


@pytest.fixture
def background():
    with ThreadPoolExecutor(16) as pool:
        yield pool


def phase_of(launcher, attempt):
    seen = launcher.observe().get(attempt.handle)
    return seen and seen.phase


def test_it_works_from_submission_to_success(harness, launcher):
    assert launcher.submit(launcher.render(AN_ATTEMPT)) == AN_ATTEMPT.handle
    assert phase_of(launcher, AN_ATTEMPT) is Phase.QUEUED

    harness.start(AN_ATTEMPT)
    running = eventually(
        lambda: (seen := launcher.observe()[AN_ATTEMPT.handle]).phase is Phase.RUNNING and seen
    )
    assert (running.uid, running.attempt) == (AN_ATTEMPT.uid, AN_ATTEMPT)
    assert running.started_at.utcoffset().total_seconds() == 0
    assert (running.finished_at, running.diagnosis) == (None, None)

    harness.end(AN_ATTEMPT, 0)
    ended = launcher.observe()[AN_ATTEMPT.handle]
    assert (ended.phase, ended.uid, ended.diagnosis) == (Phase.SUCCEEDED, AN_ATTEMPT.uid, None)
    assert ended.started_at <= ended.finished_at <= datetime.now(UTC)


def test_a_job_is_rendered_alike_each_time_and_as_plain_json(harness, launcher):
    job = launcher.render(AN_ATTEMPT)

    assert job == harness.launcher().render(AN_ATTEMPT) == json.loads(json.dumps(job))
    assert launcher.observe() == {}


def test_submitting_twice_starts_one_run(harness, launcher):
    job = launcher.render(AN_ATTEMPT)

    assert launcher.submit(job) == launcher.submit(job) == AN_ATTEMPT.handle
    harness.start(AN_ATTEMPT)
    assert launcher.submit(job) == AN_ATTEMPT.handle
    harness.end(AN_ATTEMPT, 0)
    assert launcher.submit(job) == AN_ATTEMPT.handle

    assert harness.starts(AN_ATTEMPT) == 1
    assert phase_of(launcher, AN_ATTEMPT) is Phase.SUCCEEDED


def test_submitting_from_everywhere_at_once_starts_one_run(harness, launcher, background):
    job, other = launcher.render(AN_ATTEMPT), harness.launcher()

    tries = [background.submit(one.submit, job) for one in [launcher, other] * 8]

    assert {one.result(DEADLINE_SECONDS) for one in tries} == {AN_ATTEMPT.handle}
    harness.start(AN_ATTEMPT)
    harness.end(AN_ATTEMPT, 0)
    assert harness.starts(AN_ATTEMPT) == 1


def test_the_run_of_another_process_is_adopted_and_seen(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)

    assert launcher.submit(launcher.render(AN_ATTEMPT)) == AN_ATTEMPT.handle

    assert harness.starts(AN_ATTEMPT) == 1
    eventually(lambda: phase_of(launcher, AN_ATTEMPT) is Phase.RUNNING)


def test_a_live_job_of_the_same_name_made_for_another_run_is_not_adopted(harness, launcher):
    harness.submitted(uid="an older experiment of that id")
    harness.start(AN_ATTEMPT)

    with pytest.raises(LauncherUnavailable) as refusal:
        launcher.submit(launcher.render(AN_ATTEMPT))

    assert refusal.value.diagnosis.reason == "job_name_taken"
    assert launcher.observe()[AN_ATTEMPT.handle].uid == "an older experiment of that id"


def test_once_an_older_job_of_the_name_is_gone_the_new_run_is_seen(harness, launcher):
    older = harness.submitted(uid="an older experiment of that id")
    harness.start(older)
    harness.end(older, 0)
    assert launcher.observe()[older.handle].uid == older.uid
    harness.remove(older)

    launcher.submit(launcher.render(AN_ATTEMPT))

    eventually(lambda: launcher.observe().get(AN_ATTEMPT.handle))
    assert launcher.observe()[AN_ATTEMPT.handle].uid == AN_ATTEMPT.uid


@pytest.mark.parametrize(
    ("code", "reason"), [(2, "input_unusable"), (1, "trainer_failed"), (139, "trainer_failed")]
)
def test_a_failure_is_diagnosed_with_the_trainers_last_words(harness, launcher, code, reason):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.end(AN_ATTEMPT, code, "error: digits.npz holds no numbers")

    seen = launcher.observe()[AN_ATTEMPT.handle]

    assert (seen.phase, seen.diagnosis.reason) == (Phase.FAILED, reason)
    assert "error: digits.npz holds no numbers" in seen.diagnosis.message
    assert seen.diagnosis.remedy
    assert seen.finished_at


def test_what_was_removed_is_missing(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.end(AN_ATTEMPT, 0)

    harness.remove(AN_ATTEMPT)

    assert launcher.observe() == {}


def test_each_of_several_runs_is_seen(harness, launcher):
    first, second = (
        harness.submitted(),
        harness.submitted(experiment_id="b", uid="uid-2", number=3),
    )

    seen = launcher.observe()

    assert {handle: one.uid for handle, one in seen.items()} == {
        first.handle: first.uid,
        second.handle: second.uid,
    }


def test_a_change_ends_the_wait_for_it(harness, launcher, background):
    harness.submitted()
    launcher.changes(0)
    for change in (harness.start, lambda attempt: harness.end(attempt, 0)):
        waiting = background.submit(launcher.changes, LONGER_THAN_ANY_TEST)
        change(AN_ATTEMPT)
        waiting.result(DEADLINE_SECONDS)


def test_a_change_since_the_last_wait_is_not_missed(harness, launcher, background):
    harness.submitted()
    launcher.changes(0)
    eventually(lambda: launcher.changes(0.2) or phase_of(launcher, AN_ATTEMPT))

    harness.start(AN_ATTEMPT)
    harness.end(AN_ATTEMPT, 0)

    background.submit(launcher.changes, LONGER_THAN_ANY_TEST).result(DEADLINE_SECONDS)
    eventually(lambda: phase_of(launcher, AN_ATTEMPT) is Phase.SUCCEEDED)


def test_without_a_change_the_wait_has_an_end(launcher):
    launcher.changes(0.1)


def test_closing_ends_a_wait(harness, background):
    launcher = harness.launcher()
    waiting = background.submit(launcher.changes, LONGER_THAN_ANY_TEST)

    launcher.close()

    waiting.result(DEADLINE_SECONDS)


def test_closing_leaves_runs_alone(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    eventually(lambda: phase_of(launcher, AN_ATTEMPT) is Phase.RUNNING)

    launcher.close()

    assert phase_of(harness.launcher(), AN_ATTEMPT) is Phase.RUNNING


def test_cancelling_ends_the_run_and_may_be_repeated(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)

    launcher.cancel(AN_ATTEMPT.handle)
    launcher.cancel(AN_ATTEMPT.handle)

    eventually(lambda: phase_of(launcher, AN_ATTEMPT) in (None, Phase.CANCELLED))
    launcher.cancel(AN_ATTEMPT.handle)
    assert harness.starts(AN_ATTEMPT) in (0, 1)


def test_cancelling_what_is_not_there_is_no_error(harness, launcher):
    launcher.cancel("autoencoder-never-was-1")

    assert launcher.observe() == {}


def test_what_has_ended_is_not_cancelled_any_more(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.end(AN_ATTEMPT, 0)
    assert phase_of(launcher, AN_ATTEMPT) is Phase.SUCCEEDED

    launcher.cancel(AN_ATTEMPT.handle)

    assert phase_of(harness.launcher(), AN_ATTEMPT) in (None, Phase.SUCCEEDED)


def test_what_is_forgotten_is_missing(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.end(AN_ATTEMPT, 0)
    launcher.delete_job(replace(AN_ATTEMPT, uid="an older one"))
    assert phase_of(launcher, AN_ATTEMPT) is Phase.SUCCEEDED

    launcher.delete_job(AN_ATTEMPT)
    launcher.delete_job(AN_ATTEMPT)

    assert launcher.observe() == harness.launcher().observe() == {}


def test_some_runs_are_looked_at(harness, launcher):
    harness.submitted()
    other = harness.submitted(experiment_id="other")

    assert set(launcher.observe([other.handle, "autoencoder-never-was-1"])) == {other.handle}
    assert launcher.observe([]) == {}


def test_forgetting_a_run_that_goes_on_ends_it(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)

    launcher.delete_job(AN_ATTEMPT)

    eventually(lambda: phase_of(launcher, AN_ATTEMPT) in (None, Phase.CANCELLED))


def test_forgetting_what_is_not_there_is_no_error(launcher):
    launcher.delete_job(replace(AN_ATTEMPT, experiment_id="never was"))
