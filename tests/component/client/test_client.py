"""The client against a server that fails in every way: what is repeated, and what is said."""

import io

import pytest

from hello_flask import (
    Client,
    Conflict,
    ExperimentFailed,
    HelloFlaskError,
    InvalidFields,
    NotFound,
    OlderServer,
    Problem,
    ServerAway,
    StillRunning,
    SweepFailed,
    Unauthorized,
    Unavailable,
)
from hello_flask.configuration import Configuration
from hello_flask.transport import PATIENCE_SECONDS, Transport
from tests.fakes.scripted_server import breaks, cuts_off, refuses, sends, streams
from tests.ports import free_address

RUNNING = {"experiment_id": "run-1", "status": "running", "attempt": 1}
SUCCEEDED = RUNNING | {"status": "succeeded"}
FAILED = RUNNING | {
    "status": "failed",
    "diagnosis": {"reason": "out_of_memory", "message": "Memory ran out.", "remedy": "Ask more."},
}
BUSY = refuses(503, "The database does not answer.", Retry_After=2)


@pytest.mark.parametrize("failure", [breaks, cuts_off, BUSY, refuses(429, "x"), refuses(502, "x")])
def test_reading_is_repeated(server, client, failure):
    server.will(failure, failure, sends([]))

    assert len(client.experiments()) == 0
    assert len(server.received) == 3


def test_patience_ends(server, client, clock):
    server.will(BUSY)

    with pytest.raises(Unavailable, match="The database does not answer"):
        client.models()

    assert clock.now <= PATIENCE_SECONDS
    assert min(clock.pauses) == 2.0  # as Retry-After says
    assert len(server.received) == len(clock.pauses) + 1


def test_server_that_is_away(clock):
    configuration = Configuration(f"http://{free_address()}")
    client = Client(transport=Transport(configuration, sleep=clock.sleep, clock=clock.read))

    with pytest.raises(ServerAway, match="refuses the connection: check that the server is run"):
        client.experiments()
    assert 0 < clock.now <= PATIENCE_SECONDS
    with pytest.raises(ServerAway):
        client.named("run-1").cancel()  # sent again too: it was not received


@pytest.mark.parametrize("failure", [breaks, cuts_off, BUSY])
def test_submission_is_repeated_with_the_same_id(server, client, failure):
    server.will(failure, sends(RUNNING, 201))

    client.submit(learning_rate=0.001, epoch=20)

    first, second = (request.json for request in server.received)
    assert first == second
    assert first["experiment_id"].startswith("autoencoder-")


def test_ids_that_are_made_up_differ(server, client):
    server.will(sends(RUNNING, 201))
    for _ in range(50):
        client.submit(learning_rate=0.001, epoch=20)

    assert len({request.json["experiment_id"] for request in server.received}) == 50


@pytest.mark.parametrize("change", ["cancel", "retry", "delete"])
@pytest.mark.parametrize("failure", [breaks, cuts_off, BUSY])
def test_changes_are_sent_once(server, client, change, failure):
    server.will(failure, sends(RUNNING))

    with pytest.raises((ServerAway, Unavailable)):
        getattr(client.named("run-1"), change)()
    assert len(server.received) == 1


@pytest.mark.parametrize("status", [502, 507])
def test_final_refusal_is_not_repeated(server, client, status):
    server.will(refuses(status, "Kubernetes refused the Job."))

    with pytest.raises(Unavailable):
        client.submit(learning_rate=0.001, epoch=20)
    assert len(server.received) == 1


