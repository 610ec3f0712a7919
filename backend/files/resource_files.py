"""Keeps the curves of what attempts use, in the folder `resources` of their output folder.

    2.jsonl   one sample a line: {"elapsed": 12.5, "cpu": 1.98, "memory": 412876800}

`elapsed` are the seconds since the attempt was started; the others are the figures of a Usage, as
far as they are known. A file that grows too long is thinned. The trainer, which is not trusted, can
write to this folder, too: links are not followed, and a file is read up to READ_BYTES.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from backend.domain.execution.usage import Usage, highest, read_usage
from backend.domain.numbers import MAX_SECONDS, is_number
from backend.files.metrics import parse_rows
from backend.files.outputs import Outputs
from backend.files.untrusted import (
    Entry,
    append_to_file,
    entry_of,
    make_folder,
    opened_folder,
    write_file,
)

RESOURCE_FOLDER = "resources"
MAX_BYTES = 64 * 1024  # of one file: about an hour of samples; it is thinned when it gets longer
READ_BYTES = 2 * MAX_BYTES
KEPT = 360  # samples at most after that; each takes about 100 bytes
FINEST_SECONDS = 5.0  # between two samples at least


class Sample(NamedTuple):
    """What an attempt used, `elapsed` seconds after its start."""

    elapsed: float
    usage: Usage


class ResourceFiles:
    """The samples of all attempts."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs

    def append(self, experiment_id: str, attempt: int, sample: Sample) -> None:
        """Add a sample to those of an attempt.

        Raises:
            OSError: it cannot be written.
        """
        name = _name(attempt)
        with opened_folder(self._outputs.folder(experiment_id)) as folder:
            make_folder(RESOURCE_FOLDER, within=folder)
            with opened_folder(RESOURCE_FOLDER, within=folder) as directory:
                size = append_to_file(directory, name, _line(sample))
                if size > MAX_BYTES:
                    samples = thinned(self.read(experiment_id, attempt))
                    write_file(directory, name, map(_line, samples))

    def entry(self, experiment_id: str, attempt: int) -> Entry | None:
        """Return what is known of the file of an attempt without reading it; None without one."""
        file = self._outputs.open(experiment_id, RESOURCE_FOLDER, _name(attempt))
        if file is None:
            return None
        with file:
            return entry_of(_name(attempt), os.fstat(file.fileno()))

    def read(self, experiment_id: str, attempt: int) -> list[Sample]:
        """Return the samples of an attempt in their order; none if there is no file."""
        file = self._outputs.open(experiment_id, RESOURCE_FOLDER, _name(attempt))
        if file is None:
            return []
        with file:
            content = file.read(READ_BYTES)
        return list(_in_order(parse_rows(content.split(b"\n")[:-1])))


def thinned(samples: Sequence[Sample], most: int = KEPT) -> list[Sample]:
    """Return at most `most` samples: neighbours become one, with the highest figure of each kind.

    Each stands for the same time, so that no part of a long training is shown more coarsely.
    """
    seconds = FINEST_SECONDS
    while len(samples) > most:
        merged: dict[float, Sample] = {}
        for sample in samples:
            period = sample.elapsed // seconds
            before = merged.get(period)
            usage = highest(before.usage, sample.usage) if before else sample.usage
            merged[period] = Sample(sample.elapsed, usage)
        samples = list(merged.values())
        seconds *= 2
    return list(samples)


def _in_order(rows: Iterable[dict[str, Any]]) -> Iterator[Sample]:
    """Yield the samples in rows; those that are not later than the one before are left out."""
    last = -1.0
    for row in rows:
        elapsed = row.get("elapsed")
        if is_number(elapsed, 0, MAX_SECONDS) and elapsed > last:
            last = float(elapsed)
            yield Sample(last, read_usage(row))


def _line(sample: Sample) -> bytes:
    known = {name: value for name, value in sample.usage._asdict().items() if value is not None}
    return orjson.dumps({"elapsed": sample.elapsed} | known) + b"\n"


def _name(attempt: int) -> str:
    return f"{attempt}.jsonl"
