"""Webhooks with a plain HTTP receiver: away, slow, lying; killed processes; order."""

import hashlib
import hmac
import json
import logging
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from backend.domain.status import Status
from backend.domain.webhooks.targets import Allowed, Target
from backend.experiments.webhooks.delivery import LEASE, Delivery
from backend.experiments.webhooks.sender import Sender
from backend.launchers.base import Phase
from tests.fakes.scripted_server import ScriptedServer, breaks, sends

LOCAL = Allowed.parse(["127.0.0.0/8"])
ALL = frozenset(Status)
OK = sends(b"", 204)


class Clock:
    """A clock that the test moves."""

    def __init__(self):
        self.now = datetime.now(UTC) + timedelta(seconds=1)

    def __call__(self):
        return self.now

    def pass_(self, **duration):
        self.now += timedelta(**duration)


class Counts(Counter):
    def webhook(self, outcome, number=1):
        self[outcome] += number


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def counts():
    return Counts()


@pytest.fixture
def receiver():
    receiver = ScriptedServer()
    receiver.will(OK)
    yield receiver
    receiver.close()


@pytest.fixture
def start(store, receiver, clock, counts):
    """Return a function that starts a delivery, as each process does."""

    def start(kinds=ALL, *, url=receiver.url, allowed=LOCAL, secret="", seconds=10.0, **options):
        sender = Sender(allowed, secret, seconds)
        delivery = Delivery(Target(url, kinds, **options), store, sender, counts, clock)
        delivery.step()
        return delivery

    return start


def received(receiver):
    """Return the experiment and the status of each request."""
    return [(one.json["experiment_id"], one.json["to_status"]) for one in receiver.received]


def test_each_change_is_sent_once_and_in_order(start, receiver, make_experiment, counts):
    delivery = start()
    make_experiment("실험", Phase.QUEUED, Phase.RUNNING, Phase.SUCCEEDED)
    delivery.step()
    delivery.step()

    assert received(receiver) == [
        ("실험", "submitting"),
        ("실험", "queued"),
        ("실험", "running"),
        ("실험", "succeeded"),
    ]
    assert counts == {"delivered": 4}
    last = receiver.received[-1]
    assert (last.method, last.headers["Content-Type"]) == ("POST", "application/json")
    assert last.headers["X-Hello-Flask-Event"] == last.json["id"]
    assert "X-Hello-Flask-Signature" not in last.headers


def test_only_the_kinds_that_are_wanted(start, receiver, make_experiment):
    delivery = start(frozenset({"failed"}))
    make_experiment("good", Phase.QUEUED, Phase.SUCCEEDED)
    make_experiment("bad", Phase.QUEUED, Phase.FAILED)
    delivery.step()

    assert received(receiver) == [("bad", "failed")]


def test_signature_proves_the_body(start, receiver, make_experiment):
    delivery = start(frozenset({"failed"}), secret="secret")
    make_experiment("bad", Phase.FAILED)
    delivery.step()

    (request,) = receiver.received
    digest = hmac.new(b"secret", request.body, hashlib.sha256).hexdigest()
    assert request.headers["X-Hello-Flask-Signature"] == f"sha256={digest}"


def test_history_before_the_first_start_is_not_sent(start, receiver, make_experiment):
    make_experiment("old", Phase.FAILED)
    delivery = start()
    delivery.step()

    assert receiver.received == []


def test_receiver_that_is_away_for_an_hour(start, receiver, make_experiment, clock, counts, caplog):
    delivery = start(frozenset({"failed"}))
    receiver.will(breaks)
    for number in range(3):
        make_experiment(f"bad-{number}", Phase.FAILED)
    attempts = 0
    for _ in range(60):
        delivery.step()
        clock.pass_(minutes=1)
    attempts = len(receiver.received)
    receiver.will(OK)
    clock.pass_(minutes=10)
    delivery.step()

    assert sorted(received(receiver)[attempts:]) == [(f"bad-{n}", "failed") for n in range(3)]
    assert counts["delivered"] == 3
    assert counts["failed"] == attempts < 60
    warnings = [
        one for one in caplog.records if one.name.startswith("backend.experiments.webhooks")
    ]
    assert len(warnings) == 2  # it has failed, it works again


def test_given_up_after_a_day(start, receiver, make_experiment, clock, counts, caplog):
    delivery = start(frozenset({"failed"}))
    receiver.will(sends(b"", 500))
    for number in range(3):
        make_experiment(f"bad-{number}", Phase.FAILED)
    delivery.step()
    clock.pass_(hours=23, minutes=59)
    delivery.step()
    assert counts["given_up"] == 0
    clock.pass_(minutes=30)
    delivery.step()

    assert counts["given_up"] == 3
    (error,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "has failed for a day: 3 notice(s) are given up. HTTP status 500" in error.message
    receiver.will(OK)
    before = len(receiver.received)
    delivery.step()
    assert len(receiver.received) == before


def test_order_of_an_experiment_holds_while_others_go_on(start, receiver, make_experiment, clock):
    """One notice is refused for long; the others of its experiment wait, those of others do not."""
    delivery = start()
    receiver.will(sends(b"", 400), OK)
    make_experiment("first", Phase.QUEUED, Phase.RUNNING)
    make_experiment("second", Phase.QUEUED)
    delivery.step()  # "first" is refused as submitting
    assert received(receiver) == [("first", "submitting")]
    delivery.step()
    assert received(receiver)[1:] == [("second", "submitting"), ("second", "queued")]
    clock.pass_(minutes=1)
    delivery.step()
    assert received(receiver)[3:] == [
        ("first", "submitting"),
        ("first", "queued"),
        ("first", "running"),
    ]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (sends(b"", 302, Location="http://127.0.0.1:1/"), "redirects are not followed"),
        (sends(b"", 500), "HTTP status 500"),
        (breaks, "no answer that is HTTP"),
        (lambda handler: handler.wfile.write(b"nonsense\r\n\r\n"), "no answer that is HTTP"),
        (lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 999),
         "no answer that is HTTP"),
    ],
)  # fmt: skip
def test_failures(start, receiver, make_experiment, counts, caplog, answer, reason):
    delivery = start(frozenset({"failed"}))
    receiver.will(answer)
    make_experiment("bad", Phase.FAILED)
    delivery.step()

    assert counts == {"failed": 1}
    assert reason in caplog.text
    assert len(receiver.received) == 1