def test_submission(server, client):
    server.will(sends(RUNNING, 201))

    client.submit("classifier", "실험 1", dataset="a.csv", size="large", target="y", epoch=3)

    (request,) = server.received
    assert (request.method, request.path) == ("POST", "/experiments")
    assert request.headers["Authorization"] == "Bearer secret-token"
    assert request.json == {
        "experiment_id": "실험 1",
        "model": "classifier",
        "dataset": "a.csv",
        "size": "large",
        "target": "y",
        "epoch": 3,
    }
    with pytest.raises(TypeError, match="model is no parameter"):
        client.submit(parameters={"model": "autoencoder"})


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, InvalidFields), (401, Unauthorized), (404, NotFound), (409, Conflict), (422, Problem)],
)
def test_problem_is_an_exception(server, client, status, kind):
    fields = [{"field": "epoch", "detail": "is missing."}]
    document = {"detail": "epoch is missing.", "errors": fields, "reason": "x"}
    server.will(sends(document, status))

    with pytest.raises(kind, match="epoch is missing") as caught:
        client.submit()

    error = caught.value
    assert (error.status, error.errors, error.reason) == (status, {"epoch": "is missing."}, "x")


@pytest.mark.parametrize(
    "document", [[], {"detail": None, "errors": 1}, {"detail": {"a": 1}, "errors": [1, {}]}, 5]
)
def test_odd_problems(server, client, document):
    server.will(sends(document, 409))
    with pytest.raises(Conflict):
        client.named("run-1").retry()


def test_answer_of_another_program(server, client):
    server.will(sends(b"<html>", 200))
    with pytest.raises(ServerAway, match="did not answer with JSON"):
        client.named("run-1").cancel()
    server.will(sends(b"<html>", 404))
    with pytest.raises(Problem, match="is not a hello-flask"):
        client.experiments()


def test_redirects_are_not_followed(server, client):
    server.will(sends(b"", 302, Location="http://elsewhere.example/"))

    with pytest.raises(Problem, match=r"redirects to http://elsewhere\.example/"):
        client.experiments()
    assert len(server.received) == 1


@pytest.mark.parametrize(
    "unknown",
    [refuses(404, "There is nothing at this address; GET /openapi.json lists it."),
     refuses(405, "The method is not allowed.")],
)  # fmt: skip
def test_older_server_says_so(server, client, unknown):
    server.will(unknown, sends({"status": "ok", "version": "0.1.0"}))

    with pytest.raises(OlderServer, match=r"is hello-flask 0\.1\.0, which does not know this"):
        client.inputs.delete("a.csv")


def test_experiment_of_an_older_server(server, client):
    """Version 0.1.0 knew neither `parameters` nor `metrics` in lists, nor a Link header."""
    server.will(sends([RUNNING | {"learning_rate": 0.001, "epoch": 20}]))

    (experiment,) = client.experiments(limit=1)

    assert experiment.is_live
    assert experiment.problem == ""
    assert client.experiments().to_rows()[0]["learning_rate"] == 0.001
    with pytest.raises(AttributeError, match="has no field 'parameters'; it has experiment_id"):
        _ = experiment.parameters


def test_pages(server, client):
    link = '</behind/a/proxy/experiments?limit=2&after=A%7E1>; rel="next"'
    server.will(sends([RUNNING, RUNNING], Link=link), sends([RUNNING]))

    found = client.experiments(where=["epoch<9", "epoch>1"], status="running")

    assert len(found) == 3
    assert server.received[0].path.endswith("where=epoch%3C9&where=epoch%3E1&limit=200")
    assert server.received[1].path.endswith("&after=A~1")


def test_pages_end_at_the_limit(server, client):
    link = '</experiments?after=A%7E1>; rel="next"'
    server.will(sends([RUNNING] * 9, Link=link))  # more than were asked for

    assert len(client.experiments(limit=2)) == 2
    assert len(server.received) == 1


def test_wait_outlives_a_server_that_restarts(server, client):
    server.will(sends(RUNNING), breaks, BUSY, cuts_off, sends(SUCCEEDED | {"metrics": {"a": 1}}))

    assert client.named("run-1").wait().metrics == {"a": 1}


def test_wait_for_one_that_fails(server, client):
    server.will(sends(FAILED))

    with pytest.raises(ExperimentFailed, match=r"run-1 has failed: Memory ran out\. Ask more\."):
        client.named("run-1").wait()
    assert client.named("run-1").wait(check=False).status == "failed"


