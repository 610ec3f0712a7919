"""One form, one Job: whoever sends it how often, and whatever breaks on the way."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from backend.experiments import reconciler
from backend.experiments.reconciler import Reconciler
from backend.experiments.service import Outcome, Parameters
from tests.fakes.kubernetes_api import Fault, forbidden, invalid, quota_exceeded
from tests.integration.waiting import DEADLINE_SECONDS, eventually

FORM = {"experiment_id": "실험 1", "learning_rate": "0.001", "epoch": "20"}
PARAMETERS = Parameters("autoencoder", 0.001, 20, None)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(reconciler, "SUBMIT_GRACE", timedelta(0))


@pytest.fixture
def app(database, make_app):
    return make_app(database)


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def reconcile(app):
    return Reconciler(app.extensions["services"], ttl_seconds=60).reconcile


def look(client):
    return client.get(f"/experiments/{FORM['experiment_id']}").json


@pytest.mark.needs("mysql")
def test_two_servers_that_get_a_form_ten_times_at_once_start_one_job(
    mysql, backend, kubernetes, settings
):
    variables = {"DB_URL": mysql.database.url, "LAUNCHER": "kubernetes"}
    servers = [backend("web", **variables) for _ in range(2)]
    for server in servers:
        server.ready()
    rounds = [f"{number}회" for number in range(8)]
    together = threading.Barrier(10)

    def post(number):
        """Post every run at the same moment as the nine others do."""
        statuses = []
        for experiment_id in rounds:
            together.wait(DEADLINE_SECONDS)
            form = FORM | {"experiment_id": experiment_id}
            statuses.append(servers[number % 2].ask("/test", form).status)
        return statuses

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(post, range(10)))

    for statuses in zip(*answers, strict=True):
        assert Counter(statuses) == {201: 1, 200: 9}
    ids = mysql.database.execute("SELECT experiment_id FROM experiment ORDER BY id")
    assert [row[0] for row in ids] == rounds
    created = [job["metadata"]["annotations"] for job in kubernetes.jobs().values()]
    assert sorted(one["hello-flask/experiment-id"] for one in created) == rounds
    assert sorted(folder.name for folder in settings.output_dir.iterdir()) == rounds


def test_of_two_equal_submissions_the_slower_one_gets_the_same_run(database, make_app, kubernetes):
    slow, fast = (make_app(database).extensions["services"] for _ in range(2))
    begun, overtaken = threading.Event(), threading.Event()
    render = slow.launcher.render

    def render_slowly(run):
        begun.set()
        assert overtaken.wait(DEADLINE_SECONDS)
        return render(run)

    slow.launcher.render = render_slowly
    with ThreadPoolExecutor(1) as pool:
        slower = pool.submit(slow.experiments.submit, "a", PARAMETERS)
        assert begun.wait(DEADLINE_SECONDS)
        outcome, experiment = fast.experiments.submit("a", PARAMETERS)
        overtaken.set()

        assert outcome is Outcome.CREATED
        assert slower.result(DEADLINE_SECONDS) == (Outcome.EXISTING, experiment)
    assert kubernetes.count("create", "jobs") == 1


def test_a_run_is_followed_to_its_end(client, reconcile, kubernetes):
    answer = client.post("/test", data=FORM)
    assert (answer.status_code, answer.json["message"]) == (201, "Job Created")
    (job,) = kubernetes.jobs()
    assert answer.json["job"] == job

    pod = kubernetes.run(job)
    reconcile()
    assert look(client)["status"] == "running"
    kubernetes.finish(pod, 0)
    reconcile()

    ended = look(client)
    assert ended["finished_at"] >= ended["started_at"]
    steps = [step["to_status"] for step in ended["history"]]
    assert steps == ["submitting", "queued", "running", "succeeded"]


def test_while_the_api_server_is_away_a_run_is_accepted_and_submitted_later(
    client, reconcile, kubernetes
):
    kubernetes.stop()
    answer = client.post("/test", data=FORM)
    assert (answer.status_code, answer.json["status"]) == (202, "submitting")
    assert answer.json["diagnosis"]["reason"] == "kubernetes_unreachable"
    assert client.post("/test", data=FORM).status_code == 200

    kubernetes.start()
    reconcile()

    seen = look(client)
    assert (seen["status"], seen["diagnosis"]) == ("queued", None)
    assert list(kubernetes.jobs()) == [seen["job"]]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(forbidden(), "kubernetes_forbidden"), (quota_exceeded(), "quota_exceeded")],
)
def test_what_the_cluster_forbids_now_is_explained_and_submitted_later(
    client, reconcile, kubernetes, fault, reason
):
    kubernetes.fail("create", "jobs", fault)
    answer = client.post("/test", data=FORM)
    assert (answer.status_code, answer.json["diagnosis"]["reason"]) == (202, reason)
    assert kubernetes.jobs() == {}

    reconcile()

    assert look(client)["status"] == "queued"
    assert len(kubernetes.jobs()) == 1


@pytest.mark.parametrize(
    "fault",
    [Fault(stored=True, hang=True), Fault(stored=True), Fault(half=True)],
    ids=["hang", "cut", "half an answer"],
)
def test_a_job_whose_creation_was_not_confirmed_is_not_created_again(
    client, reconcile, kubernetes, failing, fault
):
    with failing("create", "jobs", fault):
        assert client.post("/test", data=FORM).status_code in (201, 202)
    (created,) = eventually(kubernetes.jobs).values()

    reconcile()

    assert look(client)["status"] == "queued"
    assert list(kubernetes.jobs().values()) == [created]


def test_a_job_that_kubernetes_refuses_has_failed(client, reconcile, kubernetes):
    kubernetes.fail("create", "jobs", invalid())

    answer = client.post("/test", data=FORM)

    assert (answer.status_code, answer.content_type) == (502, "application/problem+json")
    assert answer.json["reason"] == "job_refused"
    assert look(client)["status"] == "failed"
    reconcile()
    assert kubernetes.count("create", "jobs") == 1


def test_a_job_that_somebody_deletes_has_failed(client, reconcile, kubernetes):
    job = client.post("/test", data=FORM).json["job"]
    kubernetes.run(job)
    reconcile()

    kubernetes.remove_job(job)
    reconcile()

    seen = look(client)
    assert (seen["status"], seen["diagnosis"]["reason"]) == ("failed", "job_deleted")


def test_what_has_ended_stays_as_it_is_when_its_job_goes(client, reconcile, kubernetes):
    job = client.post("/test", data=FORM).json["job"]
    kubernetes.finish(kubernetes.run(job), 0)
    reconcile()
    ended = look(client)

    kubernetes.remove_job(job)
    reconcile()

    assert look(client) == ended
    assert ended["status"] == "succeeded"
