"""What an attempt uses of the machine that it trains on: processors, memory and GPUs."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from backend.domain.numbers import is_number

MAX_UNITS = 1e6  # processors or GPUs: far more than any machine has
MAX_BYTES = 2**53  # of memory; JavaScript reads such an integer exactly
MIB = 2**20

Figure = TypeVar("Figure", float, int)


class Usage(NamedTuple):
    """What an attempt uses at one moment, or the most that it has used; None if not known.

    Attributes:
        cpu: the processors that it keeps busy: 1.5 are one and a half.
        memory: bytes.
        gpu: the GPUs that it keeps busy: 0.5 is half of one.
        gpu_memory: bytes on all of its GPUs.
    """

    cpu: float | None = None
    memory: int | None = None
    gpu: float | None = None
    gpu_memory: int | None = None


NOTHING_KNOWN = Usage()
PEAKS = tuple(f"peak_{name}" for name in Usage._fields)  # columns of an experiment


def read_usage(values: Mapping[str, Any], prefix: str = "") -> Usage:
    """Return the usage in `values`, whose names begin with `prefix`; what is no valid number, None.

    Whatever a trainer or a cluster has put there.
    """
    cpu, memory, gpu, gpu_memory = (values.get(f"{prefix}{name}") for name in Usage._fields)
    return Usage(_units(cpu), _bytes(memory), _units(gpu), _bytes(gpu_memory))


def highest(one: Usage, other: Usage) -> Usage:
    """Return the larger figure of each kind."""
    return Usage(
        _larger(one.cpu, other.cpu),
        _larger(one.memory, other.memory),
        _larger(one.gpu, other.gpu),
        _larger(one.gpu_memory, other.gpu_memory),
    )


def memory_sentence(peak: int | None, limit: int | None) -> str:
    """Return a sentence for a diagnosis, with a space before it; "" if the limit is not known.

    Args:
        peak: the most memory that was seen, in bytes, if it is known.
        limit: how much an attempt may use, in bytes, if it is known.
    """
    if limit is None:
        return ""
    if peak is None:
        return f" An experiment may use {_mib(limit)}."
    return f" It was seen to use {_mib(peak)}; an experiment may use {_mib(limit)}."


def _larger(one: Figure | None, other: Figure | None) -> Figure | None:
    return max((figure for figure in (one, other) if figure is not None), default=None)


def _units(value: Any) -> float | None:
    return float(value) if is_number(value, 0, MAX_UNITS) else None


def _bytes(value: Any) -> int | None:
    return int(value) if is_number(value, 0, MAX_BYTES) else None


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:,.0f} MiB"
