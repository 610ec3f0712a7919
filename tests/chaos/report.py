"""One table of what was broken and what was found. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tests.chaos.check import TERMINAL
from tests.chaos.evidence import Evidence

SHOWN_OF_EACH = 10  # sentences a check


@dataclass(frozen=True)
class Figures:
    """What one run of the harness gave.

    Attributes:
        broken: how often each kind of fault struck.
        violations: by check, a sentence for each.
        worked_seconds: from the first request to the last fault's end.
        quiet_seconds: from there until every run had ended.
    """

    seed: int
    evidence: Evidence
    broken: Counter[str]
    violations: Mapping[str, list[str]]
    worked_seconds: float
    quiet_seconds: float


def report(house: str, figures: Figures) -> str:
    """Write the figures as a Markdown table, and below it what was violated."""
    evidence = figures.evidence
    answers = Counter(str(one.status or "none") for one in evidence.requests)
    shown = [
        (one.shown or (one.forgotten and one.forgotten.shown)) for one in evidence.found.values()
    ]
    ends = Counter(one["status"] for one in shown if one)
    ledgers = [
        one.folder or (one.forgotten and one.forgotten.folder) for one in evidence.found.values()
    ]
    starts = sum(line["event"] == "start" for one in ledgers if one for line in one.ledger)
    attempts = sum(one["attempt"] for one in shown if one)
    lines = [
        f"| house {house}, seed {figures.seed} | |",
        "|---|---|",
        f"| experiments | {len(evidence.runs)} |",
        f"| requests, by answer | {_counts(answers)} |",
        f"| trainings started, attempts | {starts}, {attempts} |",
        f"| ends | {', '.join(f'{ends[one]} {one}' for one in TERMINAL)} |",
        f"| faults | {figures.broken.total()} |",
        *(
            f"| ... {kind.replace('_', ' ')} | {times} |"
            for kind, times in sorted(figures.broken.items())
        ),
        f"| seconds with faults | {figures.worked_seconds:.0f} |",
        f"| seconds until all was quiet | {figures.quiet_seconds:.1f} |",
        *(f"| violations: {check} | {len(found)} |" for check, found in figures.violations.items()),
    ]
    for check, found in figures.violations.items():
        lines += [f"{check}: {one}" for one in found[:SHOWN_OF_EACH]]
        if len(found) > SHOWN_OF_EACH:
            lines.append(f"{check}: ... and {len(found) - SHOWN_OF_EACH} more")
    return "\n".join(lines)


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{times} x {what}" for what, times in sorted(counts.items()))
