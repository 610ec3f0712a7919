"""What can go wrong between the program and the API server, and what it says then."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from backend.launchers import kubernetes as kubernetes_launcher
from backend.launchers.base import LauncherRefused, LauncherUnavailable, Phase
from backend.launchers.kubernetes import KubernetesLauncher
from backend.settings import Settings
from tests.fakes.kubernetes_api import Fault, broken, forbidden, invalid, quota_exceeded
from tests.integration.twins import A_RUN
from tests.integration.waiting import DEADLINE_SECONDS, eventually

NO_ANSWER = {
    "500": broken(500),
    "503": broken(503),
    "429": broken(429),
    "cut": Fault(),
    "hang": Fault(hang=True),
}
HALF_ANSWER = {"half, then cut": Fault(half=True), "half, then hang": Fault(half=True, hang=True)}
BAD_ANSWER = NO_ANSWER | HALF_ANSWER | {"no JSON": Fault(garbage=True)}


@pytest.fixture(autouse=True)
def short_timeout(monkeypatch):
    monkeypatch.setattr(kubernetes_launcher, "TIMEOUT", (2.0, 0.5))


@pytest.fixture
def launcher(environ, kubernetes):
    settings = Settings.from_environment(environ | {"LAUNCHER": "kubernetes"})
    launcher = KubernetesLauncher(settings)
    yield launcher
    launcher.close()


@pytest.fixture
def job(launcher):
    return launcher.render(A_RUN)


@pytest.fixture
def background():
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.mark.parametrize("fault", NO_ANSWER.values(), ids=NO_ANSWER)
def test_without_an_answer_nothing_is_started_and_a_later_try_works(
    launcher, kubernetes, job, fault
):
    kubernetes.fail("create", "jobs", fault)

    with pytest.raises(LauncherUnavailable) as refusal:
        launcher.submit(job)

    assert refusal.value.diagnosis.reason == "kubernetes_unreachable"
    assert kubernetes.jobs() == {}
    assert kubernetes.count("create", "jobs") == 1  # a create is not sent again unseen
    assert launcher.submit(job) == A_RUN.handle


@pytest.mark.parametrize("hang", [True, False], ids=["hang", "cut"])
def test_a_job_that_was_created_though_the_answer_got_lost_is_adopted(
    launcher, kubernetes, job, hang
):
    kubernetes.fail("create", "jobs", Fault(stored=True, hang=hang))
    with pytest.raises(LauncherUnavailable):
        launcher.submit(job)
    created = kubernetes.jobs()

    assert launcher.submit(job) == A_RUN.handle

    assert kubernetes.jobs() == created
    assert list(created) == [A_RUN.handle]


@pytest.mark.parametrize(
    ("fault", "reason", "quoted"),
    [
        (forbidden(), "kubernetes_forbidden", 'cannot create resource "jobs"'),
        (quota_exceeded(), "quota_exceeded", "limited: count/jobs.batch=5"),
    ],
)
def test_what_the_cluster_does_not_allow_now_can_be_mended(
    launcher, kubernetes, job, fault, reason, quoted
):
    kubernetes.fail("create", "jobs", fault)

    with pytest.raises(LauncherUnavailable) as refusal:
        launcher.submit(job)

    assert refusal.value.diagnosis.reason == reason
    assert quoted in refusal.value.diagnosis.message
    assert launcher.submit(job) == A_RUN.handle


def test_a_job_that_is_invalid_is_refused_for_good(launcher, kubernetes, job):
    kubernetes.fail("create", "jobs", invalid())

    with pytest.raises(LauncherRefused) as refusal:
        launcher.submit(job)

    assert refusal.value.diagnosis.reason == "job_refused"
    assert "Required value" in refusal.value.diagnosis.message


@pytest.mark.parametrize("fault", BAD_ANSWER.values(), ids=BAD_ANSWER)
@pytest.mark.parametrize("resource", ["jobs", "pods"])
def test_a_list_without_a_whole_answer_is_an_outage(launcher, kubernetes, job, resource, fault):
    launcher.submit(job)
    kubernetes.fail("list", resource, fault)

    with pytest.raises(LauncherUnavailable):
        launcher.observe()

    assert launcher.observe()[A_RUN.handle].phase is Phase.QUEUED


@pytest.mark.parametrize("fault", BAD_ANSWER.values(), ids=BAD_ANSWER)
def test_an_adoption_without_a_whole_answer_is_an_outage(launcher, kubernetes, job, fault):
    launcher.submit(job)
    kubernetes.fail("get", "jobs", fault)

    with pytest.raises(LauncherUnavailable):
        launcher.submit(job)

    assert launcher.submit(job) == A_RUN.handle


@pytest.mark.parametrize("fault", NO_ANSWER.values(), ids=NO_ANSWER)
def test_a_cancel_without_an_answer_is_an_outage(launcher, kubernetes, job, fault):
    launcher.submit(job)
    kubernetes.fail("delete", "jobs", fault)

    with pytest.raises(LauncherUnavailable):
        launcher.cancel(A_RUN.handle)
    assert list(kubernetes.jobs()) == [A_RUN.handle]

    launcher.cancel(A_RUN.handle)
    assert kubernetes.jobs() == {}


def test_a_refused_connection_is_an_outage_and_over_when_the_server_is_back(
    launcher, kubernetes, job
):
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

    assert launcher.observe()[A_RUN.handle].phase is Phase.QUEUED


def test_an_image_that_cannot_be_pulled_is_explained_while_the_run_waits(launcher, kubernetes, job):
    launcher.submit(job)
    kubernetes.wait_in_pod(A_RUN.handle, "ImagePullBackOff", "manifest unknown")

    seen = launcher.observe()[A_RUN.handle]

    assert (seen.phase, seen.diagnosis.reason) == (Phase.QUEUED, "image_not_pulled")
    assert "manifest unknown" in seen.diagnosis.message
    assert "localhost:5000/autoencoder:1" in seen.diagnosis.message


@pytest.mark.parametrize(
    ("node", "reason"), [(True, None), (False, "node_not_ready"), (None, "node_not_ready")]
)
def test_a_pod_that_is_not_ready_is_looked_at_together_with_its_node(
    launcher, kubernetes, job, node, reason
):
    launcher.submit(job)
    kubernetes.run(A_RUN.handle, node="node-1", ready=False)
    if node is not None:
        kubernetes.add_node("node-1", ready=node)

    seen = launcher.observe()[A_RUN.handle]

    assert seen.phase is Phase.RUNNING
    assert (seen.diagnosis and seen.diagnosis.reason) == reason


def test_without_the_right_to_look_at_nodes_nothing_is_said_of_them(launcher, kubernetes, job):
    launcher.submit(job)
    kubernetes.run(A_RUN.handle, node="node-1", ready=False)
    kubernetes.fail("get", "nodes", forbidden("get", "nodes", ""))

    seen = launcher.observe()[A_RUN.handle]

    assert (seen.phase, seen.diagnosis) == (Phase.RUNNING, None)


def test_jobs_of_other_people_are_not_seen(launcher, kubernetes, job):
    foreign = {"metadata": {"name": "theirs", "namespace": "default"}, "spec": {}}
    kubernetes.put("jobs", foreign)
    other_namespace = job["metadata"] | {"name": "x", "namespace": "elsewhere"}
    kubernetes.put("jobs", job | {"metadata": other_namespace})

    assert launcher.observe() == {}


@pytest.mark.parametrize("trouble", ["expire_versions", "cut_watches"])
def test_a_change_is_told_after_a_watch_was_lost(launcher, kubernetes, job, background, trouble):
    watching(launcher, kubernetes, 2)

    getattr(kubernetes, trouble)()

    watching(launcher, kubernetes, 4)
    launcher.changes(0)
    waiting = background.submit(launcher.changes, 2 * DEADLINE_SECONDS)
    launcher.submit(job)
    waiting.result(DEADLINE_SECONDS)


def test_a_change_is_told_after_the_server_was_away(launcher, kubernetes, job, background):
    watching(launcher, kubernetes, 2)
    kubernetes.stop()
    kubernetes.start()

    watching(launcher, kubernetes, 4)
    launcher.changes(0)
    waiting = background.submit(launcher.changes, 2 * DEADLINE_SECONDS)
    launcher.submit(job)
    waiting.result(DEADLINE_SECONDS)


@pytest.mark.parametrize("resource", ["jobs", "pods"])
def test_a_list_that_is_no_json_does_not_end_the_watching(launcher, kubernetes, resource):
    kubernetes.fail("list", resource, Fault(garbage=True))

    watching(launcher, kubernetes, 2)


def test_watches_that_end_at_once_are_not_renewed_without_a_pause(launcher, kubernetes):
    kubernetes.watches_end_at_once = True

    launcher.changes(0)
    eventually(lambda: kubernetes.count("watch", "jobs") >= 4)

    first, *_, fourth = kubernetes.times("watch", "jobs")[:4]
    assert fourth - first > 0.2


def watching(launcher, kubernetes, number):
    """Wait until so many watches have been started."""
    launcher.changes(0)
    eventually(
        lambda: kubernetes.count("watch", "jobs") + kubernetes.count("watch", "pods") >= number
    )
