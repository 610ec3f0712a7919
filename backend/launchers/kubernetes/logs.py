"""What the pods of a Job print, from the API server.

Logs are asked for with timestamps. That tells the trainer's lines from a kubelet's complaint in
their place, and lets a log that is followed be gone on with after a lost connection: `sinceTime`
counts in whole seconds, so what then comes a second time is dropped (Kubernetes API reference, Pod,
"read log"; the kubelet writes times in its node's own zone).
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import urllib3

from backend.files.log_lines import LineSplitter, split
from backend.launchers.base import LauncherUnavailable
from backend.launchers.kubernetes.status import part_of

SILENCE_SECONDS = 10.0  # of a log that is followed; then the connection is made anew
PAUSE_SECONDS = 1.0
LONGEST_PAUSE = 10.0
TIMESTAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+(?:Z|[+-]\d\d:\d\d) ")

Pod = dict[str, Any]


class PodLogs:
    """The logs of our Jobs' pods. A part of a run's log is what one pod printed."""

    def __init__(
        self,
        *,
        pods: Callable[[str], Sequence[Pod]],
        pod: Callable[[str], Pod | None],
        log: Callable[[str], bytes],
        open_log: Callable[..., urllib3.BaseHTTPResponse | None],
    ) -> None:
        """Read through these calls, which raise LauncherUnavailable.

        `pods` lists those of a Job; `pod` gives one by name, None if it is gone; `log` gives its
        log with timestamps, and `open_log` follows it from a time on, None if it has none.
        """
        self._pods, self._pod, self._log, self._open_log = pods, pod, log, open_log

    def parts(self, handle: str) -> Sequence[str]:
        """Name the parts of the Job's log that can be read, oldest first."""
        return sorted(part_of(pod) for pod in self._pods(handle))

    def read(self, part: str) -> Sequence[bytes]:
        """Give the lines of a part so far; none if its pod has not started, or is gone."""
        raw_lines = split([self._log(_pod_of(part))])
        return [raw[stamp.end() :] for raw in raw_lines if (stamp := TIMESTAMP.match(raw))]

    def follow(
        self, part: str, connected: Callable[[], object] = lambda: None
    ) -> Iterator[bytes | None]:
        """Give the lines of a part from the first to the last, and None while no new one comes.

        An API server that is away is waited for. `connected` is called when the log is being read.
        """
        given, seconds = _Given(), PAUSE_SECONDS
        while True:
            try:
                pod = self._pod(_pod_of(part))
                if pod is None:
                    return
                ended = _has_ended(pod)
                if ended or _has_started(pod):
                    at_its_end = yield from self._follow_once(part, given, connected, ended)
                    # What was read to its end after the pod had ended is all there will be.
                    if at_its_end and ended:
                        return
                seconds = PAUSE_SECONDS
            except LauncherUnavailable:
                seconds = min(LONGEST_PAUSE, 2 * seconds)
            yield from _pause(seconds)

    def _follow_once(
        self, part: str, given: "_Given", connected: Callable[[], object], ended: bool
    ) -> Generator[bytes | None, None, bool]:
        """Give the new lines that come by one connection; return whether all of them came."""
        again = given.lines()
        answer = self._open_log(_pod_of(part), given.since())
        if answer is None:
            return True
        text = LineSplitter()
        try:
            connected()
            for piece in answer.stream(decode_content=False):
                for raw in text.add(piece):
                    if again[raw]:
                        again[raw] -= 1
                    elif stamp := TIMESTAMP.match(raw):
                        given.add(raw, stamp)
                        yield raw[stamp.end() :]
        except urllib3.exceptions.HTTPError:  # cut, or silent for too long
            return False
        finally:
            answer.close()
        rest = text.rest
        if ended and not again[rest] and (stamp := TIMESTAMP.match(rest)):
            yield rest[stamp.end() :]  # a last line without an end
        return True


class _Given:
    """The lines of the last two seconds that were given, as the server sent them.

    Two, because the standard output and the standard error may be a moment out of order.
    """

    def __init__(self) -> None:
        self._lines: dict[bytes, list[bytes]] = {}  # by second, in the node's time zone

    def add(self, raw: bytes, stamp: re.Match[bytes]) -> None:
        """Remember a line."""
        self._lines.setdefault(stamp[1], []).append(raw)
        if len(self._lines) > 2:
            del self._lines[min(self._lines)]

    def lines(self) -> Counter[bytes]:
        """Count the lines that will come again, by their text."""
        return Counter(raw for lines in self._lines.values() for raw in lines)

    def since(self) -> str | None:
        """Say from when on to ask (RFC 3339), or None: from the beginning."""
        if not self._lines:
            return None
        first = self._lines[min(self._lines)][0].partition(b" ")[0].decode()
        return datetime.fromisoformat(first).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _pod_of(part: str) -> str:
    return part.partition("-")[2]


def _states(pod: Pod) -> list[dict[str, Any]]:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return [status.get("state") or {} for status in statuses]


def _has_started(pod: Pod) -> bool:
    return any("running" in state or "terminated" in state for state in _states(pod))


def _has_ended(pod: Pod) -> bool:
    states = _states(pod)
    if states and all("terminated" in state for state in states):
        return True
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _pause(seconds: float) -> Iterator[None]:
    """Wait, and let others have a look every now and then."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        yield None
        time.sleep(min(left, PAUSE_SECONDS))
