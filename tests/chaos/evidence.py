"""What is known when everything is quiet again, from the clients, the folders and the breakers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.plan import RunPlan

Json = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One request as its client saw it; `status` is None if no answer came."""

    run: str
    what: str
    status: int | None
    body: Json | None = None


@dataclass(frozen=True)
class Hit:
    """A fault that struck one attempt of a run: runner, trainer, pod or job."""

    run: str
    attempt: int
    kind: str


@dataclass(frozen=True)
class Folder:
    """What lies in a run's folder. `metrics` are the epochs, in the order of the lines."""

    run_file: Json | None
    finished: bool
    metrics: list[int]
    ledger: list[Json]


@dataclass(frozen=True)
class Found:
    """What became of one run.

    Attributes:
        shown: what GET answers, None for 404.
        logs: by attempt, as GET answers.
        folder: None if there is none.
        forgotten: as it was before its client deleted it.
    """

    shown: Json | None
    logs: Mapping[int, str] = field(default_factory=dict)
    folder: Folder | None = None
    forgotten: "Found | None" = None


@dataclass(frozen=True)
class Evidence:
    """Everything that the checker judges.

    Attributes:
        stuck: runs that had not ended within the time given after the last fault.
        jobs: how many Jobs of each name were ever created; None where there are no Jobs.
        listed: the ids of all pages of the list, in their order.
        folders: the names in the output folder.
        differences: what `python -m backend rebuild --check` says.
    """

    runs: Sequence[RunPlan]
    requests: Sequence[Request]
    hits: Sequence[Hit]
    found: Mapping[str, Found]
    stuck: Sequence[str]
    jobs: Mapping[str, int] | None
    listed: Sequence[str]
    folders: Sequence[str]
    differences: Sequence[str]


def read_folder(folder: Path) -> Folder | None:
    """Read what lies in a run's folder."""
    if not folder.is_dir():
        return None
    return Folder(
        run_file=next(iter(read_lines(folder / "run.json", whole=True)), None),
        finished=(folder / "summary.json").is_file(),
        metrics=[line["epoch"] for line in read_lines(folder / "metrics.jsonl")],
        ledger=read_lines(folder / "ledger.jsonl"),
    )


def read_lines(path: Path, *, whole: bool = False) -> list[Json]:
    """Read a file of JSON lines, or one JSON document; nothing if there is no file."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    return [json.loads(text)] if whole else [json.loads(line) for line in text.splitlines()]
