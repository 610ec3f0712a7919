"""What Kueue says of a Job, and its place in the queue."""

import json
from copy import deepcopy
from dataclasses import replace

import kubernetes_validate
import pytest
from kubernetes.client.exceptions import ApiException

from backend.domain.attempt import Attempt, Program
from backend.launchers.base import LauncherUnavailable
from backend.launchers.kubernetes.manifest import render
from backend.launchers.kubernetes.queues import kueue
from backend.launchers.kubernetes.queues.kueue import places, read_workload
from backend.launchers.kubernetes.queues.workloads import (
    API_GROUP,
    FAILED_SECONDS,
    LISTING_SHARE,
    PLACES,
    Workloads,
)
from backend.settings import Settings

ATTEMPT = Attempt("first", "uid1", "autoencoder", 0.001, 20, None, 1)
SETTINGS = Settings.from_environment(
    {"LAUNCHER": "kubernetes", "AE_MODEL_IMAGE_URL": "registry:5000/autoencoder:1"}
)
QUEUE = "kueue.x-k8s.io/queue-name"
CLASS = "kueue.x-k8s.io/priority-class"
PENDING = (
    "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor "
    "default-flavor, 1 more needed"
)
PREEMPTED = "Preempted to accommodate a workload (UID: 1) due to prioritization"


def condition(kind, status, reason, message, at="2026-11-30T10:00:00Z"):
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": at,
    }


def workload(*conditions, name="a", created="2026-11-30T09:00:00Z", checks=(), **spec):
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": f"uid-{name}"}
    metadata = {"name": f"job-{name}-abc12", "creationTimestamp": created}
    status = {"conditions": list(conditions), "admissionChecks": list(checks)}
    return {
        "metadata": metadata | {"ownerReferences": [owner]},
        "spec": {"queueName": "team-a", "priority": 0, "active": True} | spec,
        "status": status,
    }


def job(name="a", queue="team-a"):
    return {"metadata": {"name": name, "uid": f"uid-{name}", "labels": {QUEUE: queue}}}


WAITING = condition("QuotaReserved", "False", "Pending", PENDING)
RESERVED = condition("QuotaReserved", "True", "QuotaReserved", "Quota reserved")
ADMITTED = condition("Admitted", "True", "Admitted", "The workload is admitted")


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        (workload(), "suspended", "team-a has not admitted the experiment yet."),
        (workload(WAITING), "suspended", f"team-a has not admitted the experiment yet: {PENDING}"),
        (
            workload(condition("QuotaReserved", "False", "WaitingForQuota", PENDING)),
            "suspended",
            PENDING,
        ),
        (
            workload(
                condition("QuotaReserved", "False", "Inadmissible", "LocalQueue x doesn't exist")
            ),
            "queue_unusable",
            "cannot admit the experiment: LocalQueue x doesn't exist",
        ),
        (
            workload(condition("QuotaReserved", "False", "ExceedsMaxQuota", "needs 9 cpu")),
            "queue_unusable",
            "needs 9 cpu",
        ),
        (
            workload(
                RESERVED,
                checks=[
                    {"name": "nodes", "state": "Pending", "message": "3 nodes are provisioned"},
                    {"name": "budget", "state": "Ready", "message": "paid"},
                ],
            ),
            "suspended",
            "waits for admission checks: nodes (3 nodes are provisioned)",
        ),
        (workload(RESERVED), "suspended", "admits it soon"),
        (workload(active=False), "queue_unusable", "has deactivated the experiment's Workload."),
        (
            workload(
                condition("Evicted", "True", "Preempted", PREEMPTED),
                condition("Preempted", "True", "InClusterQueue", PREEMPTED),
                WAITING,
            ),
            "preempted",
            f"the experiment ({PREEMPTED}), and has not admitted it again yet: {PENDING}",
        ),
        (
            workload(
                condition("Evicted", "True", "ClusterQueueStopped", "The ClusterQueue is stopped"),
                condition("QuotaReserved", "False", "Pending", "The ClusterQueue is stopped"),
            ),
            "suspended",
            "has taken back the place of the experiment: The ClusterQueue is stopped",
        ),
        (
            workload(
                condition("Evicted", "True", "Deactivated", "exceeded the maximum number"),
                active=False,
            ),
            "queue_unusable",
            "has deactivated the experiment's Workload: exceeded the maximum number",
        ),
    ],
)
def test_words_of_a_workload(body, reason, words):
    found = read_workload(body)

    assert (found.diagnosis.reason, words in found.diagnosis.message) == (reason, True), found
    assert found.diagnosis.remedy
    assert not found.is_admitted


def test_foreign_words_are_bounded():
    message = "x" * 30_000 + "\n\x1b[31m"
    found = read_workload(workload(condition("QuotaReserved", "False", "Pending", message)))

    assert len(found.diagnosis.message) < 1000
    assert "\x1b" not in found.diagnosis.message


def test_admitted_after_a_preemption():
    again = "Previously: Preempted"
    found = read_workload(
        workload(RESERVED, ADMITTED, condition("Evicted", "False", "QuotaReserved", again))
    )

    assert found.is_admitted
    assert not found.is_pending


