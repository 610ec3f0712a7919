"""What the preflight check concludes from nodes, claims and what the probes report."""

import pytest

from backend.launchers.preflight.findings import (
    Claim,
    Results,
    claim_findings,
    probe_findings,
    training_nodes,
)


def node(name, *, ready="True", labels=None, **spec):
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name} | (labels or {})},
        "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def claim(folder="output", *, modes=("ReadWriteMany",), phase="Bound", volume=None, **spec):
    spec = {"accessModes": list(modes)} | ({"volumeName": "v"} if phase == "Bound" else {}) | spec
    return Claim(
        folder, f"hello-flask-{folder}", {"spec": spec, "status": {"phase": phase}}, volume
    )


def host_path(path="/data/out", *, only=None):
    spec = {"hostPath": {"path": path}}
    if only:
        expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [only]}
        terms = [{"matchExpressions": [expression]}]
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": terms}}
    return {"spec": spec}


NFS = {"spec": {"csi": {"driver": "nfs.csi.k8s.io"}}}
TAINT = {"key": "a", "effect": "NoSchedule"}


def test_nodes_that_may_train():
    nodes = [
        node("b"),
        node("a", taints=[{"key": "x", "effect": "PreferNoSchedule"}]),
        node("cordoned", unschedulable=True),
        node("dead", ready="Unknown"),
        node("control-plane", taints=[TAINT]),
    ]
    assert training_nodes(nodes, []) == ["a", "b"]
    assert training_nodes(nodes, [claim(volume=NFS)]) == ["a", "b"]
    assert training_nodes(nodes, [claim(volume=host_path(only="b"))]) == ["b"]
    assert training_nodes(nodes, [claim(volume=host_path(only="my-node"))]) == []


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"key": "disk", "operator": "Exists"}, ["a"]),
        ({"key": "disk", "operator": "DoesNotExist"}, ["b"]),
        ({"key": "disk", "operator": "NotIn", "values": ["ssd"]}, ["b"]),
        ({"key": "cpus", "operator": "Gt", "values": ["3"]}, ["a", "b"]),  # left to the scheduler
    ],
)
def test_node_affinity_of_a_volume(expression, expected):
    terms = [{"matchExpressions": [expression]}]
    volume = {"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}}
    nodes = [node("a", labels={"disk": "ssd"}), node("b")]
    assert training_nodes(nodes, [claim(volume=volume)]) == expected


def only_finding(found):
    (finding,) = found
    return finding


def test_host_folder_with_several_nodes_is_named():
    found = only_finding(claim_findings([claim(volume=host_path())], ["a", "b"]))
    assert found.is_fatal
    assert "hello-flask-output" in found.problem
    assert "/data/out" in found.problem
    assert "a, b" in found.problem
    assert "yaml/setup/0_pv_output.yaml" in found.remedy
    assert "nodeAffinity" in found.remedy


def test_good_claims_are_not_mentioned():
    assert not [*claim_findings([claim(volume=host_path(only="a"))], ["a"])]
    assert not [*claim_findings([claim(volume=NFS), claim("input", volume=NFS)], ["a", "b"])]


def test_claims_that_cannot_work():
    missing = only_finding(claim_findings([Claim("input", "mine", None)], ["a"]))
    assert "mine (input folder) does not exist" in missing.problem
    one_node = only_finding(claim_findings([claim(modes=["ReadWriteOnce"], volume=NFS)], ["a"]))
    assert "allows ReadWriteOnce" in one_node.problem
    assert "ReadWriteMany" in one_node.remedy
    waiting = claim(phase="Pending", storageClassName="fast")
    unbound = only_finding(claim_findings([waiting], ["a"]))
    assert "storage class is fast" in unbound.problem
    assert not unbound.is_fatal
    nowhere = only_finding(claim_findings([claim(volume=NFS)], []))
    assert "No node can train" in nowhere.problem


GOOD = {"latency": 0.002, "free": 2**40, "owner": "0:10001", "mode": "2775"}
SEEN = {"unseen": [], "unseen_count": 0}


def written(**output):
    return {"uid": 10001, "input": GOOD, "output": output or GOOD}


def read(*unseen):
    return {"input": SEEN, "output": {"unseen": list(unseen), "unseen_count": len(unseen)}}


def findings(**results):
    return [*probe_findings(Results(**results), ("input", "output"))]


def test_all_is_well():
    both = {"a": written(), "b": written()}
    assert findings(written=both, read={"a": read(), "b": read()}) == []


def test_folder_that_cannot_be_written():
    refused = written(error="Permission denied", owner="0:0", mode="755")
    found = only_finding(findings(written={"a": refused, "b": refused, "c": written()}))
    assert found.is_fatal
    assert "output folder cannot be written on a, b: Permission denied" in found.problem
    assert "owner 0:0, mode 755; the user is 10001" in found.problem
    assert "chgrp 10001" in found.remedy


def test_nodes_that_do_not_share_the_folder():
    both = {"a": written(), "b": written()}
    found = only_finding(findings(written=both, read={"a": read("b"), "b": read("a")}))
    assert found.is_fatal
    assert "node a does not see what b wrote, and 1 more nodes miss files" in found.problem
    assert "yaml/storage/" in found.remedy


def test_slow_and_full_folders_are_advice():
    slow = only_finding(findings(written={"a": written(**GOOD | {"latency": 0.4})}))
    assert "0.4 s" in slow.problem
    full = only_finding(findings(written={"a": written(**GOOD | {"free": 5 * 2**20})}))
    assert "5 MiB free on a" in full.problem
    assert not slow.is_fatal
    assert not full.is_fatal


def test_silent_node():
    found = only_finding(findings(silent={"a": "ErrImagePull: no such image"}))
    assert found.is_fatal
    assert "Node a did not answer: ErrImagePull" in found.problem
    assert "kubectl cordon a" in found.remedy


def test_many_nodes_are_counted():
    names = [f"n{number:02}" for number in range(30)]
    refused = written(error="Read-only file system")
    found = only_finding(findings(written=dict.fromkeys(names, refused)))
    assert "n00, n01, n02, n03, n04 and 25 more" in found.problem
