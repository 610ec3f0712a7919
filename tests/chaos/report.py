"""The table of injected faults and of violations. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tests.chaos.check import TERMINAL
from tests.chaos.evidence import Evidence

SHOWN_OF_EACH = 10  # violations of each check


@dataclass(frozen=True)
class Figures:
    """The outcome of one chaos test.

    Attributes:
        faults: number of injected faults by kind.
        violations: by check, a sentence for each violation.
        worked_seconds: from the first request to the end of the last fault.
        quiet_seconds: from there until every experiment had ended.
    """

    seed: int
    evidence: Evidence
    faults: Counter[str]
    violations: Mapping[str, list[str]]
    worked_seconds: float
    quiet_seconds: float


def report(platform: str, figures: Figures) -> str:
    """Return a Markdown table of the figures, and below it the violations."""
    evidence = figures.evidence
    answers = Counter(str(request.status or "none") for request in evidence.requests)
    last_shown = [
        found.shown or (found.deleted and found.deleted.shown) for found in evidence.found.values()
    ]
    shown = [experiment for experiment in last_shown if experiment]
    folders = [
        found.folder or (found.deleted and found.deleted.folder)
        for found in evidence.found.values()
    ]
    ends = Counter(experiment["status"] for experiment in shown)
    starts = sum(line["event"] == "start" for folder in folders if folder for line in folder.ledger)
    attempts = sum(experiment["attempt"] for experiment in shown)
    lines = [
        f"| on {platform}, seed {figures.seed} | |",
        "|---|---|",
        f"| experiments | {len(evidence.plans)} |",
        f"| requests, by answer | {_counts(answers)} |",
        f"| trainings started, attempts | {starts}, {attempts} |",
        f"| ends | {', '.join(f'{ends[status]} {status}' for status in TERMINAL)} |",
        f"| faults | {figures.faults.total()} |",
        *(
            f"| ... {kind.replace('_', ' ')} | {times} |"
            for kind, times in sorted(figures.faults.items())
        ),
        f"| seconds with faults | {figures.worked_seconds:.0f} |",
        f"| seconds until all had ended | {figures.quiet_seconds:.1f} |",
        *(f"| violations: {check} | {len(found)} |" for check, found in figures.violations.items()),
    ]
    for check, found in figures.violations.items():
        lines += [f"{check}: {violation}" for violation in found[:SHOWN_OF_EACH]]
        if len(found) > SHOWN_OF_EACH:
            lines.append(f"{check}: ... and {len(found) - SHOWN_OF_EACH} more")
    return "\n".join(lines)


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{times} x {answer}" for answer, times in sorted(counts.items()))