def test_order_of_a_queue():
    """By priority, then by age; one that was not ready in time queues behind the others."""
    late = condition("Evicted", "True", "PodsReadyTimeout", "late", at="2026-11-30T12:00:00Z")
    preempted = condition("Evicted", "True", "Preempted", "x", at="2026-11-30T12:00:00Z")
    foreign = workload(WAITING, name="of-others", created="2026-11-30T09:30:00Z")
    foreign["metadata"]["ownerReferences"][0]["kind"] = "RayJob"
    bodies = [
        workload(WAITING, name="second", created="2026-11-30T10:00:00Z"),
        workload(WAITING, late, name="late", created="2026-11-30T08:00:00Z"),
        workload(WAITING, preempted, name="first", created="2026-11-30T09:00:00Z"),
        workload(WAITING, name="urgent", created="2026-11-30T11:00:00Z", priority=10),
        workload(RESERVED, ADMITTED, name="runs"),
        workload(WAITING, name="never", active=False),
        workload(WAITING, name="elsewhere", queueName="team-b"),
        workload(condition("Finished", "True", "Succeeded", "done"), name="done"),
        foreign,
    ]
    read = [read_workload(body) for body in bodies]

    assert places(one for one in read if one) == {
        "team-a": ["urgent", "first", "", "second", "late"],
        "team-b": ["elsewhere"],
    }


# The Job


def test_job_without_a_queue():
    spec = render(ATTEMPT, SETTINGS)["spec"]

    assert "suspend" not in spec
    assert len(spec["podFailurePolicy"]["rules"]) == 2


@pytest.mark.parametrize("version", ["1.29", kubernetes_validate.latest_version()])
def test_job_of_a_queue(version):
    """It is born suspended, and being stopped by its queue counts as no failure."""
    classes = (("high", "urgent"), ("normal", "batch"))
    program = Program(queue="team-a", workload_priority_classes=classes)
    made = render(replace(ATTEMPT, program=program, priority="high"), SETTINGS)

    kubernetes_validate.validate(made, version, strict=True)
    assert made["spec"]["suspend"] is True
    assert (
        made["metadata"]["labels"] | {QUEUE: "team-a", CLASS: "urgent"}
        == (made["metadata"]["labels"])
    )
    pod = made["spec"]["template"]
    assert not any(label.startswith("kueue") for label in pod["metadata"]["labels"])
    last = made["spec"]["podFailurePolicy"]["rules"][-1]
    assert (last["action"], last["onExitCodes"]["values"]) == ("Ignore", [143])


def test_entry_names_the_queue_before_the_settings():
    settings = replace(SETTINGS, job_queue="everybody")
    own = replace(ATTEMPT, program=Program(queue="team-a"))

    assert kueue.labels(ATTEMPT, settings) == {QUEUE: "everybody"}
    assert kueue.labels(own, settings) == {QUEUE: "team-a"}


def test_priority_without_a_queue_is_kubernetes_alone():
    program = Program(workload_priority_classes=(("normal", "batch"),))

    assert kueue.labels(replace(ATTEMPT, program=program), SETTINGS) == {}


# Reading


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Server:
    """Answers requests; `seconds` pass in each."""

    def __init__(self, clock):
        self.clock, self.seconds = clock, 0.0
        self.bodies, self.requests = [], []
        self.failure = None
        self.version = "v1beta2"

    def __call__(self, _method, path, query=None):
        self.requests.append(path)
        self.clock.now += self.seconds
        if self.failure:
            raise self.failure
        if path == API_GROUP:
            return json.dumps({"preferredVersion": {"version": self.version}}).encode()
        if f"/{self.version}/" not in path:
            raise ApiException(status=404, reason="Not Found")
        first = int(query.get("continue", 0))
        page = self.bodies[first : first + 2]  # smaller than the limit, as it may be
        more = {"continue": str(first + 2)} if self.bodies[first + 2 :] else {}
        return json.dumps({"metadata": more, "items": page}).encode()

    @property
    def lists(self):
        return sum(path != API_GROUP for path in self.requests)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server(clock):
    return Server(clock)


@pytest.fixture
def read(server, clock, tmp_path):
    return Workloads(server, tmp_path, clock)


def later(clock, seconds=60.0):
    clock.now += seconds


@pytest.mark.parametrize("version", ["v1beta1", "v1beta2", "v1"])
def test_version_that_kueue_prefers(server, read, version):
    server.version = version
    server.bodies = [workload(WAITING)]

    assert PENDING in read.diagnose(job()).message


def test_newer_version_after_an_upgrade_of_kueue(server, read, clock):
    server.version = "v1beta1"
    server.bodies = [workload(WAITING)]
    read.diagnose(job())
    server.version = "v1beta2"

    later(clock)
    assert read.diagnose(job()).reason == "queue_unusable"  # for a moment, as if it were gone
    later(clock)
    assert PENDING in read.diagnose(job()).message


