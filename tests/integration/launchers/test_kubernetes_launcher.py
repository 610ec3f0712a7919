"""Everything that can go wrong between the program and the API server."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from backend.launchers.base import LauncherRefused, LauncherUnavailable, Phase
from backend.launchers.kubernetes import launcher as kubernetes_launcher
from backend.launchers.kubernetes import status as job_status
from backend.launchers.kubernetes import watch as kubernetes_watch
from backend.launchers.kubernetes.launcher import KubernetesLauncher
from backend.settings import Settings
from tests.fakes.kubernetes_api import Fault, broken, forbidden, invalid, quota_exceeded, recreated
from tests.fakes.kubernetes_store import Refused
from tests.integration.launcher_harness import AN_ATTEMPT
from tests.integration.waiting import DEADLINE_SECONDS, eventually

LONG_AGO = "2020-01-01T00:00:00Z"
NO_ANSWER = {
    "500": broken(500),
    "503": broken(503),
    "429": broken(429),
    "cut": Fault(),
    "hang": Fault(hang=True),
}
HALF_ANSWER = {"half, then cut": Fault(half=True), "half, then hang": Fault(half=True, hang=True)}
BAD_ANSWER = NO_ANSWER | HALF_ANSWER | {"no JSON": Fault(garbage=True)}


@pytest.fixture
def launcher(environ, kubernetes):
    settings = Settings.from_environment(environ | {"LAUNCHER": "kubernetes"})
    launcher = KubernetesLauncher(settings)
    yield launcher
    launcher.close()


@pytest.fixture
def job(launcher):
    return launcher.render(AN_ATTEMPT)


@pytest.fixture
def background():
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.mark.parametrize("fault", NO_ANSWER.values(), ids=NO_ANSWER)
def test_submit_without_an_answer(launcher, kubernetes, failing, job, fault):
    """No Job is created, and a later submission works."""
    with failing("create", "jobs", fault), pytest.raises(LauncherUnavailable) as refusal:
        launcher.submit(job)

    assert refusal.value.diagnosis.reason == "kubernetes_unreachable"
    assert kubernetes.jobs() == {}
    assert kubernetes.count("create", "jobs") == 1  # a create is not repeated blindly
    assert launcher.submit(job) == AN_ATTEMPT.handle


@pytest.mark.parametrize("hang", [True, False], ids=["hang", "cut"])
def test_submit_with_a_lost_answer(launcher, kubernetes, failing, job, hang):
    """The Job that was created all the same is adopted by the next submission."""
    fault = Fault(stored=True, hang=hang)
    with failing("create", "jobs", fault), pytest.raises(LauncherUnavailable):
        launcher.submit(job)
    created = eventually(kubernetes.jobs)

    assert launcher.submit(job) == AN_ATTEMPT.handle

    assert kubernetes.jobs() == created
    assert list(created) == [AN_ATTEMPT.handle]


@pytest.mark.parametrize(
    ("fault", "reason", "quoted"),
    [
        (forbidden(), "kubernetes_forbidden", 'cannot create resource "jobs"'),
        (quota_exceeded(), "quota_exceeded", "limited: count/jobs.batch=5"),
    ],
)
def test_submit_forbidden_for_now(launcher, kubernetes, job, fault, reason, quoted):
    kubernetes.fail("create", "jobs", fault)

    with pytest.raises(LauncherUnavailable) as refusal:
        launcher.submit(job)

    assert refusal.value.diagnosis.reason == reason
    assert quoted in refusal.value.diagnosis.message
    assert launcher.submit(job) == AN_ATTEMPT.handle


def test_invalid_job_is_refused(launcher, kubernetes, job):
    kubernetes.fail("create", "jobs", invalid())

    with pytest.raises(LauncherRefused) as refusal:
        launcher.submit(job)

    assert refusal.value.diagnosis.reason == "job_refused"
    assert "Required value" in refusal.value.diagnosis.message


@pytest.mark.parametrize("fault", BAD_ANSWER.values(), ids=BAD_ANSWER)
@pytest.mark.parametrize("resource", ["jobs", "pods"])
def test_list_without_a_whole_answer(launcher, failing, job, resource, fault):
    launcher.submit(job)

    with failing("list", resource, fault), pytest.raises(LauncherUnavailable):
        launcher.observe()

    assert launcher.observe()[AN_ATTEMPT.handle].phase is Phase.QUEUED


@pytest.mark.parametrize("fault", BAD_ANSWER.values(), ids=BAD_ANSWER)
def test_adopt_without_a_whole_answer(launcher, failing, job, fault):
    launcher.submit(job)

    with failing("get", "jobs", fault), pytest.raises(LauncherUnavailable):
        launcher.submit(job)

    assert launcher.submit(job) == AN_ATTEMPT.handle


@pytest.mark.parametrize("fault", NO_ANSWER.values(), ids=NO_ANSWER)
def test_cancel_without_an_answer(launcher, kubernetes, failing, job, fault):
    launcher.submit(job)

    with failing("delete", "jobs", fault), pytest.raises(LauncherUnavailable):
        launcher.cancel(AN_ATTEMPT.handle)
    assert list(kubernetes.jobs()) == [AN_ATTEMPT.handle]

    launcher.cancel(AN_ATTEMPT.handle)
    assert kubernetes.jobs() == {}


def test_connection_refused(launcher, kubernetes, job):
    """Every call reports an outage until the server is back."""
    launcher.submit(job)
    kubernetes.stop()
    for call in (
        lambda: launcher.submit(job),
        launcher.observe,
        lambda: launcher.cancel("a"),
        lambda: launcher.log_source.parts("a"),
        lambda: launcher.log_source.read("20260101T000000Z-a"),
    ):
        with pytest.raises(LauncherUnavailable):
            call()

    kubernetes.start()

    assert launcher.observe()[AN_ATTEMPT.handle].phase is Phase.QUEUED


def test_image_pull_is_explained(launcher, kubernetes, job):
    launcher.submit(job)
    kubernetes.wait_in_pod(AN_ATTEMPT.handle, "ImagePullBackOff", "manifest unknown")

    seen = launcher.observe()[AN_ATTEMPT.handle]

    assert (seen.phase, seen.diagnosis.reason) == (Phase.QUEUED, "image_not_pulled")
    assert "manifest unknown" in seen.diagnosis.message
    assert "localhost:5000/autoencoder:1" in seen.diagnosis.message


@pytest.mark.parametrize(
    ("node", "reason"), [(True, None), (False, "node_not_ready"), (None, "node_not_ready")]
)
def test_unready_pod_and_its_node(launcher, kubernetes, job, node, reason):
    launcher.submit(job)
    kubernetes.run(AN_ATTEMPT.handle, node="node-1", ready=False)
    if node is not None:
        kubernetes.add_node("node-1", ready=node)

    seen = launcher.observe()[AN_ATTEMPT.handle]

    assert seen.phase is Phase.RUNNING
    assert (seen.diagnosis and seen.diagnosis.reason) == reason


def test_no_right_to_read_nodes(launcher, kubernetes, job):
    launcher.submit(job)
    kubernetes.run(AN_ATTEMPT.handle, node="node-1", ready=False)
    kubernetes.fail("get", "nodes", forbidden("get", "nodes", ""))

    seen = launcher.observe()[AN_ATTEMPT.handle]

    assert (seen.phase, seen.diagnosis) == (Phase.RUNNING, None)


def test_unmountable_volume_event(launcher, kubernetes, job):
    launcher.submit(job)
    pod = kubernetes.add_pod(AN_ATTEMPT.handle, node="node-1", created=LONG_AGO)
    kubernetes.warn("pods", pod, "FailedMount", "hostPath type check failed: /x is not a directory")

    seen = launcher.observe()[AN_ATTEMPT.handle]

    assert (seen.phase, seen.diagnosis.reason) == (Phase.QUEUED, "volume_not_mounted")
    assert "/x is not a directory" in seen.diagnosis.message
    assert kubernetes.count("list", "events") == 1


def test_pod_quota_event(launcher, kubernetes, job, monkeypatch):
    monkeypatch.setattr(job_status, "START_TIME", timedelta(seconds=-10))
    launcher.submit(job)
    message = 'Error creating: pods "x" is forbidden: exceeded quota: team, requested: pods=1'
    kubernetes.warn("jobs", AN_ATTEMPT.handle, "FailedCreate", message)

    assert launcher.observe()[AN_ATTEMPT.handle].diagnosis.reason == "quota_exceeded"


def test_unexplained_wait_is_observed_again(launcher, kubernetes, job, monkeypatch):
    monkeypatch.setattr(kubernetes_launcher, "RELOOK_SECONDS", 0)
    settled(launcher)
    launcher.submit(job)
    launcher.observe()
    launcher.changes(DEADLINE_SECONDS)

    assert launcher.changes(0) == {AN_ATTEMPT.handle}
    kubernetes.run(AN_ATTEMPT.handle)
    launcher.observe({AN_ATTEMPT.handle})
    eventually(lambda: launcher.changes(0) == frozenset())


def test_observe_before_any_pod_changed(launcher, kubernetes, job):
    launcher.submit(job)
    settled(launcher)

    assert launcher.observe({AN_ATTEMPT.handle})[AN_ATTEMPT.handle].phase is Phase.QUEUED

    kubernetes.run(AN_ATTEMPT.handle)
    eventually(lambda: launcher.changes(DEADLINE_SECONDS) == {AN_ATTEMPT.handle})
    assert launcher.observe({AN_ATTEMPT.handle})[AN_ATTEMPT.handle].phase is Phase.RUNNING


def test_events_are_listed_once(launcher, kubernetes):
    for name in "abc":
        attempt = replace(AN_ATTEMPT, experiment_id=name)
        launcher.submit(launcher.render(attempt))
        kubernetes.add_pod(attempt.handle, created=LONG_AGO)

    assert len(launcher.observe()) == 3

    assert kubernetes.count("list", "events") == 1


def test_long_lists_come_in_pages(launcher, kubernetes, monkeypatch):
    monkeypatch.setattr(kubernetes_launcher, "PAGE", 2)
    for name in "abcde":
        attempt = replace(AN_ATTEMPT, experiment_id=name)
        launcher.submit(launcher.render(attempt))
        kubernetes.run(attempt.handle)

    assert [seen.phase for seen in launcher.observe().values()] == [Phase.RUNNING] * 5

    assert kubernetes.count("list", "jobs") == kubernetes.count("list", "pods") == 3


def test_missing_page_is_an_outage(launcher, kubernetes, monkeypatch):
    monkeypatch.setattr(kubernetes_launcher, "PAGE", 1)
    for name in "ab":
        launcher.submit(launcher.render(replace(AN_ATTEMPT, experiment_id=name)))
    listing = kubernetes.listing

    def expire(resource, namespace, selector, limit, first=0):
        if first:
            raise Refused(410, "Expired", "The provided continue parameter is too old")
        return listing(resource, namespace, selector, limit)

    with monkeypatch.context() as slow:
        slow.setattr(kubernetes, "listing", expire)
        with pytest.raises(
            LauncherUnavailable
        ):  # half a list would mean that the other half is gone
            launcher.observe()

    assert len(launcher.observe()) == 2


def test_no_right_to_list_events(launcher, kubernetes, job):
    launcher.submit(job)
    kubernetes.add_pod(AN_ATTEMPT.handle, created=LONG_AGO)
    kubernetes.fail("list", "events", forbidden("list", "events", ""))

    seen = launcher.observe()[AN_ATTEMPT.handle]

    assert (seen.phase, seen.diagnosis) == (Phase.QUEUED, None)


def test_foreign_jobs_are_ignored(launcher, kubernetes, job):
    foreign = {"metadata": {"name": "theirs", "namespace": "default"}, "spec": {}}
    kubernetes.put("jobs", foreign)
    other_namespace = job["metadata"] | {"name": "x", "namespace": "elsewhere"}
    kubernetes.put("jobs", job | {"metadata": other_namespace})

    assert launcher.observe() == {}


@pytest.mark.parametrize("trouble", ["expire_versions", "cut_watches"])
def test_change_after_a_lost_watch(launcher, kubernetes, job, background, trouble):
    watching(launcher, kubernetes, 2)

    getattr(kubernetes, trouble)()

    watching(launcher, kubernetes, 4)
    launcher.changes(0)
    waiting = background.submit(launcher.changes, 2 * DEADLINE_SECONDS)
    launcher.submit(job)
    waiting.result(DEADLINE_SECONDS)


def test_change_after_an_outage(launcher, kubernetes, job, background):
    watching(launcher, kubernetes, 2)
    kubernetes.stop()
    kubernetes.start()

    watching(launcher, kubernetes, 4)
    launcher.changes(0)
    waiting = background.submit(launcher.changes, 2 * DEADLINE_SECONDS)
    launcher.submit(job)
    waiting.result(DEADLINE_SECONDS)


@pytest.mark.parametrize("resource", ["jobs", "pods"])
def test_watching_survives_a_bad_list(launcher, kubernetes, resource):
    kubernetes.fail("list", resource, Fault(garbage=True))

    watching(launcher, kubernetes, 2)


def test_short_watches_are_paced(launcher, kubernetes):
    kubernetes.watches_end_at_once = True

    launcher.changes(0)
    eventually(lambda: kubernetes.count("watch", "jobs") >= 4)

    first, *_, fourth = kubernetes.times("watch", "jobs")[:4]
    assert fourth - first > 0.2


def test_observe_some_jobs(launcher, kubernetes, job):
    launcher.submit(job)
    other = replace(AN_ATTEMPT, experiment_id="other")
    launcher.submit(launcher.render(other))
    kubernetes.run(AN_ATTEMPT.handle)
    kubernetes.run(other.handle)

    seen = launcher.observe({AN_ATTEMPT.handle, "autoencoder-never-was-1"})

    assert {name: one.phase for name, one in seen.items()} == {AN_ATTEMPT.handle: Phase.RUNNING}
    assert kubernetes.count("list", "jobs") == 0
    both = launcher.observe({AN_ATTEMPT.handle, other.handle})
    assert {one.phase for one in both.values()} == {Phase.RUNNING}
    assert len(both) == 2


@pytest.mark.parametrize("resource", ["jobs", "pods"])
def test_observe_some_jobs_in_an_outage(launcher, kubernetes, job, resource):
    launcher.submit(job)
    kubernetes.fail({"jobs": "get", "pods": "list"}[resource], resource, broken())

    with pytest.raises(LauncherUnavailable):
        launcher.observe({AN_ATTEMPT.handle})


def test_change_names_its_job(launcher, kubernetes, job):
    settled(launcher)

    launcher.submit(job)
    assert launcher.changes(DEADLINE_SECONDS) == {AN_ATTEMPT.handle}
    kubernetes.run(AN_ATTEMPT.handle)
    eventually(lambda: launcher.changes(DEADLINE_SECONDS) == {AN_ATTEMPT.handle})


def test_watch_resumes_without_a_list(launcher, kubernetes, job, monkeypatch):
    monkeypatch.setattr(kubernetes_watch, "WATCH_SECONDS", 1)
    monkeypatch.setattr(kubernetes_watch, "SHORT_SECONDS", 0)
    settled(launcher)
    lists = kubernetes.count("list", "jobs")
    watching(launcher, kubernetes, 6)

    launcher.submit(job)

    eventually(lambda: launcher.changes(DEADLINE_SECONDS) == {AN_ATTEMPT.handle})
    assert kubernetes.count("list", "jobs") == lists


def test_no_watch_means_any_change(launcher, kubernetes):
    """While there is no watch, any Job may have changed."""
    settled(launcher)
    kubernetes.fail("list", "jobs", broken(), times=1000)
    kubernetes.expire_versions()

    eventually(lambda: launcher.changes(0.05) is None)
    assert launcher.changes(0) is None

    kubernetes.clear_faults()
    settled(launcher)


def test_silent_watch(launcher, kubernetes):
    """The wait ends, so that the periodic list can find what the watch does not report."""
    settled(launcher)
    kubernetes.silence_watches()
    kubernetes.put("jobs", launcher.render(AN_ATTEMPT))

    assert launcher.changes(0.1) == frozenset()
    assert AN_ATTEMPT.handle in launcher.observe()


def test_delete_job_with_its_pods(launcher, kubernetes, job):
    launcher.submit(job)
    kubernetes.finish(kubernetes.run(AN_ATTEMPT.handle), 0)

    launcher.delete_job(AN_ATTEMPT)
    launcher.delete_job(AN_ATTEMPT)

    assert kubernetes.jobs() == {}
    assert launcher.log_source.parts(AN_ATTEMPT.handle) == []


def test_delete_job_spares_a_new_one(launcher, kubernetes, job):
    """A Job of the same name that was made for another experiment stays."""
    launcher.submit(job)
    launcher.delete_job(replace(AN_ATTEMPT, uid="an older one"))
    assert list(kubernetes.jobs()) == [AN_ATTEMPT.handle]

    kubernetes.fail("delete", "jobs", recreated())
    launcher.delete_job(AN_ATTEMPT)
    assert list(kubernetes.jobs()) == [AN_ATTEMPT.handle]


def settled(launcher):
    """Wait until both watches are open and report nothing more."""
    eventually(lambda: launcher.changes(0.05) == frozenset())


def watching(launcher, kubernetes, number):
    """Wait until `number` watches have been started."""
    launcher.changes(0)
    eventually(
        lambda: kubernetes.count("watch", "jobs") + kubernetes.count("watch", "pods") >= number
    )
