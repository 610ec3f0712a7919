"""Measures the use of NVIDIA GPUs with nvidia-smi, if that is installed."""

import logging
import shutil
import subprocess
import time
from collections.abc import Collection, Mapping

from backend.domain.parameter import read_number

PROGRAM = "nvidia-smi"
ANSWER_SECONDS = 5.0  # for one answer: without its daemon, the driver is loaded first
READ_SECONDS = 15.0  # between two readings, which take a tenth of a second of a processor each
RETRY_SECONDS = 600.0  # after a failure
MAX_LINES = 10_000  # of one answer
MIB = 2**20

log = logging.getLogger(__name__)

OnGpus = Mapping[str, int | None]  # of one process: its bytes on each GPU, by UUID, if known


class Gpus:
    """What processes use of the GPUs of this machine. It is used by one thread."""

    def __init__(self) -> None:
        self._program = shutil.which(PROGRAM)
        self._next_reading = 0.0
        self._busy: dict[str, float] = {}  # the part of the time that a GPU is busy, by UUID
        self._processes: Mapping[int, OnGpus] = {}

    def read(self) -> Mapping[int, OnGpus]:
        """Return the processes that use a GPU, by process id; none without nvidia-smi."""
        if self._program is None or time.monotonic() < self._next_reading:
            return self._processes
        self._next_reading = time.monotonic() + READ_SECONDS
        try:
            self._busy = _busy(self._ask("--query-gpu=uuid,utilization.gpu"))
            rows = self._ask("--query-compute-apps=pid,gpu_uuid,used_gpu_memory")
            self._processes = _processes(rows)
        except (OSError, subprocess.SubprocessError) as error:
            log.warning("The use of GPUs is not known: %s", error)
            self._next_reading = time.monotonic() + RETRY_SECONDS
            self._busy, self._processes = {}, {}
        return self._processes

    def total(self, used: Collection[OnGpus]) -> tuple[float | None, int | None]:
        """Return how many GPUs these processes keep busy, and their memory on them in bytes.

        What another process does on the same GPU counts, too: the driver does not tell them apart.
        Either is None if it is not known, and both if these processes use no GPU.
        """
        uuids = {uuid for process in used for uuid in process}
        busy = [self._busy[uuid] for uuid in uuids if uuid in self._busy]
        sizes = [size for process in used for size in process.values() if size is not None]
        return round(sum(busy), 3) if busy else None, sum(sizes) if sizes else None

    def _ask(self, query: str) -> list[list[str]]:
        """Return the rows of an answer.

        Raises:
            OSError, SubprocessError: there is none.
        """
        answer = subprocess.run(  # noqa: S603  (a program of the machine, and our own arguments)
            [str(self._program), query, "--format=csv,noheader,nounits"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=ANSWER_SECONDS,
            check=True,
        )
        lines = answer.stdout.decode(errors="replace").splitlines()[:MAX_LINES]
        return [[cell.strip() for cell in line.split(",")] for line in lines]


def _busy(rows: list[list[str]]) -> dict[str, float]:
    """Return the part of the time that each GPU is busy, of those that report it."""
    known = [(row[0], read_number(row[1])) for row in rows if len(row) == 2]
    return {uuid: part / 100 for uuid, part in known if part is not None and 0 <= part <= 100}


def _processes(rows: list[list[str]]) -> Mapping[int, OnGpus]:
    memory: dict[int, dict[str, int | None]] = {}
    for row in rows:
        if len(row) == 3 and row[0].isdecimal() and len(row[0]) < 20:
            size = read_number(row[2])  # `[N/A]` in a container
            is_known = size is not None and 0 <= size < 2**33
            memory.setdefault(int(row[0]), {})[row[1]] = (
                int((size or 0) * MIB) if is_known else None
            )
    return memory
