"""Webhooks on every database, and over the death of the server."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from backend.domain.experiment import Parameters, new_values
from backend.domain.webhooks.targets import Allowed, Target
from backend.experiments.webhooks.delivery import Delivery
from backend.experiments.webhooks.sender import Sender
from tests.fakes.scripted_server import ScriptedServer, breaks, sends
from tests.integration.waiting import eventually

OK = sends(b"", 204)
PARAMETERS = Parameters("autoencoder", 0.001, 20, None)


class Counts(Counter):
    def webhook(self, outcome, number=1):
        self[outcome] += number


@pytest.fixture
def receiver():
    receiver = ScriptedServer()
    receiver.will(OK)
    yield receiver
    receiver.close()


def statuses(receiver):
    return [(one.json["experiment_id"], one.json["to_status"]) for one in receiver.received]


def test_each_database(store, receiver):
    kinds = frozenset({"submitting", "queued", "cancelled"})
    now = [datetime.now(UTC)]
    delivery = Delivery(
        Target(receiver.url, kinds),
        store,
        Sender(Allowed.parse(["127.0.0.1"]), "secret"),
        Counts(),
        lambda: now[0],
    )
    delivery.step()
    for name in ("실험", "other"):
        store.insert(new_values(name, PARAMETERS))
    known = store.get("실험")
    step = {"values": {}, "at": now[0]}
    assert store.advance(known, path=["submitting", "queued"], times=[now[0]], **step)
    receiver.will(breaks)
    delivery.step()
    known = store.get("실험")
    assert store.advance(known, path=["queued", "cancelled"], times=[now[0]], **step)
    assert store.delete(store.get("실험"))
    receiver.will(OK)
    before = len(receiver.received)
    now[0] += timedelta(minutes=2)
    delivery.step()
    delivery.step()

    sent = statuses(receiver)[before:]
    assert [status for name, status in sent if name == "실험"] == [
        "submitting",
        "queued",
        "cancelled",
    ]
    assert [status for name, status in sent if name == "other"] == ["submitting"]


def test_server_that_is_killed(backend, receiver):
    """The receiver is away when the experiment ends, and so is the server when it comes back."""
    variables = {
        "WEBHOOK_URL": f"{receiver.url}/hook submitting,cancelled",
        "WEBHOOK_ALLOWED": "127.0.0.1",
        "WEBHOOK_SECRET": "secret",
    }
    receiver.will(breaks)
    server = backend("serve", **variables).ready()
    form = {"learning_rate": 0.001, "epoch": 20}
    probes = count()

    def is_listening():
        server.ask("/test", form | {"experiment_id": f"probe-{next(probes)}"})
        return receiver.received

    eventually(is_listening)
    server.ask("/test", form | {"experiment_id": "실험"})
    assert server.ask("/experiments/실험/cancel", {"x": 1}).status in (200, 202)
    server.reaches("실험", "cancelled")
    server.kill_all()

    receiver.will(OK)
    del receiver.received[:]
    backend("serve", **variables).ready()

    eventually(lambda: ("실험", "cancelled") in statuses(receiver))
    sent = [status for name, status in statuses(receiver) if name == "실험"]
    assert sent == ["submitting", "cancelled"]
    assert receiver.received[0].path == "/hook"
    assert receiver.received[0].headers["X-Hello-Flask-Signature"].startswith("sha256=")
