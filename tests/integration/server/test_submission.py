"""One form makes one Job, however often it is sent and whatever fails."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from backend.domain.experiment import Parameters
from backend.experiments import reconciler
from backend.experiments.submission import Outcome
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


def look(client):
    return client.get(f"/experiments/{FORM['experiment_id']}").json


@pytest.mark.needs("mysql")
def test_two_servers_on_mysql(mysql, backend, kubernetes, settings):
    """Ten clients send the same form to two servers at once."""
    variables = {"DB_URL": mysql.database.url, "LAUNCHER": "kubernetes"}
    servers = [backend("web", **variables) for _ in range(2)]
    for server in servers:
        server.ready()
    rounds = [f"{number}회" for number in range(8)]
    together = threading.Barrier(10)

    def post(number):
        """Post every experiment at the same moment as the nine others."""
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


def test_slower_of_two_equal_submits(database, make_app, kubernetes):
    slow, fast = (make_app(database).extensions["services"] for _ in range(2))
    begun, overtaken = threading.Event(), threading.Event()
    render = slow.launcher.render

    def render_slowly(attempt):
        begun.set()
        assert overtaken.wait(DEADLINE_SECONDS)
        return render(attempt)

    slow.launcher.render = render_slowly
    with ThreadPoolExecutor(1) as pool:
        slower = pool.submit(slow.experiments.submit, "a", PARAMETERS)
        assert begun.wait(DEADLINE_SECONDS)
        outcome, experiment = fast.experiments.submit("a", PARAMETERS)
        overtaken.set()

        assert outcome is Outcome.CREATED
        assert slower.result(DEADLINE_SECONDS) == (Outcome.EXISTING, experiment)
    assert kubernetes.count("create", "jobs") == 1


def test_form_to_success(client, reconcile, kubernetes):
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


def test_submitted_after_an_outage(client, reconcile, kubernetes):
    """The form is accepted while the API server is away."""
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
def test_submitted_when_allowed(client, reconcile, kubernetes, fault, reason):
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
def test_unconfirmed_job_is_not_repeated(client, reconcile, kubernetes, failing, fault):
    with failing("create", "jobs", fault):
        assert client.post("/test", data=FORM).status_code in (201, 202)
    (created,) = eventually(kubernetes.jobs).values()

    reconcile()

    assert look(client)["status"] == "queued"
    assert list(kubernetes.jobs().values()) == [created]


def test_refused_job_has_failed(client, reconcile, kubernetes):
    kubernetes.fail("create", "jobs", invalid())

    answer = client.post("/test", data=FORM)

    assert (answer.status_code, answer.content_type) == (502, "application/problem+json")
    assert answer.json["reason"] == "job_refused"
    assert look(client)["status"] == "failed"
    reconcile()
    assert kubernetes.count("create", "jobs") == 1


def test_deleted_job_has_failed(client, reconcile, kubernetes):
    job = client.post("/test", data=FORM).json["job"]
    kubernetes.run(job)
    reconcile()

    kubernetes.remove_job(job)
    reconcile()

    seen = look(client)
    assert (seen["status"], seen["diagnosis"]["reason"]) == ("failed", "job_deleted")


def test_end_survives_its_job(client, reconcile, kubernetes):
    job = client.post("/test", data=FORM).json["job"]
    kubernetes.finish(kubernetes.run(job), 0)
    reconcile()
    ended = look(client)

    kubernetes.remove_job(job)
    reconcile()

    assert look(client) == ended
    assert ended["status"] == "succeeded"
