"""Decides, from what the nodes and the API server say, whether the folders can be used. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SLOW_SECONDS = 0.1  # for a small file; a trainer writes a line of metrics each epoch
LITTLE_BYTES = 2**30  # free: less than a few checkpoints of a large model
SHOWN = 5  # nodes in one sentence
SHARED = "ReadWriteMany"


@dataclass(frozen=True)
class Finding:
    """Something to know before training.

    Attributes:
        problem: what is wrong, as a sentence.
        remedy: what to edit.
        is_fatal: whether experiments would fail or lose data; otherwise it is advice.
    """

    problem: str
    remedy: str
    is_fatal: bool = True


@dataclass(frozen=True)
class Claim:
    """A claim of one of the two folders, and the volume that it is bound to.

    Attributes:
        folder: `input` or `output`.
        name: of the PersistentVolumeClaim.
        claim, volume: the objects, None if they do not exist or may not be read.
    """

    folder: str
    name: str
    claim: Mapping[str, Any] | None
    volume: Mapping[str, Any] | None = None


@dataclass
class Results:
    """What the probes reported, by node; `silent` says why a node reported nothing."""

    written: dict[str, dict[str, Any]] = field(default_factory=dict)
    read: dict[str, dict[str, Any]] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)


def training_nodes(nodes: Sequence[Mapping[str, Any]], claims: Sequence[Claim]) -> list[str]:
    """Return the names of the nodes on which a training pod can be placed.

    A node is left out if it is cordoned, not ready or tainted, because training pods tolerate
    nothing, or if the node affinity of a volume excludes it.
    """
    return sorted(
        str(node["metadata"]["name"])
        for node in nodes
        if _accepts_pods(node)
        and all(_reaches(node, claim.volume) for claim in claims if claim.volume)
    )


def claim_findings(claims: Sequence[Claim], nodes: Sequence[str]) -> Iterator[Finding]:
    """Yield what the claims and their volumes alone show."""
    for claim in claims:
        yield from _claim_findings(claim, nodes)
    if not nodes:
        yield Finding(
            "No node can train: each is cordoned, not ready, tainted, or excluded by the node "
            "affinity of a volume.",
            "Compare `kubectl get nodes -L kubernetes.io/hostname` with the host name in "
            "yaml/setup/0_pv_input.yaml and 0_pv_output.yaml.",
        )


def probe_findings(results: Results, folders: Sequence[str]) -> Iterator[Finding]:
    """Yield what the nodes found in the folders."""
    for node, reason in sorted(results.silent.items()):
        yield Finding(
            f"Node {node} did not answer: {reason}",
            "Without that, experiments placed there would wait or fail in the same way. Cordon the "
            f"node (kubectl cordon {node}) if it is not meant to train.",
        )
    for folder in folders:
        yield from _write_findings(folder, results)
        yield from _read_findings(folder, results)


def _claim_findings(claim: Claim, nodes: Sequence[str]) -> Iterator[Finding]:
    name = f"The claim {claim.name} ({claim.folder} folder)"
    if claim.claim is None:
        yield Finding(
            f"{name} does not exist, or may not be read.",
            "Apply yaml/setup/0_pv_*.yaml and 1_pvc_*.yaml, or yaml/storage/.",
        )
        return
    spec, phase = claim.claim["spec"], claim.claim.get("status", {}).get("phase")
    if phase != "Bound" and not spec.get("volumeName"):
        wanted = spec.get("storageClassName") or "none"
        yield Finding(
            f"{name} is bound to no volume; its storage class is {wanted}.",
            "Compare its storageClassName with `kubectl get storageclass`. A class with "
            "WaitForFirstConsumer binds it to a volume for the first pod, here that of this check.",
            is_fatal=False,
        )
    modes = spec.get("accessModes", [])
    if SHARED not in modes:
        yield Finding(
            f"{name} allows {', '.join(modes) or 'nothing'}: several nodes cannot share it.",
            "Set accessModes: [ReadWriteMany], with a storage class that offers it (NFS, CephFS, "
            "Longhorn); a claim cannot be changed, so delete it first.",
        )
    yield from _host_folder_findings(claim, nodes)


def _host_folder_findings(claim: Claim, nodes: Sequence[str]) -> Iterator[Finding]:
    """Yield that a folder of the host is another one on each node."""
    spec = (claim.volume or {}).get("spec", {})
    path = (spec.get("hostPath") or spec.get("local") or {}).get("path")
    if path and len(nodes) > 1:
        yield Finding(
            f"The claim {claim.name} ({claim.folder} folder) is the host's own folder {path}, and "
            f"{_named(nodes)} may all train: each has another folder of that name, unless it is a "
            "network mount.",
            "Keep training on one node with nodeAffinity in "
            f"yaml/setup/0_pv_{claim.folder}.yaml, or use a storage class: yaml/storage/.",
        )


def _write_findings(folder: str, results: Results) -> Iterator[Finding]:
    failed: dict[tuple[str, str], list[str]] = {}
    for node, result in sorted(results.written.items()):
        if error := result[folder].get("error"):
            owner = (
                f"owner {result[folder].get('owner', '?')}, mode {result[folder].get('mode', '?')}"
            )
            failed.setdefault((error, f"{owner}; the user is {result['uid']}"), []).append(node)
    for (error, about), nodes in failed.items():
        yield Finding(
            f"The {folder} folder cannot be written on {_named(nodes)}: {error} ({about}).",
            "Let the group 10001 write: the init container of yaml/4_pod.yaml or the Job "
            "prepare-folders does it once. Where root may not change owners (NFS with "
            "root_squash), do it on the file server: chgrp 10001 FOLDER && chmod g+rwxs FOLDER.",
        )
    good = {
        node: one[folder] for node, one in results.written.items() if "error" not in one[folder]
    }
    slow = {node: one["latency"] for node, one in good.items() if one["latency"] > SLOW_SECONDS}
    if slow:
        yield Finding(
            f"A small file takes {max(slow.values()):.2g} s to be written in the {folder} folder "
            f"on {_named(sorted(slow))}.",
            "Training goes on, but each epoch and each submission waits for it. Use a faster "
            "volume, or NFS with async if you accept what a power failure loses.",
            is_fatal=False,
        )
    little = sorted(node for node, one in good.items() if one["free"] < LITTLE_BYTES)
    if little:
        free = min(good[node]["free"] for node in little)
        yield Finding(
            f"The {folder} folder has {free / 2**20:.0f} MiB free on {_named(little)}.",
            "Delete experiments with their outputs, or enlarge the volume.",
            is_fatal=False,
        )


def _read_findings(folder: str, results: Results) -> Iterator[Finding]:
    blind = {
        node: one[folder]
        for node, one in sorted(results.read.items())
        if one[folder]["unseen_count"]
    }
    if not blind:
        return
    node, one = next(iter(blind.items()))
    more = f", and {len(blind) - 1} more nodes miss files" if len(blind) > 1 else ""
    yield Finding(
        f"The {folder} folder is not the same everywhere: node {node} does not see what "
        f"{_named(one['unseen'], one['unseen_count'])} wrote{more}.",
        "Use a volume that all nodes share (yaml/storage/), or keep training on one node with "
        f"nodeAffinity in yaml/setup/0_pv_{folder}.yaml.",
    )


def _named(nodes: Sequence[str], total: int = 0) -> str:
    total = total or len(nodes)
    shown = ", ".join(nodes[:SHOWN])
    return f"{shown} and {total - SHOWN} more" if total > SHOWN else shown


def _accepts_pods(node: Mapping[str, Any]) -> bool:
    spec = node.get("spec", {})
    conditions = node.get("status", {}).get("conditions", [])
    is_ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    repelling = [
        one for one in spec.get("taints") or [] if one.get("effect") in ("NoSchedule", "NoExecute")
    ]
    return is_ready and not spec.get("unschedulable") and not repelling


def _reaches(node: Mapping[str, Any], volume: Mapping[str, Any] | None) -> bool:
    """Return whether the node affinity of a volume allows a node."""
    required = ((volume or {}).get("spec", {}).get("nodeAffinity") or {}).get("required")
    if not required:
        return True
    return any(
        all(_matches(node["metadata"].get("labels", {}), one) for one in term["matchExpressions"])
        for term in required.get("nodeSelectorTerms", [])
        if term.get("matchExpressions")
    )


def _matches(labels: Mapping[str, str], expression: Mapping[str, Any]) -> bool:
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression.get("values", [])
        case "NotIn":
            return value not in expression.get("values", [])
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    return True  # Gt and Lt: the scheduler decides, and a node that stays silent says so
