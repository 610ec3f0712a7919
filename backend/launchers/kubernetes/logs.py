"""Reads and follows the logs of pods through the API server.

Logs are requested with timestamps. They distinguish the lines of a trainer from an error message of
the kubelet in their place, and allow a log to be continued after a lost connection: `sinceTime`
counts in whole seconds, so lines that arrive a second time are dropped (Kubernetes API reference,
Pod, "read log"; the kubelet writes times in the time zone of its node).
"""

import copy
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Any

import urllib3

from backend.files.log_lines import (
    MAX_TAIL_BYTES,
    UNHEARD,
    BoundedText,
    LineSplitter,
    Unfinished,
)
from backend.launchers.base import Departure, LauncherUnavailable
from backend.launchers.kubernetes import pod_states
from backend.launchers.kubernetes.gangs.indexed_job import rank_of
from backend.launchers.kubernetes.pod_states import Pod, departure_of, part_of

SILENCE_SECONDS = 10.0  # without a line; a followed log is then requested again
PAUSE_SECONDS = 1.0  # between two connections, and between two None
# Between two looks at a pod that starts, growing to PAUSE_SECONDS. A pod that is deleted meanwhile
# may be gone within a second.
SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 10.0  # seconds between two connections while the API server is unavailable
# The last line of the kubelet if a container is removed while its log is followed. It looks for the
# container at the end of what is written, and only there (pkg/kubelet/kuberuntime/logs, waitLogs).
CONTAINER_GONE = b"rpc error: code = NotFound"
TIMESTAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+(?:Z|[+-]\d\d:\d\d) ")


