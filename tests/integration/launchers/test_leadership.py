"""Two reconcilers: one works, the other replaces it, in a cluster and on one machine."""

import json
import os
import re
import signal
import urllib.request

import pytest

from backend.launchers.base import LauncherUnavailable
from backend.launchers.kubernetes.lease import DURATION_SECONDS, Lease
from backend.launchers.leadership import FileSeat
from backend.settings import Settings
from tests.fakes.kubernetes_api import broken, forbidden
from tests.integration.waiting import eventually
from tests.ports import free_address

NAME = "hello-flask-reconcile"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def compete(kubernetes, environ, clock):
    """Return a function that makes a competitor for the lease."""
    variables = environ | {"LAUNCHER": "kubernetes", "RECONCILE_LEASE": NAME}
    settings = Settings.from_environment(variables)
    return lambda identity: Lease(settings, identity=identity, clock=clock)


def holder(kubernetes):
    return kubernetes.objects["leases"]["default", NAME]["spec"]["holderIdentity"]


def test_one_holds_the_lease(kubernetes, compete, clock):
    a, b = compete("a"), compete("b")
    assert a.try_hold()
    assert not b.try_hold()
    for _ in range(5):  # a renews, so that b never sees the same renewal for long
        clock.now += DURATION_SECONDS - 1
        assert a.try_hold()
        assert not b.try_hold()
    assert holder(kubernetes) == "a"


def test_lease_that_is_not_renewed_expires(kubernetes, compete, clock):
    a, b = compete("a"), compete("b")
    assert a.try_hold()
    assert not b.try_hold()
    clock.now += DURATION_SECONDS + 1
    assert b.try_hold()
    assert holder(kubernetes) == "b"
    assert not a.try_hold()
    assert kubernetes.objects["leases"]["default", NAME]["spec"]["leaseTransitions"] == 1


def test_new_competitor_waits_for_the_whole_duration(compete, clock):
    """Its own clock counts, not the time in the lease."""
    assert compete("a").try_hold()
    clock.now += 1000
    b = compete("b")
    assert not b.try_hold()
    clock.now += DURATION_SECONDS + 1
    assert b.try_hold()


def test_released_lease_is_free_at_once(kubernetes, compete):
    a, b = compete("a"), compete("b")
    assert a.try_hold()
    a.release()
    assert b.try_hold()
    assert holder(kubernetes) == "b"


def test_release_of_a_lease_of_another(kubernetes, compete, clock):
    a, b = compete("a"), compete("b")
    assert a.try_hold()
    assert not b.try_hold()
    clock.now += DURATION_SECONDS + 1
    assert b.try_hold()
    a.release()
    assert holder(kubernetes) == "b"


def test_of_two_writers_one_wins(kubernetes, compete, clock, monkeypatch):
    """The lease changes between reading and writing."""
    a, b = compete("a"), compete("b")
    assert compete("dead").try_hold()
    for one in (a, b):
        assert not one.try_hold()
    clock.now += DURATION_SECONDS + 1
    update, is_between = kubernetes.update_lease, []

    def update_after_b(*arguments):
        if not is_between:
            is_between.append(True)
            lease = json.loads(json.dumps(kubernetes.objects["leases"]["default", NAME]))
            lease["spec"]["holderIdentity"] = "b"
            update("default", NAME, lease)
        return update(*arguments)

    monkeypatch.setattr(kubernetes, "update_lease", update_after_b)
    assert not a.try_hold()
    assert holder(kubernetes) == "b"


def test_api_server_that_cannot_say(kubernetes, compete):
    lease = compete("a")
    for fault in (broken(), forbidden("get", "leases", "coordination.k8s.io")):
        kubernetes.fail("get", "leases", fault)
        with pytest.raises(LauncherUnavailable):
            lease.try_hold()
    assert lease.try_hold()


def test_file_is_locked_by_one(tmp_path):
    a, b = (FileSeat(tmp_path / "data" / "lock") for _ in range(2))
    assert a.try_hold()
    assert a.try_hold()
    assert not b.try_hold()
    a.release()
    assert b.try_hold()
    b.release()


def test_file_that_cannot_be_locked_keeps_nobody_from_work(tmp_path, caplog):
    (tmp_path / "data").write_text("")
    seat = FileSeat(tmp_path / "data" / "lock")
    assert seat.try_hold()
    assert seat.try_hold()
    assert caplog.text.count("reconcile.lock cannot be locked: ") == 1
    seat.release()


def metric(address, name):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as answer:
        return float(re.search(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)[1])


def leads(address):
    return metric(address, "hello_flask_reconcile_leads") == 1


def is_ready(address):
    with urllib.request.urlopen(f"http://{address}/readyz", timeout=60) as answer:
        return answer.status == 200


@pytest.mark.parametrize("where", ["cluster", "machine"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_second_reconciler_replaces_the_first(request, backend, where, end):
    variables = {}
    if where == "cluster":
        request.getfixturevalue("kubernetes")
        kubeconfig = os.environ["KUBECONFIG"]
        variables = {"LAUNCHER": "kubernetes", "RECONCILE_LEASE": NAME, "KUBECONFIG": kubeconfig}
    first, second = free_address(), free_address()
    leader = backend("reconcile", HEALTH_BIND=first, **variables)
    eventually(lambda: " leads." in leader.stderr)
    standby = backend("reconcile", HEALTH_BIND=second, **variables)
    eventually(lambda: "waiting to replace it" in standby.stderr)
    assert leads(first)
    assert not leads(second)
    assert is_ready(second)
    assert metric(second, "hello_flask_reconcile_passes_total") == 0

    os.kill(leader.pid, end)
    leader.exit_code()

    eventually(lambda: leads(second))
    eventually(lambda: metric(second, "hello_flask_reconcile_passes_total") > 0)
    standby.terminate()
    assert standby.exit_code() == 0


def test_leader_that_was_out_of_touch_gives_way(kubernetes, backend):
    variables = {"LAUNCHER": "kubernetes", "RECONCILE_LEASE": NAME}
    leader = backend("reconcile", KUBECONFIG=os.environ["KUBECONFIG"], **variables)
    eventually(lambda: " leads." in leader.stderr)
    with kubernetes.changed:
        lease = json.loads(json.dumps(kubernetes.objects["leases"]["default", NAME]))
        lease["spec"]["holderIdentity"] = "another"
        kubernetes.store("leases", ("default", NAME), lease, "MODIFIED")
    assert leader.exit_code() == 1
    assert "Another reconciler has become the leader" in leader.stderr
