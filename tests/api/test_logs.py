import pytest

from backend.experiments import events as transitions
from backend.files.log_files import LogFiles
from backend.launchers.base import Observation, Phase
from tests.integration.waiting import eventually

EVENTS = {"Accept": "text/event-stream"}
FORM = {"learning_rate": "0.001", "epoch": "20", "experiment_id": "first"}


@pytest.fixture
def experiment(client, experiments):
    client.post("/test", data=FORM)
    return experiments.get("first")


def test_the_log_of_a_run_that_goes_on(client, experiment):
    response = client.get("/experiments/first/logs")

    assert response.status_code == 200
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.text == "epoch 1/20\nepoch 2/20\n"


def test_the_log_stays_when_the_job_is_gone(
    services, client, experiment, experiments, launcher, settings
):
    services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED))
    launcher.jobs.clear()
    launcher.down = True

    assert client.get("/experiments/first/logs").text == "epoch 1/20\nepoch 2/20\n"
    assert (settings.output_dir / "first" / "logs" / "1.log").is_file()


def test_each_attempt_keeps_its_log(services, client, experiment, experiments, launcher):
    services.recorder.record(experiment, Observation(experiment.uid, Phase.FAILED))
    client.post("/experiments/first/retry")
    launcher.jobs.clear()

    assert client.get("/experiments/first/logs").text == ""
    assert client.get("/experiments/first/logs?attempt=1").text == "epoch 1/20\nepoch 2/20\n"


def test_a_log_that_cannot_be_kept_does_not_hold_the_end_up(
    services, client, experiment, experiments, settings
):
    (settings.output_dir / "first" / "logs").touch()  # a file where the folder should be
    services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED))

    assert client.get("/experiments/first").json["status"] == "succeeded"


def test_a_launcher_that_is_away(client, experiment, launcher):
    launcher.down = True
    response = client.get("/experiments/first/logs")

    assert response.status_code == 503
    assert response.content_type == "application/problem+json"


def test_nothing_there(client):
    assert client.get("/experiments/none/logs").status_code == 404


@pytest.mark.parametrize("query", ["attempt=0", "tail=-1", "tail=x", "follow=maybe", "lines=1"])
def test_a_query_that_is_wrong(client, experiment, query):
    assert client.get(f"/experiments/first/logs?{query}").status_code == 422


@pytest.mark.parametrize("query", ["attempt=2", "attempt=2&follow=true"])
def test_an_attempt_that_was_not_made(client, experiment, query):
    response = client.get(f"/experiments/first/logs?{query}")

    assert response.status_code == 404
    assert "no attempt 2" in response.json["detail"]


@pytest.mark.parametrize(
    ("tail", "text"), [(0, ""), (1, "epoch 2/20\n"), (5, "epoch 1/20\nepoch 2/20\n")]
)
def test_the_tail_of_a_log(client, experiment, tail, text):
    assert client.get(f"/experiments/first/logs?tail={tail}").text == text


def test_of_a_log_that_cannot_be_read_what_was_kept_is_given(
    services, client, experiment, experiments, launcher
):
    assert services.logs.save(experiment)
    launcher.down = True

    assert client.get("/experiments/first/logs").text == "epoch 1/20\nepoch 2/20\n"
    assert not services.logs.save(experiment)


@pytest.fixture
def ended(experiment, services):
    services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED))
    return experiment


def test_a_log_that_is_followed_ends_with_its_attempt(client, ended):
    response = client.get("/experiments/first/logs?follow=true")

    assert response.content_type == "text/plain; charset=utf-8"
    assert response.text == "epoch 1/20\nepoch 2/20\n"


def test_a_log_as_events(client, ended):
    response = client.get("/experiments/first/logs", headers=EVENTS)

    assert response.content_type == "text/event-stream"
    assert response.text == (
        "retry: 2000\n\n"
        "id: 1\ndata: epoch 1/20\n\n"
        "id: 2\ndata: epoch 2/20\n\n"
        'event: end\ndata: {"attempt": 1}\n\n'
    )


@pytest.mark.parametrize(
    ("last", "query", "there"),
    [
        ("1", "", [False, True]),
        ("2", "", [False, False]),
        ("99", "", [False, False]),
        ("0", "?tail=1", [True, True]),  # what was seen last says more than how much is wanted
        ("", "?tail=1", [False, True]),
        ("", "?tail=9&follow=true", [True, True]),
    ],
)
def test_events_go_on_after_the_last_one_that_was_seen(client, ended, last, query, there):
    headers = EVENTS | ({"Last-Event-ID": last} if last else {})
    text = client.get(f"/experiments/first/logs{query}", headers=headers).text

    assert [f"epoch {number}/20" in text for number in (1, 2)] == there
    assert text.endswith('event: end\ndata: {"attempt": 1}\n\n')


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30])
def test_a_last_event_id_that_is_none(client, ended, last):
    response = client.get("/experiments/first/logs", headers=EVENTS | {"Last-Event-ID": last})

    assert response.status_code == 400
    assert response.content_type == "application/problem+json"


