import pytest

from backend.experiments.events import TransitionFeed
from backend.files.log_files import LogFiles
from backend.files.log_lines import Unfinished
from backend.launchers.base import Observation, Phase
from tests.component.support import FORM
from tests.integration.waiting import eventually

EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture
def experiment(client, experiments):
    client.post("/test", data=FORM)
    return experiments.get("first")


def test_log_of_live_attempt(client, experiment):
    response = client.get("/experiments/first/logs")

    assert response.status_code == 200
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.text == "epoch 1/20\nepoch 2/20\n"


def test_log_outlives_job(services, client, experiment, experiments, launcher, settings):
    services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED))
    launcher.jobs.clear()
    launcher.down = True

    assert client.get("/experiments/first/logs").text == "epoch 1/20\nepoch 2/20\n"
    assert (settings.output_dir / "first" / "logs" / "1.log").is_file()


def test_log_of_each_attempt(services, client, experiment, experiments, launcher):
    services.recorder.record(experiment, Observation(experiment.uid, Phase.FAILED))
    client.post("/experiments/first/retry")
    launcher.jobs.clear()

    assert client.get("/experiments/first/logs").text == ""
    assert client.get("/experiments/first/logs?attempt=1").text == "epoch 1/20\nepoch 2/20\n"


def test_unwritable_log_does_not_block_end(services, client, experiment, experiments, settings):
    (settings.output_dir / "first" / "logs").touch()  # a file where the folder should be
    services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED))

    assert client.get("/experiments/first").json["status"] == "succeeded"


def test_launcher_unavailable(client, experiment, launcher):
    launcher.down = True
    response = client.get("/experiments/first/logs")

    assert response.status_code == 503
    assert response.content_type == "application/problem+json"


def test_unknown_experiment(client):
    assert client.get("/experiments/none/logs").status_code == 404


@pytest.mark.parametrize("query", ["attempt=0", "tail=-1", "tail=x", "follow=maybe", "lines=1"])
def test_invalid_query(client, experiment, query):
    assert client.get(f"/experiments/first/logs?{query}").status_code == 422


@pytest.mark.parametrize("query", ["attempt=2", "attempt=2&follow=true"])
def test_unknown_attempt(client, experiment, query):
    response = client.get(f"/experiments/first/logs?{query}")

    assert response.status_code == 404
    assert "no attempt 2" in response.json["detail"]


@pytest.mark.parametrize(
    ("tail", "text"), [(0, ""), (1, "epoch 2/20\n"), (5, "epoch 1/20\nepoch 2/20\n")]
)
def test_tail(client, experiment, tail, text):
    assert client.get(f"/experiments/first/logs?tail={tail}").text == text


def test_saved_log_during_outage(services, client, experiment, experiments, launcher):
    assert services.logs.save(experiment)
    launcher.down = True

    assert client.get("/experiments/first/logs").text == "epoch 1/20\nepoch 2/20\n"
    assert not services.logs.save(experiment)


@pytest.fixture
def ended(experiment, services):
    services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED))
    return experiment


def test_follow_ends_with_attempt(client, ended):
    response = client.get("/experiments/first/logs?follow=true")

    assert response.content_type == "text/plain; charset=utf-8"
    assert response.text == "epoch 1/20\nepoch 2/20\n"


def test_server_sent_events(client, ended):
    response = client.get("/experiments/first/logs", headers=EVENTS)

    assert response.content_type == "text/event-stream"
    assert response.text == (
        "retry: 2000\n\n"
        "id: 1\ndata: epoch 1/20\n\n"
        "id: 2\ndata: epoch 2/20\n\n"
        'event: end\ndata: {"attempt": 1}\n\n'
    )


@pytest.mark.parametrize(
    ("last", "query", "is_sent"),
    [
        ("1", "", [False, True]),
        ("2", "", [False, False]),
        ("99", "", [False, False]),
        ("0", "?tail=1", [True, True]),  # Last-Event-ID outranks tail
        ("", "?tail=1", [False, True]),
        ("", "?tail=9&follow=true", [True, True]),
    ],
)
def test_resume_after_last_event_id(client, ended, last, query, is_sent):
    headers = EVENTS | ({"Last-Event-ID": last} if last else {})
    text = client.get(f"/experiments/first/logs{query}", headers=headers).text

    assert [f"epoch {number}/20" in text for number in (1, 2)] == is_sent
    assert text.endswith('event: end\ndata: {"attempt": 1}\n\n')


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30])
def test_invalid_last_event_id(client, ended, last):
    response = client.get("/experiments/first/logs", headers=EVENTS | {"Last-Event-ID": last})

    assert response.status_code == 400
    assert response.content_type == "application/problem+json"