class PodLogs:
    """The logs of Jobs, as a LogSource: each pod of a Job prints one part."""

    def __init__(
        self,
        *,
        list_pods: Callable[[str], Sequence[Pod]],
        get_pod: Callable[[str], Pod | None],
        read_log: Callable[[str], Iterable[bytes]],
        open_log: Callable[[str, str | None], urllib3.BaseHTTPResponse | None],
        max_bytes: int = MAX_TAIL_BYTES,
    ) -> None:
        """Read logs through these calls, which raise LauncherUnavailable.

        Args:
            list_pods: returns the pods of a Job.
            get_pod: returns a pod by its name, or None if it is gone.
            read_log: returns the log of a pod in pieces, with timestamps.
            open_log: follows the log of a pod, with timestamps, from a time (RFC 3339) or from the
                beginning; returns None if the pod has no log.
            max_bytes: of a log that is read, in memory.
        """
        self._list_pods, self._get_pod = list_pods, get_pod
        self._read_log, self._open_log = read_log, open_log
        self._max_bytes = max_bytes
        self._rank = 0
        self._departures: SimpleQueue[Departure] = SimpleQueue()

    def of_worker(self, rank: int) -> "PodLogs":
        """Return the logs of the workers with this rank."""
        logs = copy.copy(self)
        logs._rank = rank
        return logs

    def parts(self, handle: str) -> Sequence[str]:
        """Return the names of the parts of a Job's log that can be read, oldest first."""
        pods = self._list_pods(handle)
        return sorted(part_of(pod) for pod in pods if rank_of(pod) == self._rank)

    def read(self, part: str) -> Collection[bytes]:
        """Return the lines of a part so far; none if its pod is gone or has not started.

        Of a log longer than `max_bytes`, the first and the last lines are kept in memory.
        """
        text, splitter = BoundedText(self._max_bytes), LineSplitter()
        for piece in self._read_log(_pod_of(part)):
            text.add(_without_stamps(splitter.add(piece)))
        text.add(_without_stamps([splitter.rest]))
        return text

    def note(self, event: dict[str, Any]) -> None:
        """Take notice of an event of a watch of pods, for `departures`."""
        departure = departure_of(event)
        if departure:
            self._departures.put(departure)

    def departures(self, timeout: float) -> Sequence[Departure]:
        """Return the parts that are about to go, or have gone, of the workers of every rank."""
        found = []
        with suppress(Empty):
            found.append(self._departures.get(timeout=timeout))
            while True:
                found.append(self._departures.get_nowait())
        return found

    def follow(
        self,
        part: str,
        connected: Callable[[], object] = lambda: None,
        *,
        has_started: bool = False,
    ) -> Iterator[bytes | None]:
        """Yield the lines of a part from the first to the last, and None while waiting for more.

        Waits while the API server cannot be reached. `connected` is called once the log is being
        read. Ends with UNHEARD if the pod is gone before its log was read to its end; a pod that
        was never found has no log unless it `has_started`.
        """
        recent, seconds = _RecentLines(), SHORTEST_PAUSE
        is_complete = not has_started
        was_read: bool | None = None  # to its end, by the last connection that found a log
        while True:
            try:
                pod = self._get_pod(_pod_of(part))
                if pod is None:
                    break
                ended, started = pod_states.has_ended(pod), pod_states.has_started(pod)
                if ended or started:
                    end = yield from self._follow_once(part, recent, connected, ended)
                    was_read = was_read if end is None else end
                    is_complete = not started if was_read is None else was_read
                    # A log that was read to its end after the pod had ended is complete.
                    if is_complete and ended:
                        return
                    seconds = PAUSE_SECONDS
                else:
                    is_complete = not pod_states.may_have_started(pod)
                    is_deleted = "deletionTimestamp" in pod["metadata"]
                    seconds = SHORTEST_PAUSE if is_deleted else min(PAUSE_SECONDS, 1.25 * seconds)
            except LauncherUnavailable:
                seconds = min(LONGEST_PAUSE, 2 * seconds)
            yield from _pause(seconds)
        if not is_complete:
            yield UNHEARD

    def _follow_once(
        self, part: str, recent: "_RecentLines", connected: Callable[[], object], ended: bool
    ) -> Generator[bytes | None, None, bool | None]:
        """Yield the new lines of one connection.

        Returns:
            Whether the log was read to its end; None if there is none, as once the kubelet has
            removed it.
        """
        repeated = recent.count()
        response = self._open_log(_pod_of(part), recent.since())
        if response is None:
            return None
        splitter, is_log, has_lines = LineSplitter(), False, False
        said = b""  # by the kubelet itself, in place of a log or after it
        try:
            connected()
            for piece in response.stream(decode_content=False):
                for raw in splitter.add(piece):
                    if repeated[raw]:
                        repeated[raw] -= 1
                        is_log = True
                        continue
                    stamp = TIMESTAMP.match(raw)
                    if stamp:
                        is_log = has_lines = True
                        recent.add(raw, stamp)
                        yield raw[stamp.end() :]
                    else:
                        said = raw
                stamp = TIMESTAMP.match(splitter.rest)
                is_shown = stamp and not repeated.total()
                yield Unfinished(splitter.rest[stamp.end() :]) if is_shown and stamp else None
        except urllib3.exceptions.HTTPError:  # the connection was lost, or silent for too long
            return False
        finally:
            response.close()
        rest = splitter.rest  # a last line without a line end
        stamp = TIMESTAMP.match(rest)
        if ended and stamp and not repeated[rest]:
            yield rest[stamp.end() :]
        if rest and not stamp:
            said = rest
        if not said or (is_log and CONTAINER_GONE in said):
            return True
        return False if has_lines else None


class _RecentLines:
    """The raw lines of the last two seconds.

    Two, because lines of the standard output and the standard error may be slightly out of order.
    """

    def __init__(self) -> None:
        self._lines: dict[bytes, list[bytes]] = {}  # by second, in the node's time zone

    def add(self, raw: bytes, stamp: re.Match[bytes]) -> None:
        """Remember a line."""
        self._lines.setdefault(stamp[1], []).append(raw)
        if len(self._lines) > 2:
            del self._lines[min(self._lines)]

    def count(self) -> Counter[bytes]:
        """Return how many times each line will be repeated by a log from `since` on."""
        return Counter(raw for lines in self._lines.values() for raw in lines)

    def since(self) -> str | None:
        """Return the time to continue from (RFC 3339), or None for the beginning."""
        if not self._lines:
            return None
        first = self._lines[min(self._lines)][0].partition(b" ")[0].decode()
        return datetime.fromisoformat(first).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _without_stamps(lines: Iterable[bytes]) -> list[bytes]:
    """Return the lines that begin with a timestamp, without it."""
    stamped = ((raw, TIMESTAMP.match(raw)) for raw in lines)
    return [raw[stamp.end() :] for raw, stamp in stamped if stamp]


def _pod_of(part: str) -> str:
    """Return the name of the pod that prints a part; see `part_of`."""
    return part.partition("-")[2]


def _pause(seconds: float) -> Iterator[None]:
    """Wait, and yield None every PAUSE_SECONDS."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        yield None
        time.sleep(min(left, PAUSE_SECONDS))
