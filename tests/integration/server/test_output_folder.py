"""OUTPUT_DIR is moved away, removed or made again while the server runs."""

import shutil
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from backend.launchers.base import Phase
from tests.integration.launcher_harness import AN_ATTEMPT, LocalHarness
from tests.integration.waiting import eventually

FORM = {"experiment_id": "first", "learning_rate": "0.001", "epoch": "20"}
FIRST = replace(AN_ATTEMPT, experiment_id="first")


@pytest.fixture
def output(environ):
    return Path(environ["OUTPUT_DIR"])


@pytest.fixture
def away(output):
    return output.with_name("away")


@pytest.fixture
def harness(environ, away):
    harness = LocalHarness(environ)
    yield harness
    harness.close()
    shutil.rmtree(away, ignore_errors=True)


@pytest.fixture
def server(backend, harness):
    """A server with an experiment that trains, and one that was cancelled before."""
    server = backend("serve").ready()
    assert server.ask("/test", FORM | {"experiment_id": "ended"}).status == 201
    server.ask("/experiments/ended/cancel", {"": ""})
    server.reaches("ended", "cancelled")
    assert server.ask("/test", FORM).status == 201
    harness.start(FIRST)
    server.reaches("first", "running")
    return server


def delete(server, experiment_id, query=""):
    """Send DELETE, and return the status of the answer."""
    address = f"http://{server.address}/experiments/{experiment_id}{query}"
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="DELETE")) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_moved_away_and_back(server, harness, output, away):
    """Nothing creates it anew, and the live experiment is not judged without it."""
    passes = server.stderr.count("Cannot reconcile")
    output.rename(away)
    answer = server.ask("/test", FORM | {"experiment_id": "second"})
    ready = server.ask("/readyz")

    assert answer.status == 503
    assert "OUTPUT_DIR" in answer.json["detail"]
    assert delete(server, "ended") == delete(server, "ended", "?outputs=true") == 503
    assert (ready.status, ready.json["status"]) == (200, "read-only")
    assert "OUTPUT_DIR" in ready.json["detail"]
    eventually(lambda: server.stderr.count("Cannot reconcile") > passes)
    assert server.ask("/experiments/first").json["status"] == "running"
    assert server.ask("/test", FORM | {"experiment_id": "second"}).status == 503
    assert not output.exists()
    assert {one["experiment_id"] for one in server.ask("/model").json} == {"first", "ended"}

    away.rename(output)
    harness.end(FIRST, 0)
    server.reaches("first", "succeeded")
    assert server.ask("/test", FORM | {"experiment_id": "second"}).status == 201
    assert delete(server, "ended") == 204
    assert "detail" not in server.ask("/readyz").json


def test_trainer_ends_while_it_is_away(server, harness, output, away):
    """Its end is recorded in the folder, wherever that is by then."""
    orders = away / "first" / "orders"
    output.rename(away)
    with orders.open("w") as pipe:
        pipe.write("exit 0\n")
    eventually(lambda: (away / ".local" / FIRST.handle / "exit.json").exists())
    assert server.ask("/experiments/first").json["status"] == "running"

    away.rename(output)
    server.reaches("first", "succeeded")


def test_made_again(server, harness, output, away):
    """The server goes on without a restart. A trainer that lives on is not taken for lost."""
    output.rename(away)
    output.mkdir()
    assert server.ask("/test", FORM | {"experiment_id": "second"}).status == 201
    server.reaches("second", "running")  # the reconciler has looked at all experiments since
    launcher = harness.launcher()

    assert server.ask("/experiments/first").json["status"] == "running"
    assert launcher.observe()[FIRST.handle].phase is Phase.UNKNOWN
    assert delete(server, "ended") == 204
    server.ask("/experiments/first/cancel", {"": ""})
    server.reaches("first", "cancelled")
