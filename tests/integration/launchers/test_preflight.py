"""The preflight check against an API server with several nodes, whose kubelets the test plays."""

import json
import re

import pytest

from backend import roles
from backend.launchers.base import LauncherUnavailable
from backend.launchers.kubernetes.preflight import ClusterSite
from backend.launchers.preflight.check import check
from backend.launchers.preflight.probe import probe
from backend.settings import Settings
from tests.fakes.kubernetes_api import forbidden

NAMES = ("hello-flask-input", "hello-flask-output")


class Kubelets:
    """Plays the nodes: starts the pod of each Job whose node works, and lets it end."""

    def __init__(self, cluster, folders):
        self.cluster, self.folders = cluster, folders
        self.broken = {}  # by node: what its kubelet says instead of starting the pod
        self._done = set()

    def __call__(self, _seconds):
        for name, job in self.cluster.jobs().items():
            if name in self._done:
                continue
            self._done.add(name)
            spec = job["spec"]["template"]["spec"]
            (term,) = spec["affinity"]["nodeAffinity"][
                "requiredDuringSchedulingIgnoredDuringExecution"
            ]["nodeSelectorTerms"]
            (node,) = term["matchFields"][0]["values"]
            if node in self.broken:
                self.cluster.wait_in_pod(name, "ErrImagePull", self.broken[node])
                continue
            pod = self.cluster.add_pod(name, node=node)
            python, _, _, step, run, own, *others = spec["containers"][0]["command"]
            assert (python, own) == ("python", node)
            text = json.dumps(probe(step, run, node, others, self.folders[node]))
            ended = {"terminated": {"exitCode": 0, "message": text}}
            self.cluster.set_pod(pod, "Succeeded", ended)


def volume(name, **spec):
    claimed = {"accessModes": ["ReadWriteMany"], "volumeName": name}
    return (
        {"metadata": {"name": name}, "spec": spec},
        {"metadata": {"name": name, "namespace": "default"}, "spec": claimed}
        | {"status": {"phase": "Bound"}},
    )


@pytest.fixture
def nodes(tmp_path):
    """Three nodes with the same two folders."""
    shared = {name: tmp_path / "shared" / name for name in ("input", "output")}
    for folder in shared.values():
        folder.mkdir(parents=True)
    return dict.fromkeys(("node-1", "node-2", "node-3"), shared)


@pytest.fixture
def cluster(kubernetes, nodes):
    for node in nodes:
        kubernetes.add_node(node, ready=True)
    for name in NAMES:
        bound, claim = volume(name, csi={"driver": "nfs.csi.k8s.io", "volumeHandle": "h"})
        kubernetes.put("persistentvolumes", bound)
        kubernetes.put("persistentvolumeclaims", claim)
    labels = {"app.kubernetes.io/name": "hello-flask", "app.kubernetes.io/component": "preflight"}
    kubernetes.put(
        "pods",
        {
            "metadata": {"name": "preflight-1", "namespace": "default", "labels": labels}
            | {"ownerReferences": []},
            "spec": {"containers": [{"name": "preflight", "image": "registry/hello-flask:1"}]},
            "status": {"phase": "Running"},
        },
    )
    return kubernetes


@pytest.fixture
def kubelets(cluster, nodes):
    return Kubelets(cluster, nodes)


@pytest.fixture
def cluster_settings(environ):
    return Settings.from_environment(environ | {"LAUNCHER": "kubernetes"})


@pytest.fixture
def site(cluster, kubelets, cluster_settings):
    site = ClusterSite(cluster_settings, polls=5, sleep=kubelets)
    yield site
    site.close()


def test_nodes_that_share_both_folders(site, cluster, nodes):
    report = check(site)
    assert report.findings == []
    assert report.nodes == [*nodes]
    assert [*report.lines()][-1] == "3 node(s) can train, and share both folders."
    created = [
        name for verb, kind, name, _ in cluster.requests if (verb, kind) == ("create", "jobs")
    ]
    assert len(created) == 9  # three steps
    assert cluster.jobs() == {}
    assert all(not list(folder.iterdir()) for folder in nodes["node-1"].values())
    assert cluster.invalid == []


def test_host_folders_of_several_nodes(site, cluster, nodes, tmp_path):
    """Each node has its own folder: found in the volume, and by reading."""
    for name in NAMES:
        cluster.put("persistentvolumes", volume(name, hostPath={"path": "/data"})[0])
    for node in list(nodes):
        own = {name: tmp_path / node / name for name in ("input", "output")}
        for folder in own.values():
            folder.mkdir(parents=True)
        nodes[node] = own
    report = check(site)
    assert not report.is_good
    text = "\n".join(report.lines())
    assert "is the host's own folder /data, and node-1, node-2, node-3 may all train" in text
    assert "node node-1 does not see what node-2, node-3 wrote" in text
    assert cluster.jobs() == {}


def test_node_that_cannot_pull_the_image(site, kubelets):
    kubelets.broken["node-2"] = "registry: no such host"
    report = check(site)
    assert not report.is_good
    (finding,) = report.findings
    assert "Node node-2 did not answer: ErrImagePull: registry: no such host" in finding.problem


def test_volume_that_may_not_be_read_is_no_obstacle(site, cluster):
    cluster.fail("get", "persistentvolumes", forbidden("get", "persistentvolumes", ""), times=2)
    assert check(site).is_good


def test_check_that_is_not_allowed(site, cluster):
    cluster.fail("list", "nodes", forbidden("list", "nodes", ""))
    with pytest.raises(LauncherUnavailable, match="cannot list resource"):
        check(site)
    cluster.fail("create", "jobs", forbidden())
    with pytest.raises(LauncherUnavailable, match="cannot create resource"):
        check(site)
    assert cluster.jobs() == {}


def test_image_that_is_not_known(site, cluster):
    with cluster.changed:
        cluster.objects["pods"].clear()
    with pytest.raises(LauncherUnavailable, match="No pod of this program"):
        check(site)


def test_role_without_an_api_server(cluster, cluster_settings):
    cluster.stop()
    with pytest.raises(roles.CannotStart, match="does not answer"):
        roles.preflight(cluster_settings)


def test_role_on_one_machine(settings, capsys):
    assert roles.preflight(settings) == 0
    assert re.search(r"output folder: written by user \d+, [0-9.]+ ms", capsys.readouterr().out)
    settings.output_dir.rmdir()
    settings.output_dir.write_text("")
    assert roles.preflight(settings) == 1
