"""Numbers that the web workers count in memory they share, so that each can read the sum.

The memory is a memfd: a file without a name or a folder, which nobody can remove or truncate from
outside. Files in TMPDIR, as prometheus_client uses them, end a worker with SIGBUS if the disk
is full.

The memory is divided into regions, one for each process that counts. A process owns a region while
it holds a record lock on its number, which the kernel releases when the process ends; the next
process to own the region continues its numbers. A region holds the number of bytes in use, and
entries:

    width, length of the key (4 bytes each), the key, padding to 8 bytes, `width` doubles
"""

import fcntl
import mmap
import os
import struct
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

REGIONS = 16  # workers, and those that replace them while the old ones end
REGION_BYTES = 2**20  # more than all routes, methods and statuses take; unused pages take no memory
HEAD = struct.Struct("=Q")
ENTRY = struct.Struct("=II")
NUMBER = struct.Struct("=d")

Key = tuple[str, ...]


class CountsFull(Exception):
    """There is no room for another key, or no region for another process."""


@dataclass(frozen=True)
class _Entry:
    offset: int  # of the first number, in the memory
    width: int  # how many numbers there are


class SharedCounts:
    """Lists of numbers by key.

    Created before the processes that count are forked. Where there is no memfd (other systems than
    Linux), each process counts for itself.
    """

    def __init__(self, gauges: Iterable[Key] = ()) -> None:
        """Count from 0; the numbers of `gauges` are void once their process has ended."""
        self._gauges = frozenset(gauges)
        self._descriptor = None
        if sys.platform == "linux":
            self._descriptor = os.memfd_create("hello-flask-counts", os.MFD_CLOEXEC)
            os.ftruncate(self._descriptor, REGIONS * REGION_BYTES)
            self._memory = mmap.mmap(self._descriptor, 0)
        else:
            self._memory = mmap.mmap(-1, REGIONS * REGION_BYTES)
        self._lock = threading.Lock()
        self._pid = self._region = -1
        self._entries: dict[Key, _Entry] = {}

    def __del__(self) -> None:
        """Close the memory of an app that is not used any more."""
        if self._descriptor is not None:
            os.close(self._descriptor)

    def add(self, key: Key, width: int, amounts: Mapping[int, float]) -> None:
        """Add to numbers of a key.

        Args:
            key: names them.
            width: how many there are, always the same for a key.
            amounts: what to add, by position.

        Raises:
            CountsFull: there is no room for another key, or no region for this process.
        """
        with self._lock:
            if self._pid != os.getpid():
                self._own_region()
            entry = self._entries.get(key) or self._append(key, width)
            for position, amount in amounts.items():
                offset = entry.offset + position * NUMBER.size
                (number,) = NUMBER.unpack_from(self._memory, offset)
                NUMBER.pack_into(self._memory, offset, number + amount)

    def totals(self) -> dict[Key, list[float]]:
        """Return the sums of all processes; of gauges, those of the processes that live."""
        totals: dict[Key, list[float]] = {}
        with self._lock:
            for region in range(REGIONS):
                is_alive = region == self._region or not self._is_free(region)
                for key, entry in self._read(region):
                    if key in self._gauges and not is_alive:
                        continue
                    numbers = struct.unpack_from(f"={entry.width}d", self._memory, entry.offset)
                    sums = totals.setdefault(key, [0.0] * entry.width)
                    totals[key] = [sum(pair) for pair in zip(sums, numbers, strict=True)]
        return totals

    def _own_region(self) -> None:
        """Find a region that no process owns, and continue its numbers."""
        self._pid, self._region = os.getpid(), -1
        self._entries.clear()
        region = next((one for one in range(REGIONS) if self._take(one)), None)
        if region is None:
            self._pid = -1
            raise CountsFull(f"more than {REGIONS} processes count")
        self._region = region
        self._entries = dict(self._read(region))
        for gauge in self._gauges & self._entries.keys():
            entry = self._entries[gauge]
            struct.pack_into(f"={entry.width}d", self._memory, entry.offset, *[0.0] * entry.width)

    def _take(self, region: int) -> bool:
        if self._descriptor is None:
            return True
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, region)
        except OSError:
            return False
        return True

    def _is_free(self, region: int) -> bool:
        """Return whether no other process owns a region; not to be asked of one's own."""
        if self._descriptor is None or not self._take(region):
            return False
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, region)
        return True

    def _append(self, key: Key, width: int) -> _Entry:
        start = self._region * REGION_BYTES
        (used,) = HEAD.unpack_from(self._memory, start)
        used = used or HEAD.size
        name = "\0".join(key).encode()
        size = ENTRY.size + -(-len(name) // 8) * 8 + width * NUMBER.size
        if used + size > REGION_BYTES:
            raise CountsFull(f"there is no room for {key}")
        ENTRY.pack_into(self._memory, start + used, width, len(name))
        at = start + used + ENTRY.size
        self._memory[at : at + len(name)] = name
        HEAD.pack_into(self._memory, start, used + size)  # last: a reader sees a complete entry
        self._entries[key] = _Entry(start + used + size - width * NUMBER.size, width)
        return self._entries[key]

    def _read(self, region: int) -> Iterator[tuple[Key, _Entry]]:
        """Yield the entries of a region."""
        start = region * REGION_BYTES
        (used,) = HEAD.unpack_from(self._memory, start)
        at, end = start + HEAD.size, start + used
        while at < end:
            width, length = ENTRY.unpack_from(self._memory, at)
            name = self._memory[at + ENTRY.size : at + ENTRY.size + length]
            numbers = at + ENTRY.size + -(-length // 8) * 8
            yield tuple(name.decode().split("\0")), _Entry(numbers, width)
            at = numbers + width * NUMBER.size
