"""Logs of pods, while connections, pods and the API server fail."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from backend.files.log_lines import UNHEARD, Unfinished
from backend.launchers.base import LauncherUnavailable
from backend.launchers.kubernetes import launcher as kubernetes_launcher
from backend.launchers.kubernetes import logs as kubernetes_logs
from backend.launchers.kubernetes.launcher import KubernetesLauncher
from backend.settings import Settings
from tests.fakes.kubernetes_api import Fault, broken, forbidden
from tests.fakes.kubernetes_cluster import NODE_ZONE
from tests.integration.launcher_harness import AN_ATTEMPT
from tests.integration.waiting import DEADLINE_SECONDS, eventually

OUTAGES = {
    "500": broken(500),
    "cut": Fault(),
    "hang": Fault(hang=True),
    "half, then cut": Fault(half=True),
    "half, then hang": Fault(half=True, hang=True),
}


@pytest.fixture
def launcher(environ, kubernetes):
    launcher = KubernetesLauncher(Settings.from_environment(environ | {"LAUNCHER": "kubernetes"}))
    launcher.submit(launcher.render(AN_ATTEMPT))
    yield launcher
    launcher.close()


@pytest.fixture(autouse=True)
def short_times(launcher, monkeypatch):
    monkeypatch.setattr(kubernetes_logs, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(kubernetes_logs, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(kubernetes_logs, "LONGEST_PAUSE", 0.1)


@pytest.fixture
def source(launcher):
    return launcher.log_source


@pytest.fixture
def pod(launcher, kubernetes):
    return kubernetes.run(AN_ATTEMPT.handle)


@pytest.fixture
def part(source, pod):
    (part,) = source.parts(AN_ATTEMPT.handle)
    return part


class Follower:
    """Follows a part of a log in a thread; `looks` counts the pauses."""

    def __init__(self, pool, source, part):
        self.lines, self.unfinished, self.looks, self.connections = [], [], 0, 0
        self.end = pool.submit(self._follow, source, part)

    def _follow(self, source, part):
        for line in source.follow(part, self._connected):
            if line is None:
                self.looks += 1
            elif isinstance(line, Unfinished):
                self.unfinished.append(line.decode())
            else:
                self.lines.append(line.decode())

    def _connected(self):
        self.connections += 1

    def whole(self):
        self.end.result(DEADLINE_SECONDS)
        return self.lines


@pytest.fixture
def follow(source):
    with ThreadPoolExecutor(4) as pool:
        yield lambda part: Follower(pool, source, part)


def test_follow_first_to_last_line(follow, kubernetes, pod, part):
    kubernetes.write_log(pod, "에포크 1\n")
    follower = follow(part)
    eventually(lambda: follower.lines == ["에포크 1"])
    kubernetes.write_log(pod, "epoch 2\r half")
    kubernetes.write_log(pod, "\n\nlast")

    kubernetes.finish(pod, 0)

    assert follower.whole() == ["에포크 1", "epoch 2\r half", "", "last"]


def test_follow_a_line_before_it_ends(follow, kubernetes, pod, part):
    """A container runtime passes on a long line in pieces."""
    follower = follow(part)
    kubernetes.write_log(pod, "\r 10%")
    eventually(lambda: follower.unfinished[-1:] == ["\r 10%"])
    kubernetes.write_log(pod, "\r 20%")
    eventually(lambda: follower.unfinished[-1:] == ["\r 10%\r 20%"])
    assert follower.lines == []

    kubernetes.write_log(pod, "\n")
    kubernetes.finish(pod, 0)

    assert follower.whole() == ["\r 10%\r 20%"]


def test_read_unfinished_log(source, kubernetes, pod, part):
    assert list(source.read(part)) == []
    kubernetes.write_log(pod, "a\rb\n\nlast")

    assert list(source.read(part)) == [b"a\rb", b"", b"last"]


def test_follow_before_the_start(follow, source, kubernetes, launcher):
    pod = kubernetes.add_pod(AN_ATTEMPT.handle)
    (part,) = source.parts(AN_ATTEMPT.handle)
    assert list(source.read(part)) == []
    follower = follow(part)
    eventually(lambda: follower.looks > 2)
    assert kubernetes.count("get", "pods/log") == 1  # not while the container cannot have one

    kubernetes.set_pod(pod, "Running", {"running": {"startedAt": "2026-01-01T00:00:00Z"}})
    kubernetes.write_log(pod, "a\n")
    kubernetes.finish(pod, 0)

    assert follower.whole() == ["a"]


def test_parts_oldest_pod_first(source, kubernetes, launcher):
    younger = kubernetes.add_pod(AN_ATTEMPT.handle, created="2099-01-01T00:00:00Z")
    older = kubernetes.add_pod(AN_ATTEMPT.handle, created="2026-01-01T00:00:00Z")

    parts = source.parts(AN_ATTEMPT.handle)

    assert [part.partition("-")[2] for part in parts] == [older, younger]
    assert source.parts("autoencoder-never-was-1") == []


def test_follow_across_cut_connections(follow, kubernetes, pod, part):
    """No line is lost or repeated, though each cut is in the middle of a line."""
    follower = follow(part)
    start = datetime.now(NODE_ZONE)
    for number in range(60):
        # Several seconds, several lines a second, and lines that are alike at one time.
        at = start + timedelta(seconds=number // 20)
        kubernetes.write_log(pod, f"line {number // 2}\n", at)
        if number % 7 == 0:
            eventually(lambda: follower.lines)
            kubernetes.write_log(pod, f"a longer line {number}", at)
            before = follower.connections
            kubernetes.cut_logs()
            eventually(lambda before=before: follower.connections > before)
            kubernetes.write_log(pod, "\n")
    kubernetes.finish(pod, 1)

    expected = []
    for number in range(60):
        expected.append(f"line {number // 2}")
        expected += [f"a longer line {number}"] if number % 7 == 0 else []
    assert follower.whole() == expected
    assert follower.connections > 9


def test_follow_unordered_times(follow, kubernetes, pod, part):
    """Lines of stdout and stderr may be stamped a moment out of order."""
    second = datetime.now(NODE_ZONE).replace(microsecond=0)
    kubernetes.write_log(pod, "out\n", second + timedelta(milliseconds=1))
    follower = follow(part)
    eventually(lambda: follower.lines == ["out"])
    kubernetes.write_log(pod, "err\n", second - timedelta(milliseconds=1))
    kubernetes.write_log(pod, "out\n", second + timedelta(milliseconds=1))
    kubernetes.cut_logs()
    kubernetes.finish(pod, 0)

    assert follower.whole() == ["out", "err", "out"]


def test_silence_is_not_the_end(follow, kubernetes, pod, part):
    kubernetes.write_log(pod, "a\n")
    follower = follow(part)
    eventually(lambda: follower.connections >= 3)
    assert follower.looks >= 2
    kubernetes.write_log(pod, "b\n")
    kubernetes.finish(pod, 0)

    assert follower.whole() == ["a", "b"]


@pytest.mark.parametrize("fault", OUTAGES.values(), ids=OUTAGES)
@pytest.mark.parametrize("resource", ["pods", "pods/log"])
def test_follow_across_an_outage(follow, kubernetes, monkeypatch, pod, part, resource, fault):
    monkeypatch.setattr(kubernetes_launcher, "TIMEOUT", (2.0, 0.5))
    kubernetes.write_log(pod, "".join(f"line {number}\n" for number in range(50)))
    kubernetes.fail("get", resource, fault, times=2)
    follower = follow(part)
    kubernetes.finish(pod, 0)

    assert follower.whole() == [f"line {number}" for number in range(50)]


def test_follow_across_a_restart(follow, kubernetes, pod, part):
    kubernetes.write_log(pod, "a\n")
    follower = follow(part)
    eventually(lambda: follower.lines == ["a"])
    kubernetes.stop()
    kubernetes.write_log(pod, "b\n")
    kubernetes.start()
    kubernetes.write_log(pod, "c\n")
    kubernetes.finish(pod, 0)

    assert follower.whole() == ["a", "b", "c"]


def test_follow_ends_with_the_pod(follow, kubernetes, pod, part):
    kubernetes.write_log(pod, "a\n")
    follower = follow(part)
    eventually(lambda: follower.lines == ["a"])
    kubernetes.evict(pod)

    assert follower.whole() == ["a"]


def test_lost_end_of_a_log_is_said(follow, kubernetes, pod, part):
    """The pod has gone while its log could not be read."""
    kubernetes.write_log(pod, "a\n")
    follower = follow(part)
    eventually(lambda: follower.lines == ["a"])
    kubernetes.stop()
    kubernetes.write_log(pod, "last words\n")
    kubernetes.evict(pod)
    kubernetes.start()

    assert follower.whole() == ["a", UNHEARD.decode()]


@pytest.mark.parametrize(
    ("node", "reason", "expected"),
    [
        (None, None, []),
        ("node-1", "ImagePullBackOff", []),
        ("node-1", "ContainerCreating", [UNHEARD.decode()]),
    ],
)
def test_pod_deleted_before_its_start(follow, kubernetes, source, launcher, node, reason, expected):
    """Its container may have run before anybody was told."""
    pod = kubernetes.add_pod(AN_ATTEMPT.handle, node)
    if reason:
        kubernetes.set_pod(pod, "Pending", {"waiting": {"reason": reason}})
    (part,) = source.parts(AN_ATTEMPT.handle)
    follower = follow(part)
    eventually(lambda: follower.looks > 2)
    kubernetes.evict(pod)

    assert follower.whole() == expected


@pytest.mark.parametrize("fault", [*OUTAGES.values(), forbidden("get", "pods/log", "")])
def test_read_without_a_whole_answer(source, kubernetes, failing, pod, part, fault):
    kubernetes.write_log(pod, "epoch 1\n" * 100)

    with failing("get", "pods/log", fault), pytest.raises(LauncherUnavailable):
        source.read(part)

    assert len(source.read(part)) == 100


def test_log_that_the_kubelet_has_lost(follow, kubernetes, pod, part, monkeypatch):
    """Its message is not the log, which was not read to its end then."""
    answer = b"unable to retrieve container logs for containerd://0123"
    monkeypatch.setattr(kubernetes, "follow_log", lambda *_request: iter([answer]))
    follower = follow(part)
    eventually(lambda: follower.connections)
    kubernetes.evict(pod)

    assert follower.whole() == [UNHEARD.decode()]


NOT_FOUND = (
    b"rpc error: code = NotFound desc = an error occurred when try to find container "
    b'"97f8d5e439a7aa1afefca8bd4e464f4531ea74f9824877b5dfa3a9cb3804aed0": not found'
)
OTHER = b"rpc error: code = Unavailable desc = connection error"


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize(
    ("said", "expected"),
    [(NOT_FOUND, ["a", "last words"]), (OTHER, ["a", "last words", UNHEARD.decode()])],
)
def test_container_removed_at_the_end(
    follow, kubernetes, pod, part, monkeypatch, said, expected, end
):
    """As containerd words it: 3 of 6 followed logs ended so on Kubernetes 1.20."""
    read = kubernetes.follow_log

    def follow_log(*request):
        yield from read(*request)
        yield said + end

    monkeypatch.setattr(kubernetes, "follow_log", follow_log)
    kubernetes.pods_end_slowly = True
    kubernetes.write_log(pod, "a\n")
    follower = follow(part)
    eventually(lambda: follower.lines == ["a"])
    kubernetes.evict(pod)
    kubernetes.write_log(pod, "last words\n")
    kubernetes.stop_pod(pod)

    assert follower.whole() == expected


def test_kubelet_message_is_dropped(source, kubernetes, pod, part, monkeypatch):
    answer = "unable to retrieve container logs for containerd://0123\n"
    monkeypatch.setattr(kubernetes, "log", lambda *_request: answer)

    assert list(source.read(part)) == []


def test_leaving_pod_is_observed(launcher, kubernetes, pod, part):
    kubernetes.pods_end_slowly = True
    assert launcher.observe()[AN_ATTEMPT.handle].leaving == ()

    kubernetes.evict(pod)

    assert launcher.observe()[AN_ATTEMPT.handle].leaving == ((0, part),)