def test_one_list_for_all(server, read):
    server.bodies = [workload(WAITING, name=name) for name in "abcde"]
    server.seconds = 0.001

    for name in "abcde":
        assert PENDING in read.diagnose(job(name)).message

    assert server.lists == 3  # pages


def test_listing_takes_a_small_part_of_the_time(server, read, clock):
    server.bodies = [workload(WAITING)]
    server.seconds = 2.0
    read.diagnose(job())  # the version, and the list

    later(clock, LISTING_SHARE * 4.0 - 1)
    read.diagnose(job())
    assert server.lists == 1
    later(clock, 1)
    read.diagnose(job())
    assert server.lists == 2


def test_older_job_of_the_same_name(server, read):
    server.bodies = [workload(WAITING)]
    other = job()
    other["metadata"]["uid"] = "another"

    assert read.diagnose(other) == kueue.TAKEN_UP_LATE


def test_job_that_was_suspended_after_the_list(server, read):
    server.bodies = [workload(RESERVED, ADMITTED)]

    assert read.diagnose(job()) == kueue.TAKEN_UP_LATE


def test_changed_words(server, read, clock):
    server.bodies = [workload(WAITING, name=name) for name in "ab"]
    for name in "ab":
        read.diagnose(job(name))
    assert read.changed() == frozenset()

    more = deepcopy(WAITING) | {"message": "insufficient quota for memory"}
    server.bodies = [workload(more, name="a"), workload(WAITING, name="b")]
    later(clock)

    assert read.changed() == {"a"}
    assert "memory" in read.diagnose(job("a")).message
    assert read.changed() == frozenset()


def test_nothing_is_listed_for_nobody(server, read, clock):
    """As soon as no Job is suspended any more, Kueue is left alone."""
    server.bodies = [workload(WAITING)]
    read.diagnose(job())
    read.forget()
    later(clock)

    assert read.changed() == frozenset()
    assert server.lists == 1
    assert read.waiting("a") == []


@pytest.mark.parametrize(
    ("status", "reason", "remedy"),
    [(403, "suspended", "yaml/kueue/"), (404, "queue_unusable", "Install Kueue")],
)
def test_without_right_or_kueue(server, read, clock, caplog, status, reason, remedy):
    """It is logged once, and tried again rarely."""
    server.failure = ApiException(status=status, reason="no")
    for _ in range(3):
        found = read.diagnose(job())
        assert (found.reason, remedy in found.remedy) == (reason, True)
    assert len(server.requests) == 1
    later(clock, FAILED_SECONDS)
    read.diagnose(job())
    assert len(server.requests) == 2
    assert len(caplog.records) == 1

    server.failure = None
    server.bodies = [workload(WAITING)]
    later(clock, FAILED_SECONDS)
    assert read.changed() == {"a"}
    assert PENDING in read.diagnose(job()).message
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    "failure",
    [
        LauncherUnavailable(kueue.UNREADABLE),
        ApiException(status=410, reason="The provided continue parameter is too old"),
    ],
)
def test_outage_changes_nothing(server, read, clock, failure):
    server.bodies = [workload(WAITING, name=name) for name in "ab"]
    read.diagnose(job("b"))
    server.failure = failure
    later(clock)

    assert read.changed() == frozenset()
    assert PENDING in read.diagnose(job("b")).message
    assert read.waiting("b") == ["a", "b"]


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b""])
def test_answer_of_a_proxy(tmp_path, clock, answer):
    read = Workloads(lambda *_arguments, **_options: answer, tmp_path, clock)

    assert read.diagnose(job()) == kueue.TAKEN_UP_LATE


def test_group_without_a_version(server, read):
    server.version = "../../x"

    assert read.diagnose(job()).reason == "queue_unusable"
    assert server.lists == 0


# Places


def test_place_is_known_to_other_processes(server, read, tmp_path):
    server.bodies = [workload(WAITING, name=name) for name in "cab"]
    read.diagnose(job())
    web = Workloads(server, tmp_path)

    assert web.waiting("b") == ["a", "b", "c"]
    assert web.waiting("z") == []
    assert [path.name for path in tmp_path.iterdir()] == [PLACES]


def test_places_of_the_process_before_are_removed(server, read, tmp_path):
    (tmp_path / PLACES).write_text('{"team-a": ["a"]}')

    assert read.waiting("a") == ["a"]
    read.changed()
    assert read.waiting("a") == []


def test_no_file_without_a_queue(read, tmp_path):
    read.changed()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"team-a": 5}', '{"team-a": "a"}', "[" * 100_000]
)
def test_damaged_places(read, tmp_path, content):
    (tmp_path / PLACES).write_text(content)

    assert read.waiting("a") == []


def test_link_instead_of_places(read, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text('{"team-a": ["a"]}')
    (tmp_path / PLACES).symlink_to(secret)

    assert read.waiting("a") == []


def test_missing_output_folder(server, clock, tmp_path):
    server.bodies = [workload(WAITING)]
    read = Workloads(server, tmp_path / "gone", clock)

    assert PENDING in read.diagnose(job()).message
    assert read.waiting("a") == []