def test_line_breaks_within_a_line(services, client, experiment, launcher):
    """A carriage return begins the line anew, as in a terminal, and does not split its event."""
    launcher.log_source.printed = {experiment.job: {"1-pod": [b"10%\r20%\x0b\xff", b""]}}
    launcher.log_source.ended.add("1-pod")
    services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED))

    text = client.get("/experiments/first/logs", headers=EVENTS).text

    assert "id: 1\ndata: 20%\x0b\ufffd\n\nid: 2\ndata: \n\n" in text


def test_colours_on_request(services, client, experiment, launcher):
    launcher.log_source.printed = {experiment.job: {"1-pod": [b"\x1b[38;5;9mred\x1b[m plain"]}}
    launcher.log_source.ended.add("1-pod")
    services.recorder.record(experiment, Observation(experiment.uid, Phase.SUCCEEDED))
    path, coloured = "/experiments/first/logs", "\x1b[0;91mred\x1b[0m plain"

    assert client.get(path).text == "red plain\n"
    assert client.get(f"{path}?ansi=true").text == f"{coloured}\n"
    assert client.get(f"{path}?ansi=true&follow=true").text == f"{coloured}\n"
    assert f"data: {coloured}\n" in client.get(f"{path}?ansi=true", headers=EVENTS).text


@pytest.fixture
def while_waiting(launcher, monkeypatch):
    """Return a list of functions; one is called each time a stream waits."""
    steps = []

    def step(*_arguments):
        if steps:
            steps.pop(0)()

    launcher.log_source.on_wait = step
    monkeypatch.setattr(TransitionFeed, "wait", step)
    monkeypatch.setattr("backend.experiments.events.POLL_SECONDS", 0)
    return steps


def test_follow_across_pods(services, client, experiment, experiments, launcher, while_waiting):
    """A follower starts before the first line and sees every pod to the end."""
    printed = launcher.log_source.printed[experiment.job] = {}
    end = Observation(experiment.uid, Phase.SUCCEEDED)
    while_waiting += [
        lambda: printed.update({"1-pod": [b"a"]}),
        lambda: printed["1-pod"].append(b"b"),
        lambda: launcher.log_source.ended.add("1-pod"),
        lambda: printed.update({"2-pod": [b"c"]}),
        lambda: launcher.log_source.ended.add("2-pod"),
        lambda: services.recorder.record(experiment, end),
    ]

    assert client.get("/experiments/first/logs?follow=true").text == "a\nb\nc\n"
    assert while_waiting == []


def test_follower_completes_from_saved_log(
    services, client, experiment, experiments, launcher, while_waiting
):
    """The launcher is lost for good; the rest of the log comes from the folder."""
    printed = launcher.log_source.printed[experiment.job] = {"1-pod": [b"a"]}

    def end():
        printed["1-pod"] += [b"b", b"c"]
        services.recorder.record(experiment, Observation(experiment.uid, Phase.FAILED))
        launcher.jobs.clear()
        launcher.log_source.printed = {}
        launcher.down = True  # and never comes back

    while_waiting += [lambda: launcher.log_source.ended.add("1-pod"), end]

    assert client.get("/experiments/first/logs?follow=true").text == "a\nb\nc\n"


def test_log_of_leaving_pod_is_saved(
    services, client, experiment, experiments, launcher, while_waiting
):
    source = launcher.log_source
    source.printed[experiment.job] = {"1-pod": [b"a"], "2-pod": [b"c"]}
    source.ended |= {"1-pod", "2-pod"}
    services.recorder.record(
        experiment, Observation(experiment.uid, Phase.RUNNING, leaving=((0, "1-pod"),))
    )
    eventually(lambda: LogFiles(services.outputs).parts("first", 1) == ["1-pod"])
    del source.printed[experiment.job]["1-pod"]

    assert client.get("/experiments/first/logs").text == "a\nc\n"
    running = experiments.get("first")
    end = Observation(experiment.uid, Phase.SUCCEEDED)
    while_waiting.append(lambda: services.recorder.record(running, end))
    assert client.get("/experiments/first/logs?follow=true").text == "a\nc\n"
    assert client.get("/experiments/first/logs").text == "a\nc\n"