def test_wait_for_one_that_is_deleted(server, client):
    server.will(sends(RUNNING), refuses(404, "There is no experiment 'run-1'."))
    with pytest.raises(ExperimentFailed, match="was deleted"):
        client.named("run-1").wait()


def test_wait_has_a_timeout(server, client, clock):
    server.will(sends(RUNNING))
    with pytest.raises(StillRunning, match=r"within 10 s\. It goes on"):
        client.named("run-1").wait(10)
    assert clock.now <= 10


def test_followed_log_continues_after_the_last_line(server, client):
    server.will(
        streams("retry: 1\n\nid: 1\ndata: 하나\n\nevent: progress\ndata: 10%\n\nid: 2\ndata: b\n"),
        breaks,
        streams(": keepalive\n\nid: 2\ndata: b\n\nid: 3\ndata:  c\n\nevent: end\ndata: {}\n\n"),
    )

    assert list(client.named("run-1").follow(tail=5)) == ["하나", "b", " c"]
    assert [each.headers["Last-Event-ID"] for each in server.received] == [None, "1", "1"]


def test_followed_attempt_stays_the_same(server, client):
    """A retry meanwhile begins another log."""
    server.will(sends(RUNNING), streams("event: end\ndata: {}\n\n"))

    assert list(client.experiment("run-1").follow()) == []
    assert server.received[-1].path.endswith("/logs?attempt=1")


def test_log(server, client):
    server.will(cuts_off, sends("한 줄\n".encode()))
    assert client.named("a/b").log(tail=1) == "한 줄\n"
    assert server.received[-1].path == "/experiments/a%2Fb/logs?tail=1"


def test_log_of_a_worker(server, client):
    server.will(sends(b"b\n"), streams("id: 1\ndata: b\n\nevent: end\ndata: {}\n\n"))

    assert client.named("run-1").log(worker=1) == "b\n"
    assert list(client.named("run-1").follow(1, worker=1)) == ["b"]
    assert [each.path for each in server.received] == [
        "/experiments/run-1/logs?worker=1",
        "/experiments/run-1/logs?attempt=1&worker=1",
    ]


