"""What attempts use, measured of real processes, and read from the API server of a cluster."""

import logging

import pytest

from backend.domain.execution.usage import Usage
from backend.launchers.base import Phase
from backend.launchers.kubernetes.launcher import KubernetesLauncher
from backend.launchers.kubernetes.metrics_api import pod_metrics
from backend.launchers.local import memory
from backend.settings import Settings
from tests.fakes.kubernetes_api import Fault, broken, forbidden
from tests.integration.launcher_harness import AN_ATTEMPT, LocalHarness
from tests.integration.waiting import eventually

MIB = 2**20
FORM = {"learning_rate": "0.001", "epoch": "20", "experiment_id": "greedy"}


@pytest.fixture(params=["process group", "control group"])
def harness(request, environ, tmp_path, monkeypatch):
    """A harness whose attempts have a control group, or none."""
    if request.param == "process group":
        monkeypatch.setattr(memory, "CGROUPS", tmp_path / "no control groups")
    elif not memory.create_group(tmp_path, 2**30):
        pytest.skip("this process may not create a control group")
    memory.remove_group(tmp_path)
    harness = LocalHarness(environ | {"LOCAL_MEMORY": "1Gi"})
    yield harness
    harness.close()


def test_a_greedy_attempt(harness):
    """Its memory, and the processors of its children, are those of the attempt alone."""
    greedy, modest = harness.submitted(), harness.submitted(experiment_id="modest", uid="uid-2")
    launcher = harness.launcher()
    handles = [greedy.handle, modest.handle]
    harness.start(greedy)
    assert launcher.usage(handles).keys() == {greedy.handle}

    harness.order(greedy, f"allocate {200 * MIB}")
    harness.say(greedy, "allocated")
    before = launcher.usage(handles)[greedy.handle]
    assert 200 * MIB < before.memory < 400 * MIB

    harness.order(greedy, "compute")
    harness.order(greedy, "compute")
    # Other programs may need the processors, too: a part of one shows that they are counted.
    eventually(lambda: (launcher.usage(handles)[greedy.handle].cpu or 0) > 0.3)

    harness.end(greedy, 0)
    eventually(lambda: launcher.usage([greedy.handle]) == {})
    seen = launcher.observe()[greedy.handle]
    assert seen.used.memory > 200 * MIB
    assert seen.used.cpu > 0
    assert seen.memory_limit == 2**30


def test_gpus_of_an_attempt(environ, tmp_path, monkeypatch):
    """nvidia-smi is a fake program in PATH that names the process of the trainer."""
    programs = tmp_path / "programs"
    programs.mkdir()
    answers = 'case "$1" in --query-gpu=*) echo "GPU-a, 75" ;; *) cat processes ;; esac'
    (programs / "nvidia-smi").write_text(f"#!/bin/sh\ncd {programs}\n{answers}\n")
    (programs / "nvidia-smi").chmod(0o755)
    (programs / "processes").touch()
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    harness = LocalHarness(environ)
    attempt = harness.submitted()
    harness.start(attempt)
    trainer = (harness.folder(attempt) / "starts").read_text().strip()
    (programs / "processes").write_text(f"{trainer}, GPU-a, 2048\n1, GPU-a, 9999\n")

    usage = harness.launcher().usage([attempt.handle])[attempt.handle]
    assert (usage.gpu, usage.gpu_memory) == (0.75, 2**31)
    harness.close()


def test_server_shows_a_greedy_experiment(backend, installation, environ):
    """From the process of the trainer to the API: the curve, the peaks, and the same at the end."""
    server = backend("serve", LOCAL_SLOTS="1").ready()
    assert server.ask("/test", FORM).status == 201
    server.reaches("greedy", "running")
    harness = Orders(environ)
    harness.order(f"allocate {200 * MIB}")
    harness.order("compute")

    def shown():
        found = server.ask("/experiments/greedy").json
        return (found["peak_memory"] or 0) > 200 * MIB and found["peak_cpu"] > 0.05 and found

    eventually(shown)
    curve = server.ask("/experiments/greedy/resources").json
    assert max(curve["resources"]["memory"]) > 200 * MIB
    assert curve["elapsed"] == sorted(curve["elapsed"])
    harness.order("exit 0")
    ended = server.reaches("greedy", "succeeded")
    assert ended["peak_memory"] > 200 * MIB
    assert ended["peak_gpu"] is None


class Orders:
    """Sends orders to the trainer of the only experiment."""

    def __init__(self, environ):
        self._folder = Settings.from_environment(environ).output_dir / "greedy"

    def order(self, text):
        """Send an order as soon as the trainer listens."""
        eventually((self._folder / "starts").exists)
        with (self._folder / "orders").open("w") as orders:
            orders.write(f"{text}\n")


@pytest.fixture
def cluster_launcher(environ, kubernetes):
    settings = Settings.from_environment(environ | {"LAUNCHER": "kubernetes"})
    launcher = KubernetesLauncher(settings)
    yield launcher
    launcher.close()


@pytest.fixture
def pod(cluster_launcher, kubernetes):
    """The running pod of a Job."""
    cluster_launcher.submit(cluster_launcher.render(AN_ATTEMPT))
    return kubernetes.run(AN_ATTEMPT.handle)


def test_pods_of_a_cluster(cluster_launcher, kubernetes, pod):
    kubernetes.measure(pod, "1500123456n", "128Mi")
    kubernetes.measure("of-somebody-else", "1", "1Gi")
    assert cluster_launcher.usage([AN_ATTEMPT.handle]) == {AN_ATTEMPT.handle: Usage(1.5, 128 * MIB)}
    assert kubernetes.count("list", "pods.metrics.k8s.io") == 1


@pytest.mark.parametrize(
    "fault",
    [
        None,  # it is not served
        forbidden("list", "pods", "metrics.k8s.io"),
        broken(503),
        Fault(),
        Fault(garbage=True),
        Fault(half=True),
    ],
)
def test_cluster_without_usage(cluster_launcher, kubernetes, pod, monkeypatch, caplog, fault):
    """It is said once, and neither an error nor a reason to stop observing."""
    monkeypatch.setattr(pod_metrics, "READ_SECONDS", 0.0)
    monkeypatch.setattr(pod_metrics, "RETRY_SECONDS", 0.0)
    caplog.set_level(logging.INFO, pod_metrics.log.name)
    if fault:
        kubernetes.measure(pod, "1", "128Mi")
        kubernetes.fail("list", "pods.metrics.k8s.io", fault, times=2)
    for _ in range(2):
        assert cluster_launcher.usage([AN_ATTEMPT.handle]) == {}
    assert cluster_launcher.observe()[AN_ATTEMPT.handle].phase is Phase.RUNNING
    assert len([one for one in caplog.records if one.name == pod_metrics.log.name]) == 1

    kubernetes.measure(pod, "1", "128Mi")
    assert cluster_launcher.usage([AN_ATTEMPT.handle])[AN_ATTEMPT.handle] == Usage(1.0, 128 * MIB)


def test_memory_limit_of_a_job(cluster_launcher, kubernetes, pod):
    kubernetes.finish(pod, 137, reason="OOMKilled")
    seen = cluster_launcher.observe()[AN_ATTEMPT.handle]
    assert seen.diagnosis.reason == "out_of_memory"
    assert seen.memory_limit == 2**30  # of JOB_MEMORY
    assert seen.used == Usage()