def test_output_after_cancel_is_saved(services, client, experiment, experiments, launcher):
    source = launcher.log_source
    printed = source.printed[experiment.job] = {"1-pod": [b"a"]}

    assert client.post("/experiments/first/cancel").status_code == 202
    services.recorder.record_gone(experiments.get("first"))
    printed["1-pod"].append(b"stopped by signal 15")
    source.ended.add("1-pod")

    eventually(lambda: client.get("/experiments/first/logs").text == "a\nstopped by signal 15\n")


def test_output_after_job_deletion_is_saved(services, client, experiment, experiments, launcher):
    source = launcher.log_source
    printed = source.printed[experiment.job] = {"1-pod": [b"a"]}
    services.logs.save(experiment)
    leaving = Observation(experiment.uid, Phase.UNKNOWN, leaving=((0, "1-pod"),))
    services.recorder.record(experiment, leaving)
    printed["1-pod"].append(b"finished")
    source.ended.add("1-pod")
    launcher.jobs.clear()
    services.recorder.record_gone(experiments.get("first"))

    eventually(lambda: client.get("/experiments/first/logs").text == "a\nfinished\n")


BAR = b"".join(b"\r%4d of 3000 [%-40s]" % (n, b"#" * (n // 75)) for n in range(3001))
LAST_STATE = f"3000 of 3000 [{'#' * 40}]"


@pytest.fixture
def printed(experiment, launcher):
    """Return a list of the lines that the trainer prints."""
    lines = [b"\x1b[32mloading\x1b[0m", BAR, b"\x1b[1;31mValueError\x1b[0m: boom"]
    launcher.log_source.printed = {experiment.job: {"1-pod": lines}}
    launcher.log_source.ended.add("1-pod")
    return lines


def test_log_as_a_terminal_shows_it(services, client, experiment, printed):
    """A progress bar is one line with its last state, and colours are not shown."""
    text = f"loading\n{LAST_STATE}\nValueError: boom\n"
    assert client.get("/experiments/first/logs").text == text

    services.recorder.record(experiment, Observation(experiment.uid, Phase.FAILED))
    assert client.get("/experiments/first/logs").text == text
    assert client.get("/experiments/first/logs?tail=2").text == text.partition("\n")[2]
    assert client.get("/experiments/first/logs?follow=true").text == text
    events = client.get("/experiments/first/logs", headers=EVENTS).text
    assert f"id: 2\ndata: {LAST_STATE}\n\nid: 3\ndata: ValueError: boom\n\n" in events


def test_kept_file_has_what_was_printed(services, client, experiment, printed, settings):
    services.recorder.record(experiment, Observation(experiment.uid, Phase.FAILED))
    kept = (settings.output_dir / "first" / "logs" / "1.log").read_bytes()

    assert kept.startswith(printed[0] + b"\n\r   0 of 3000")
    assert kept.endswith(BAR[-30_000:] + b"\n" + printed[2] + b"\n")


def test_unfinished_line_is_sent(client, experiment, monkeypatch):
    """A follower sees the states of a bar: as text over each other, as events of their own."""
    monkeypatch.setattr(
        "backend.experiments.logs.Logs.follow",
        lambda *_arguments, **_options: iter(
            [
                (1, b"loading"),
                (2, Unfinished(b"\r10%")),
                (2, Unfinished(b"\r10%\r20% #")),
                (2, Unfinished(b"\r10%\r20% #\rdone")),
                (2, b"\r10%\r20% #\rdone   "),
                (3, Unfinished(b"the end")),
                (3, b"the end."),
            ]
        ),
    )
    text = client.get("/experiments/first/logs?follow=true").text
    events = client.get("/experiments/first/logs", headers=EVENTS).text

    assert text == "loading\n10%\r20% #\rdone#\rdone \nthe end.\n"
    assert events == (
        "retry: 2000\n\n"
        "id: 1\ndata: loading\n\n"
        "event: progress\ndata: 10%\n\n"
        "event: progress\ndata: 20% #\n\n"
        "event: progress\ndata: done#\n\n"
        "id: 2\ndata: done\n\n"
        "event: progress\ndata: the end\n\n"
        "id: 3\ndata: the end.\n\n"
        'event: end\ndata: {"attempt": 1}\n\n'
    )
