"""What pods use, from the answers of metrics.k8s.io, whatever these are."""

import io
import json
import logging

import pytest
import urllib3
from kubernetes.client.exceptions import ApiException

from backend.domain.execution.quantities import parse_quantity
from backend.domain.execution.usage import Usage
from backend.launchers.kubernetes.metrics_api import pod_metrics
from backend.launchers.kubernetes.metrics_api.answer import usage_by_job
from backend.launchers.kubernetes.metrics_api.pod_metrics import PodMetrics


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("123456789n", 0.123456789),
        ("250u", 0.00025),
        ("250m", 0.25),
        ("2", 2),
        ("1.5", 1.5),
        (".5", 0.5),
        ("2.", 2),
        ("128Mi", 128 * 2**20),
        ("1Ki", 1024),
        ("3k", 3000),
        ("2G", 2e9),
        ("1Ei", 2**60),
        ("1E", 1e18),  # exa, not an exponent
        ("1e3", 1000),
        ("12E-1", 1.2),
        ("5e+2", 500),
    ],
)
def test_quantity(text, number):
    assert parse_quantity(text) == pytest.approx(number, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "Mi",
        "1 Mi",
        "1mi",
        "1KI",
        "0x10",
        "1e",
        "1e999",
        "١",
        "9" * 40,
        "1\n",
        None,
        5,
        [],
    ],
)
def test_no_quantity(text):
    assert parse_quantity(text) is None


def pod(name, *containers, job=None):
    labels = {"labels": {"job-name": job}} if job else {}
    return {
        "metadata": {"name": name} | labels,
        "containers": [{"name": "train", "usage": usage} for usage in containers],
    }


def answer(*items):
    return json.dumps({"kind": "PodMetricsList", "items": items}).encode()


def test_containers_and_pods_of_a_job_are_added():
    content = answer(
        pod(
            "a-1-xyzab", {"cpu": "250m", "memory": "1Mi"}, {"cpu": "1", "memory": "1Ki"}, job="a-1"
        ),
        pod("a-1-second", {"cpu": "500000000n", "memory": "3Mi"}, job="a-1"),
        pod("b-1-xyzab", {"cpu": "0", "memory": "128Mi"}),  # without labels
        pod("c-1-xyzab", {"cpu": "5", "memory": "5"}, job="c-1"),
    )
    assert usage_by_job(content, ["a-1", "b-1"]) == {
        "a-1": Usage(1.75, 4 * 2**20 + 1024),
        "b-1": Usage(0.0, 2**27),
    }


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b"3", b"[" * 100_000])
def test_what_is_no_list_is_refused(content):
    with pytest.raises(ValueError, match="no list"):
        usage_by_job(content, ["a-1"])


@pytest.mark.parametrize(
    ("item", "usage"),
    [
        (None, None),
        ({}, None),
        ({"metadata": {"name": {}}, "containers": 3}, None),
        ({"metadata": {"labels": {"job-name": "a-1"}}}, None),
        ({"metadata": {"labels": {"job-name": ["a-1"]}}, "containers": []}, None),
        (pod("a-1-x", {}), Usage()),
        (pod("a-1-x", None), Usage()),
        (pod("a-1-x", {"cpu": 7, "memory": "-5"}), Usage()),
        (pod("a-1-x", {"cpu": "9e99", "memory": "9" * 30}), Usage()),
        (pod("a-1-x", {"cpu": "1", "memory": "lots"}), Usage(cpu=1.0)),
    ],
)
def test_hostile_items(item, usage):
    expected = {"a-1": usage} if usage is not None else {}
    assert usage_by_job(answer(item), ["a-1"]) == expected
    fine = pod("b-1-x", {"cpu": "1", "memory": "5"})
    assert usage_by_job(answer(item, fine), ["b-1"]) == {"b-1": Usage(1.0, 5)}


class Cluster:
    """Answers as it is told, and counts the questions."""

    def __init__(self, monkeypatch):
        self.now, self.asked, self.outcome = 1000.0, 0, answer()
        monkeypatch.setattr(pod_metrics.time, "monotonic", lambda: self.now)
        self.metrics = PodMetrics(self.list)

    def list(self):
        self.asked += 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return urllib3.HTTPResponse(io.BytesIO(self.outcome), preload_content=False)


@pytest.fixture
def cluster(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    return Cluster(monkeypatch)


def test_one_question_for_all_jobs_within_the_time_of_a_measurement(cluster):
    items = [pod(f"job-{n}-x", {"cpu": "1", "memory": "1Mi"}) for n in range(3)]
    cluster.outcome = answer(*items)
    handles = [f"job-{n}" for n in range(3)]

    assert cluster.metrics.read([]) == {}
    assert cluster.asked == 0
    assert cluster.metrics.read(handles).keys() == set(handles)
    assert cluster.metrics.read(handles) == {}  # not measured again since
    cluster.now += pod_metrics.READ_SECONDS
    assert cluster.metrics.read(handles).keys() == set(handles)
    assert cluster.asked == 2


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_cluster_without_metrics_is_asked_rarely_and_logged_once(cluster, caplog, status):
    cluster.outcome = ApiException(status=status)
    for _ in range(3):
        assert cluster.metrics.read(["job-1"]) == {}
        cluster.now += pod_metrics.RETRY_SECONDS - 1
        assert cluster.metrics.read(["job-1"]) == {}
        cluster.now += 1
    assert cluster.asked == 3
    assert len(caplog.records) == 1

    cluster.outcome = answer(pod("job-1-x", {"cpu": "1", "memory": "5"}))
    assert cluster.metrics.read(["job-1"]) == {"job-1": Usage(1.0, 5)}


def test_unreachable_server_is_asked_again_soon(cluster, caplog):
    cluster.outcome = urllib3.exceptions.ProtocolError("cut")
    for _ in range(3):
        assert cluster.metrics.read(["job-1"]) == {}
        cluster.now += pod_metrics.READ_SECONDS
    assert cluster.asked == 3
    assert len(caplog.records) == 1


def test_endless_answer_is_not_read(cluster, caplog, monkeypatch):
    monkeypatch.setattr(pod_metrics, "MAX_BYTES", 1000)
    cluster.outcome = answer(*[pod("job-1-x", {"cpu": "1"})] * 100)
    assert cluster.metrics.read(["job-1"]) == {}
    assert "longer than 1000 bytes" in caplog.text