@pytest.mark.parametrize("length", [0, 10**15])
def test_receiver_that_lies_about_its_length(start, receiver, make_experiment, counts, length):
    """Only the status counts: the body is never read."""
    delivery = start(frozenset({"failed"}))
    receiver.will(sends(b"x" * 1000, 200, Content_Length=length))
    make_experiment("bad", Phase.FAILED)
    delivery.step()

    assert counts == {"delivered": 1}


def test_receiver_that_is_slow(start, receiver, make_experiment, counts, caplog):
    """It sends a byte now and then, so that no single read takes long."""

    def drips(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
        while True:  # until the connection is closed
            handler.wfile.write(b"x")
            time.sleep(0.01)

    delivery = start(frozenset({"failed"}), seconds=0.2)
    receiver.will(drips)
    make_experiment("bad", Phase.FAILED)
    delivery.step()
    assert counts == {"failed": 1}
    assert "no answer in time" in caplog.text


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/", "http://localhost:{port}/"])
def test_private_addresses_are_refused(start, receiver, make_experiment, counts, caplog, url):
    port = receiver.url.rpartition(":")[2]
    delivery = start(frozenset({"failed"}), url=url.format(port=port), allowed=Allowed())
    make_experiment("bad", Phase.FAILED)
    delivery.step()

    assert counts == {"failed": 1}
    assert "to which webhooks may not be sent: see WEBHOOK_ALLOWED" in caplog.text
    assert receiver.received == []


def test_message_for_slack(start, receiver, make_experiment):
    delivery = start(frozenset({"failed"}), is_slack=True)
    make_experiment("bad", Phase.FAILED)
    delivery.step()

    (request,) = receiver.received
    assert list(request.json) == ["text"]
    assert request.json["text"].startswith("bad (autoencoder) is now failed")


class Killed(BaseException):
    """The process is gone: nothing after this line happens."""


@pytest.mark.parametrize("moment", ["before it is noted", "before it is sent", "after it was sent"])
def test_killed_between_commit_and_delivery(
    start, receiver, make_experiment, clock, monkeypatch, moment
):
    kinds = frozenset({"failed"})
    delivery = start(kinds)
    make_experiment("bad", Phase.QUEUED, Phase.FAILED)
    send = Sender.send

    def killed(self, target, notice):
        if moment == "after it was sent":
            send(self, target, notice)
        raise Killed

    if moment != "before it is noted":
        with monkeypatch.context() as patch:
            patch.setattr(Sender, "send", killed)
            with pytest.raises(Killed):
                delivery.step()
    del delivery
    clock.pass_(seconds=LEASE.total_seconds())
    start(kinds)  # the next process

    assert set(received(receiver)) == {("bad", "failed")}
    ids = [one.json["id"] for one in receiver.received]
    assert len(ids) == (2 if moment == "after it was sent" else 1)
    assert len(set(ids)) == 1


def test_two_processes_send_once(start, receiver, make_experiment):
    deliveries = [start(), start()]
    make_experiment("good", Phase.QUEUED, Phase.SUCCEEDED)

    def other_steps(handler):
        receiver.will(OK)
        deliveries[1].step()  # while the first one is sending
        OK(handler)

    receiver.will(other_steps)
    deliveries[0].step()

    assert received(receiver) == [
        ("good", "submitting"),
        ("good", "queued"),
        ("good", "running"),
        ("good", "succeeded"),
    ]


@pytest.mark.parametrize("is_noted", [False, True])
def test_deleted_experiments_are_reported(
    start, receiver, make_experiment, experiments, clock, is_noted
):
    delivery = start(frozenset({"failed"}))
    receiver.will(breaks)
    make_experiment("bad", Phase.QUEUED, Phase.FAILED)
    if is_noted:
        delivery.step()
    experiments.delete("bad", outputs=True)
    receiver.will(OK)
    clock.pass_(minutes=1)
    delivery.step()

    assert received(receiver)[-1] == ("bad", "failed")
    assert len(receiver.received) == 1 + is_noted


def test_nothing_is_noted_without_targets(make_experiment, experiments, store):
    make_experiment("bad", Phase.FAILED)
    experiments.delete("bad", outputs=True)

    assert count(store, "webhook_outbox") == 0


def count(store, table):
    query = f"SELECT count(*) FROM {table}"
    return store.database.read(lambda connection: connection.exec_driver_sql(query).scalar())


def test_target_that_was_removed_is_forgotten(start, make_experiment, store, clock):
    start(url="http://127.0.0.1:9/old")
    clock.pass_(days=2)
    start()
    assert count(store, "webhook_target") == 1


def test_retry_is_reported_as_another_attempt(start, receiver, make_experiment, experiments):
    delivery = start(frozenset({"submitting", "failed"}))
    make_experiment("bad", Phase.FAILED)
    experiments.retry("bad")
    delivery.step()

    steps = [(one.json["attempt"], one.json["to_status"]) for one in receiver.received]
    assert steps == [(1, "submitting"), (1, "failed"), (2, "submitting")]
    assert len({one.json["id"] for one in receiver.received}) == 3
    assert json.loads(receiver.received[1].body)["diagnosis"] is None
