"""The preflight check: every node writes, then every node reads, then all is removed."""

import secrets
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from backend.launchers.preflight.findings import (
    Claim,
    Finding,
    Results,
    claim_findings,
    probe_findings,
    training_nodes,
)
from backend.launchers.preflight.probe import probe

FOLDERS = ("input", "output")


class Site(Protocol):
    """Where experiments train: the nodes of a cluster, or this machine."""

    def claims(self) -> list[Claim]:
        """Return the claims of both folders; none on one machine."""

    def nodes(self) -> list[dict[str, Any]]:
        """Return the nodes, as objects of Kubernetes."""

    def probe(
        self, step: str, run: str, nodes: Sequence[str], others: Sequence[str]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Carry out a step on several nodes at once.

        Returns:
            The results by node, and of nodes that reported nothing, why.
        """


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        nodes: those on which experiments can train.
        results: what each reported.
        findings: what is wrong, the fatal ones first; empty if all is well.
    """

    nodes: list[str]
    results: Results
    findings: list[Finding]

    @property
    def is_good(self) -> bool:
        """Whether experiments can train on every node."""
        return not any(finding.is_fatal for finding in self.findings)

    def lines(self) -> Iterator[str]:
        """Yield the report, line by line."""
        for node in self.nodes:
            for folder in FOLDERS:
                yield f"{node}: {folder} folder: {self._summary(node, folder)}"
        for finding in self.findings:
            yield f"{'PROBLEM' if finding.is_fatal else 'NOTE'}: {finding.problem}"
            yield f"    What to do: {finding.remedy}"
        if self.is_good:
            yield f"{len(self.nodes)} node(s) can train, and share both folders."

    def _summary(self, node: str, folder: str) -> str:
        written = self.results.written.get(node, {}).get(folder)
        if not written:
            return "no answer"
        if error := written.get("error"):
            return str(error)
        uid = self.results.written[node]["uid"]
        return (
            f"written by user {uid}, {written['latency'] * 1000:.1f} ms for a small file, "
            f"{written['free'] / 2**30:.1f} GiB free"
        )


def check(site: Site) -> Report:
    """Check the folders on every node that may train.

    Raises:
        LauncherUnavailable: the API server does not answer, or does not allow it.
    """
    claims = site.claims()
    nodes = training_nodes(site.nodes(), claims)
    results, run = Results(), secrets.token_hex(8)
    try:
        results.written, results.silent = site.probe("write", run, nodes, ())
        writers = sorted(results.written)
        for folder in FOLDERS:  # what could not be written cannot be missed
            writers = [node for node in writers if "error" not in results.written[node][folder]]
        results.read, silent = site.probe("read", run, writers, writers)
        results.silent |= silent
    finally:
        site.probe("remove", run, sorted(results.written), ())
    findings = [*claim_findings(claims, nodes), *probe_findings(results, FOLDERS)]
    return Report(nodes, results, sorted(findings, key=lambda one: not one.is_fatal))


@dataclass(frozen=True)
class Machine:
    """The machine of this process, which trains by itself."""

    folders: dict[str, Path]
    name: str = field(default_factory=socket.gethostname)

    def claims(self) -> list[Claim]:
        """Return nothing: there are no claims."""
        return []

    def nodes(self) -> list[dict[str, Any]]:
        """Return this machine, as if it were a node."""
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        return [{"metadata": {"name": self.name}, "status": ready}]

    def probe(
        self, step: str, run: str, nodes: Sequence[str], others: Sequence[str]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Carry out a step in this process."""
        return {node: probe(step, run, node, others, self.folders) for node in nodes}, {}
