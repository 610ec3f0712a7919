"""The contract of the launchers: the same tests for local processes and for Kubernetes."""

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


def test_submission_to_success(harness, launcher):
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


def test_render_is_stable_plain_json(harness, launcher):
    job = launcher.render(AN_ATTEMPT)

    assert job == harness.launcher().render(AN_ATTEMPT) == json.loads(json.dumps(job))
    assert launcher.observe() == {}


def test_submit_twice_starts_once(harness, launcher):
    job = launcher.render(AN_ATTEMPT)

    assert launcher.submit(job) == launcher.submit(job) == AN_ATTEMPT.handle
    harness.start(AN_ATTEMPT)
    assert launcher.submit(job) == AN_ATTEMPT.handle
    harness.end(AN_ATTEMPT, 0)
    assert launcher.submit(job) == AN_ATTEMPT.handle

    assert harness.starts(AN_ATTEMPT) == 1
    assert phase_of(launcher, AN_ATTEMPT) is Phase.SUCCEEDED


def test_concurrent_submits_start_once(harness, launcher, background):
    job, other = launcher.render(AN_ATTEMPT), harness.launcher()

    tries = [background.submit(one.submit, job) for one in [launcher, other] * 8]

    assert {one.result(DEADLINE_SECONDS) for one in tries} == {AN_ATTEMPT.handle}
    harness.start(AN_ATTEMPT)
    harness.end(AN_ATTEMPT, 0)
    assert harness.starts(AN_ATTEMPT) == 1


def test_adopts_job_of_another_process(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)

    assert launcher.submit(launcher.render(AN_ATTEMPT)) == AN_ATTEMPT.handle

    assert harness.starts(AN_ATTEMPT) == 1
    eventually(lambda: phase_of(launcher, AN_ATTEMPT) is Phase.RUNNING)


def test_live_foreign_job_is_not_adopted(harness, launcher):
    """A live Job of the same name that was made for another experiment is in the way."""
    harness.submitted(uid="an older experiment of that id")
    harness.start(AN_ATTEMPT)

    with pytest.raises(LauncherUnavailable) as refusal:
        launcher.submit(launcher.render(AN_ATTEMPT))

    assert refusal.value.diagnosis.reason == "job_name_taken"
    assert launcher.observe()[AN_ATTEMPT.handle].uid == "an older experiment of that id"


def test_new_job_after_an_older_one(harness, launcher):
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
def test_failure_quotes_the_trainer(harness, launcher, code, reason):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.end(AN_ATTEMPT, code, "error: digits.npz holds no numbers")

    seen = launcher.observe()[AN_ATTEMPT.handle]

    assert (seen.phase, seen.diagnosis.reason) == (Phase.FAILED, reason)
    assert "error: digits.npz holds no numbers" in seen.diagnosis.message
    assert seen.diagnosis.remedy
    assert seen.finished_at


def test_removed_job_is_missing(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.end(AN_ATTEMPT, 0)

    harness.remove(AN_ATTEMPT)

    assert launcher.observe() == {}


def test_several_attempts(harness, launcher):
    first, second = (
        harness.submitted(),
        harness.submitted(experiment_id="b", uid="uid-2", number=3),
    )

    seen = launcher.observe()

    assert {handle: one.uid for handle, one in seen.items()} == {
        first.handle: first.uid,
        second.handle: second.uid,
    }


def test_change_ends_the_wait(harness, launcher, background):
    harness.submitted()
    launcher.changes(0)
    for change in (harness.start, lambda attempt: harness.end(attempt, 0)):
        waiting = background.submit(launcher.changes, LONGER_THAN_ANY_TEST)
        change(AN_ATTEMPT)
        changed = waiting.result(DEADLINE_SECONDS)
        assert changed is None or AN_ATTEMPT.handle in changed


def test_change_between_two_waits(harness, launcher, background):
    harness.submitted()
    launcher.changes(0)
    eventually(lambda: launcher.changes(0.2) or phase_of(launcher, AN_ATTEMPT))

    harness.start(AN_ATTEMPT)
    harness.end(AN_ATTEMPT, 0)

    background.submit(launcher.changes, LONGER_THAN_ANY_TEST).result(DEADLINE_SECONDS)
    eventually(lambda: phase_of(launcher, AN_ATTEMPT) is Phase.SUCCEEDED)


def test_wait_without_a_change_ends(launcher):
    eventually(lambda: not launcher.changes(0.1))


def test_close_ends_the_wait(harness, background):
    launcher = harness.launcher()
    waiting = background.submit(launcher.changes, LONGER_THAN_ANY_TEST)

    launcher.close()

    waiting.result(DEADLINE_SECONDS)


def test_close_leaves_attempts_running(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    eventually(lambda: phase_of(launcher, AN_ATTEMPT) is Phase.RUNNING)

    launcher.close()

    assert phase_of(harness.launcher(), AN_ATTEMPT) is Phase.RUNNING


def test_cancel_may_be_repeated(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)

    launcher.cancel(AN_ATTEMPT.handle)
    launcher.cancel(AN_ATTEMPT.handle)

    eventually(lambda: phase_of(launcher, AN_ATTEMPT) in (None, Phase.CANCELLED))
    launcher.cancel(AN_ATTEMPT.handle)
    assert harness.starts(AN_ATTEMPT) in (0, 1)


def test_cancel_unknown_job(harness, launcher):
    launcher.cancel("autoencoder-never-was-1")

    assert launcher.observe() == {}


def test_cancel_after_the_end(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.end(AN_ATTEMPT, 0)
    assert phase_of(launcher, AN_ATTEMPT) is Phase.SUCCEEDED

    launcher.cancel(AN_ATTEMPT.handle)

    assert phase_of(harness.launcher(), AN_ATTEMPT) in (None, Phase.SUCCEEDED)


def test_deleted_job_is_missing(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)
    harness.end(AN_ATTEMPT, 0)
    launcher.delete_job(replace(AN_ATTEMPT, uid="an older one"))
    assert phase_of(launcher, AN_ATTEMPT) is Phase.SUCCEEDED

    launcher.delete_job(AN_ATTEMPT)
    launcher.delete_job(AN_ATTEMPT)

    assert launcher.observe() == harness.launcher().observe() == {}


def test_observe_some(harness, launcher):
    harness.submitted()
    other = harness.submitted(experiment_id="other")

    assert set(launcher.observe([other.handle, "autoencoder-never-was-1"])) == {other.handle}
    assert launcher.observe([]) == {}


def test_delete_job_of_a_live_attempt(harness, launcher):
    harness.submitted()
    harness.start(AN_ATTEMPT)

    launcher.delete_job(AN_ATTEMPT)

    eventually(lambda: phase_of(launcher, AN_ATTEMPT) in (None, Phase.CANCELLED))


def test_delete_unknown_job(harness, launcher):
    harness.submitted()

    launcher.delete_job(replace(AN_ATTEMPT, experiment_id="never was"))

    assert set(launcher.observe()) == {AN_ATTEMPT.handle}