def test_a_line_with_line_ends_of_its_own_stays_one_event(services, client, experiment, launcher):
    launcher.log_source.printed = {experiment.job: {"1-pod": [b"10%\r20%\x0b\xff", b""]}}
    launcher.log_source.ended.add("1-pod")
    services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED))

    text = client.get("/experiments/first/logs", headers=EVENTS).text

    assert "id: 1\ndata: 10%\ndata: 20%\x0b\ufffd\n\nid: 2\ndata: \n\n" in text


@pytest.fixture
def during(launcher, monkeypatch):
    """Give a list of what happens, one after the other, whenever a stream waits."""
    steps = []

    def step(*_arguments):
        if steps:
            steps.pop(0)()

    launcher.log_source.on_wait = step
    monkeypatch.setattr(transitions.TransitionFeed, "wait", step)
    monkeypatch.setattr(transitions, "LOOK_SECONDS", 0)
    return steps


def test_a_log_is_followed_from_before_it_begins_over_every_pod_to_its_end(
    services, client, experiment, experiments, launcher, during
):
    printed = launcher.log_source.printed[experiment.job] = {}
    end = Observation(experiment.uid, Phase.SUCCEEDED)
    during += [
        lambda: printed.update({"1-pod": [b"a"]}),
        lambda: printed["1-pod"].append(b"b"),
        lambda: launcher.log_source.ended.add("1-pod"),
        lambda: printed.update({"2-pod": [b"c"]}),
        lambda: launcher.log_source.ended.add("2-pod"),
        lambda: services.recorder.record(experiment, end),
    ]

    assert client.get("/experiments/first/logs?follow=true").text == "a\nb\nc\n"
    assert during == []


def test_what_a_follower_missed_comes_from_the_kept_log(
    services, client, experiment, experiments, launcher, during
):
    printed = launcher.log_source.printed[experiment.job] = {"1-pod": [b"a"]}

    def end():
        printed["1-pod"] += [b"b", b"c"]
        services.recorder.record(experiment, Observation(experiment.uid, Phase.FAILED))
        launcher.jobs.clear()
        launcher.log_source.printed = {}
        launcher.down = True  # and never comes back

    during += [lambda: launcher.log_source.ended.add("1-pod"), end]

    assert client.get("/experiments/first/logs?follow=true").text == "a\nb\nc\n"


def test_a_pod_that_leaves_while_its_run_goes_on_leaves_its_log(
    services, client, experiment, experiments, launcher, during
):
    source = launcher.log_source
    source.printed[experiment.job] = {"1-pod": [b"a"], "2-pod": [b"c"]}
    source.ended |= {"1-pod", "2-pod"}
    services.recorder.record(
        experiment, Observation(experiment.uid, Phase.RUNNING, leaving=("1-pod",))
    )
    eventually(lambda: LogFiles(services.outputs).parts("first", 1) == ["1-pod"])
    del source.printed[experiment.job]["1-pod"]

    assert client.get("/experiments/first/logs").text == "a\nc\n"
    running = experiments.get("first")
    end = Observation(experiment.uid, Phase.SUCCEEDED)
    during.append(lambda: services.recorder.record(running, end))
    assert client.get("/experiments/first/logs?follow=true").text == "a\nc\n"
    assert client.get("/experiments/first/logs").text == "a\nc\n"


def test_what_a_run_prints_after_it_was_cancelled_is_kept(
    services, client, experiment, experiments, launcher
):
    source = launcher.log_source
    printed = source.printed[experiment.job] = {"1-pod": [b"a"]}

    assert client.post("/experiments/first/cancel").status_code == 202
    services.recorder.record_gone(experiments.get("first"))
    printed["1-pod"].append(b"stopped by signal 15")
    source.ended.add("1-pod")

    eventually(lambda: client.get("/experiments/first/logs").text == "a\nstopped by signal 15\n")


def test_what_a_pod_prints_after_its_job_was_deleted_is_kept(
    services, client, experiment, experiments, launcher
):
    source = launcher.log_source
    printed = source.printed[experiment.job] = {"1-pod": [b"a"]}
    services.logs.save(experiment)
    left = Observation(experiment.uid, Phase.UNKNOWN, leaving=("1-pod",))
    services.recorder.record(experiment, left)
    printed["1-pod"].append(b"finished")
    source.ended.add("1-pod")
    launcher.jobs.clear()
    services.recorder.record_gone(experiments.get("first"))

    eventually(lambda: client.get("/experiments/first/logs").text == "a\nfinished\n")