def test_download_is_whole_or_absent(server, client, tmp_path):
    server.will(cuts_off, sends(b"whole"))
    file = client.named("run-1").download("logs/1.log", tmp_path)

    assert (file, file.read_bytes()) == (tmp_path / "1.log", b"whole")
    server.will(cuts_off)
    with pytest.raises(ServerAway, match="broke off"):
        client.named("run-1").download("model.pt", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["1.log"]


@pytest.mark.parametrize("path", ["..", "logs/..", "a/", "."])
def test_download_stays_in_its_folder(server, client, tmp_path, path):
    server.will(sends(b"x"))
    with pytest.raises(HelloFlaskError, match="cannot be the name of a file"):
        client.named("run-1").download(path, tmp_path)


def test_download_to_a_folder_that_is_missing(server, client, tmp_path):
    server.will(sends(b"x"))
    with pytest.raises(HelloFlaskError, match="cannot be written: No such file"):
        client.named("run-1").download("a", tmp_path / "missing" / "a")


def test_stream_that_breaks_off(server, client):
    server.will(cuts_off)
    with pytest.raises(ServerAway):
        client.named("run-1").write_to(io.BytesIO(), "a")
    assert len(server.received) == 1  # what was written cannot be taken back


def test_upload(server, client, tmp_path):
    file = tmp_path / "데이터.csv"
    file.write_bytes(b"1,2\n" * 50_000)
    server.will(sends({"name": "x", "size": 1}, 201))
    seen = []

    client.inputs.put(file, progress=lambda *bytes_: seen.append(bytes_))

    (request,) = server.received
    assert request.path == "/inputs/%EB%8D%B0%EC%9D%B4%ED%84%B0.csv"
    assert request.body == file.read_bytes()
    assert seen[-1] == (200_000, 200_000)


def test_upload_that_is_refused_unread(server, client, tmp_path):
    """The server answers and closes the connection before it has read the file."""
    file = tmp_path / "a.csv"
    file.write_bytes(b"1" * 20_000_000)
    server.leaves_bodies = True
    server.will(refuses(409, "There is a data set 'a.csv' already."))

    with pytest.raises((Conflict, ServerAway)):
        client.inputs.put(file)
    assert len(server.received) == 1


def test_upload_of_what_is_no_file(client, tmp_path):
    for path in (tmp_path, tmp_path / "missing.csv"):
        with pytest.raises(HelloFlaskError, match="is not a file"):
            client.inputs.put(path)


def test_numbers_of_numpy(server, client):
    numpy = pytest.importorskip("numpy")
    server.will(sends(RUNNING, 201))

    client.submit(epoch=numpy.int64(3), learning_rate=numpy.float32(0.5))

    assert server.received[0].json | {"epoch": 3, "learning_rate": 0.5} == server.received[0].json


def test_answer_without_an_end_is_given_up(server, client):
    server.will(sends(b"x", Content_Length=2**40))
    with pytest.raises(ServerAway):
        client.version()


SWEEP = {"sweep_id": "s 1", "status": "running", "metric": "val_loss", "best": None}


def test_sweep_is_started_with_ranges(server, client):
    server.will(sends(SWEEP, 201))
    sweep = client.start_sweep(
        sweep_id="s 1", learning_rate="0.001..0.1", hidden=[8, 16], trials=9, parameters={"seed": 3}
    )

    (request,) = server.received
    assert (request.method, request.path) == ("POST", "/sweeps")
    assert request.json == {
        "sweep_id": "s 1",
        "trials": 9,
        "parameter.learning_rate": "0.001..0.1",
        "parameter.hidden": [8, 16],
        "parameter.seed": 3,
    }
    assert (sweep.id, sweep.status, sweep.is_live) == ("s 1", "running", True)
    with pytest.raises(AttributeError, match="the sweep has no field 'nothing'"):
        _ = sweep.nothing


@pytest.mark.parametrize(
    ("call", "method", "path"),
    [
        (lambda sweep: sweep.trials(sort="value"), "GET", "/trials?sort=value"),
        (lambda sweep: sweep.trials(pruned=False), "GET", "/trials?sort=number&pruned=false"),
        (lambda sweep: sweep.trials(limit=5), "GET", "/trials?sort=number&limit=5"),
        (lambda sweep: sweep.analysis(), "GET", "/analysis"),
        (lambda sweep: sweep.pause(), "POST", "/pause"),
        (lambda sweep: sweep.resume(), "POST", "/resume"),
        (lambda sweep: sweep.cancel(), "POST", "/cancel"),
        (lambda sweep: sweep.delete(outputs=True), "DELETE", "?outputs=true"),
    ],
)
def test_requests_of_a_sweep(server, client, call, method, path):
    server.will(sends(SWEEP))
    call(client.named_sweep("s 1"))

    (request,) = server.received
    assert (request.method, request.path) == (method, f"/sweeps/s%201{path}")


def test_pages_of_sweeps(server, client):
    link = '</behind/a/proxy/sweeps?limit=200&before=7>; rel="next"'
    server.will(sends([SWEEP], Link=link), sends([SWEEP]))

    assert len(client.sweeps()) == 2
    assert server.received[1].path == "/sweeps?limit=200&before=7"


def test_wait_for_a_sweep(server, client):
    best = {"experiment_id": "s 1-0002", "value": 0.5}
    ended = SWEEP | {"status": "succeeded", "best": best}
    server.will(sends(SWEEP), breaks, sends(ended))
    assert client.named_sweep("s 1").wait().best["value"] == 0.5

    failed = SWEEP | {"status": "failed", "diagnosis": {"message": "None has.", "remedy": "Look."}}
    server.will(sends(failed))
    with pytest.raises(SweepFailed, match=r"s 1 has ended as failed: None has\. Look\."):
        client.named_sweep("s 1").wait()
