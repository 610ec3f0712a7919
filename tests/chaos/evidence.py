"""The evidence that is judged: what clients, folders and injected faults say after the end."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.plan import ExperimentPlan

Json = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One request as its client saw it.

    Attributes:
        action: submit, repeat, other, show, `cancel ATTEMPT`, retry, delete or watch.
        status: None if no answer came.
        body: the JSON body of the answer.
    """

    experiment_id: str
    action: str
    status: int | None
    body: Json | None = None


@dataclass(frozen=True)
class Hit:
    """A fault that struck one attempt; `kind` is runner, trainer, pod or job."""

    experiment_id: str
    attempt: int
    kind: str


@dataclass(frozen=True)
class Folder:
    """The output folder of an experiment.

    Attributes:
        run_file: the content of run.json.
        finished: whether there is a summary.json.
        metrics: the epochs in metrics.jsonl, in the order of its lines.
        ledger: the lines of the trainer's ledger.
    """

    run_file: Json | None
    finished: bool
    metrics: list[int]
    ledger: list[Json]


@dataclass(frozen=True)
class Found:
    """The state of one experiment at the end.

    Attributes:
        shown: the answer of GET, None for 404.
        logs: the logs by attempt, as GET answers them.
        folder: its output folder, None if there is none.
        deleted: its state just before its client deleted it.
    """

    shown: Json | None
    logs: Mapping[int, str] = field(default_factory=dict)
    folder: Folder | None = None
    deleted: "Found | None" = None


@dataclass(frozen=True)
class Evidence:
    """Everything that the checks judge.

    Attributes:
        stuck: ids of the experiments that had not ended in time after the last fault.
        jobs: number of Jobs ever created, by name; None on a platform without Jobs.
        listed: ids on all pages of the list, in order.
        folders: names in the output folder.
        differences: the lines that `python -m backend rebuild --check` prints.
    """

    plans: Sequence[ExperimentPlan]
    requests: Sequence[Request]
    hits: Sequence[Hit]
    found: Mapping[str, Found]
    stuck: Sequence[str]
    jobs: Mapping[str, int] | None
    listed: Sequence[str]
    folders: Sequence[str]
    differences: Sequence[str]


def read_folder(folder: Path, *, trusted: bool = True) -> Folder | None:
    """Read the output folder of an experiment; return None if there is none.

    Args:
        folder: the folder.
        trusted: whether its metrics can be read; those of a hostile trainer are left out.
    """
    if not folder.is_dir():
        return None
    return Folder(
        run_file=next(iter(read_lines(folder / "run.json", whole=True)), None),
        finished=(folder / "summary.json").is_file(),
        metrics=[line["epoch"] for line in read_lines(folder / "metrics.jsonl")] if trusted else [],
        ledger=read_lines(folder / "ledger.jsonl"),
    )


def read_lines(path: Path, *, whole: bool = False) -> list[Json]:
    """Read a file of JSON lines, or a single JSON document if `whole`; a missing file is empty."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    return [json.loads(text)] if whole else [json.loads(line) for line in text.splitlines()]
