"""Logs that are followed, saved in the background, and bounded."""

import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from backend.experiments import logs as module
from backend.experiments.logs import Logs
from backend.experiments.reconciling.health import Passes
from backend.files.log_lines import UNHEARD, Unfinished
from backend.files.outputs import Outputs

BAR = [b"\r%3d%%|%s|" % (n, b"#" * (n // 10)) for n in range(101)]


@dataclass
class Watch:
    """An attempt that goes through steps, one each time its follower waits, and then ends."""

    steps: list = field(default_factory=list)
    number: int = 1
    is_over: bool = False

    def wait(self, _seconds):
        if self.steps:
            self.steps.pop(0)()
        else:
            self.is_over = True


@pytest.fixture
def experiment():
    return SimpleNamespace(experiment_id="first", attempt=1, job="job-1")


@pytest.fixture
def log(tmp_path):
    (tmp_path / "first" / "logs").mkdir(parents=True)
    return tmp_path / "first" / "logs" / "1.log"


@pytest.fixture
def logs(tmp_path):
    return Logs(SimpleNamespace(log_source=None), Outputs(tmp_path), max_bytes=1000)


def append(file, content):
    with file.open("ab") as out:
        out.write(content)


def test_follower_sees_bar_move(logs, log, experiment, monkeypatch):
    """A line without its end is followed too, and ends as one line."""
    monkeypatch.setattr(module, "UNFINISHED_SECONDS", 0)
    append(log, b"loading\n")
    states = [lambda state=state: append(log, state) for state in BAR[:3]]
    watch = Watch([*states, lambda: append(log, BAR[100] + b"\ndone\n")])
    followed = [line for line in logs.follow(experiment, watch) if line]
    seen = [line for _, line in followed if isinstance(line, Unfinished)]

    assert seen == [b"".join(BAR[:number]) for number in (1, 2, 3)]
    whole = [(number, line) for number, line in followed if not isinstance(line, Unfinished)]
    assert whole == [(1, b"loading"), (2, b"".join([*BAR[:3], BAR[100]])), (3, b"done")]


def test_follower_sees_bar_at_a_bounded_rate(logs, log, experiment, monkeypatch):
    monkeypatch.setattr(module, "UNFINISHED_SECONDS", 1e9)
    watch = Watch([lambda state=state: append(log, state) for state in BAR])
    followed = [line for line in logs.follow(experiment, watch) if line]

    assert sum(isinstance(line, Unfinished) for _, line in followed) == 1
    assert followed[-1] == (1, b"".join(BAR))


def test_lines_already_seen_let_the_stream_end(logs, log, experiment):
    """While a follower skips a long log, its stream can still notice that it has to end."""
    append(log, b"x\n" * 10_000)
    followed = list(logs.follow(experiment, Watch(is_over=True), after=9_999))

    assert followed[-1] == (10_000, b"x")
    assert followed.count(None) == 9


class SlowSource:
    """A launcher's logs, one of which does not end before `release` is set."""

    def __init__(self):
        self.release = threading.Event()

    def parts(self, handle):
        return [f"1-{handle}"]

    def read(self, part):
        yield b"first"
        if "slow" in part:
            self.release.wait()
        yield b"last"


def test_long_log_holds_up_no_other(tmp_path, monkeypatch):
    """The log of one experiment is saved in the background, while others are saved at once."""
    monkeypatch.setattr(module, "SAVE_SECONDS", 0.2)
    source = SlowSource()
    logs = Logs(SimpleNamespace(log_source=source), Outputs(tmp_path), max_bytes=1000)
    slow, quick = (_experiment(name, tmp_path) for name in ("slow", "quick"))

    assert not logs.save(slow)
    monkeypatch.setattr(module, "SAVE_SECONDS", 60)
    assert logs.save(quick)
    source.release.set()
    logs.save_pending()
    assert (tmp_path / "slow" / "logs" / "1.log").read_bytes() == b"first\nlast\n"
    assert logs.save(slow)


class EndingSource:
    """The log of a pod that ends with these lines, and is gone then."""

    def __init__(self, *ending):
        self.ending, self.is_gone = ending, False

    def parts(self, handle):
        return [] if self.is_gone else [f"1-{handle}"]

    def read(self, part):
        yield b"first"

    def follow(self, part, connected=lambda: None, *, has_started=False):
        connected()
        yield b"first"
        yield from self.ending
        self.is_gone = True


def listen(folder, experiment, *ending):
    """Save the final output of a pod, and return how often `on_lost_end` was called."""
    logs = Logs(SimpleNamespace(log_source=EndingSource(*ending)), Outputs(folder), max_bytes=1000)
    calls = []
    logs.on_lost_end = lambda: calls.append(1)
    logs.save_final_output(experiment)
    for thread in threading.enumerate():
        if thread.name == f"final-output-{experiment.job}":
            thread.join()
    return len(calls)


def test_lost_end_of_a_log_is_said_and_counted(tmp_path):
    """Another process that heard the last words replaces the line, and is not replaced by it."""
    experiment = _experiment("first", tmp_path)
    log = tmp_path / "first" / "logs" / "1.log"

    assert listen(tmp_path, experiment, UNHEARD) == 1
    assert log.read_bytes() == b"first\n%s\n" % UNHEARD
    assert listen(tmp_path, experiment, b"stopped by signal 15") == 0
    assert log.read_bytes() == b"first\nstopped by signal 15\n"
    assert listen(tmp_path, experiment, UNHEARD) == 0
    assert log.read_bytes() == b"first\nstopped by signal 15\n"


def test_final_output_is_read_once(tmp_path):
    """Every pass of the reconciler asks for it until the pod has ended."""
    experiment = _experiment("first", tmp_path)
    source, reads, ended = EndingSource(b"last"), [], threading.Event()
    read, follow = source.read, source.follow

    def follow_until_ended(part, connected, **_options):
        yield from follow(part, connected)
        ended.wait()

    source.read = lambda part: reads.append(part) or read(part)
    source.follow = follow_until_ended
    logs = Logs(SimpleNamespace(log_source=source), Outputs(tmp_path), max_bytes=1000)
    logs.save_final_output(experiment)
    logs.save_final_output(experiment)

    assert len(reads) == 1
    ended.set()


def test_lost_ends_are_a_metric():
    passes = Passes()
    passes.log_end_lost()

    assert b"hello_flask_log_ends_lost_total 1.0" in passes.metrics()


def _experiment(name, folder):
    (folder / name).mkdir()
    attempt = _Attempt(name)
    return SimpleNamespace(experiment_id=name, attempt=1, job=name, current_attempt=attempt)


@dataclass(frozen=True)
class _Attempt:
    handle: str
    number: int = 1
