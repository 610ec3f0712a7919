import pytest

from backend.domain.exceptions import StoreUnavailable
from backend.experiments.reconciling.isolation import LONGEST_PAUSE, Isolation


class Work:
    """Fails until `error` is None.

    Attributes:
        times: when it was tried, in seconds.
    """

    def __init__(self, clock):
        self.error, self.times, self._clock = ZeroDivisionError("by zero"), [], clock

    def __call__(self):
        self.times.append(self._clock.now)
        if self.error:
            raise self.error


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def work(clock):
    return Work(clock)


def run_each_second(isolation, clock, work, seconds):
    for _ in range(seconds):
        isolation.run("first", work)
        clock.now += 1


def test_pause_doubles(clock, work, caplog):
    failures = []
    run_each_second(Isolation(lambda: failures.append(1), clock), clock, work, 1000)

    assert work.times == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811]
    assert max(b - a for a, b in zip(work.times, work.times[1:], strict=False)) == LONGEST_PAUSE
    assert len(failures) == len(work.times)
    [record] = caplog.records
    assert record.exc_info
    assert "'first'" in record.getMessage()


def test_success_ends_the_streak(clock, work, caplog):
    isolation = Isolation(lambda: None, clock)
    for error in (work.error, None, work.error):
        work.error = error
        run_each_second(isolation, clock, work, 1)

    assert work.times == [0, 1, 2]
    assert [bool(record.exc_info) for record in caplog.records] == [True, False, True]


def test_others_are_dropped(clock, work):
    isolation = Isolation(lambda: None, clock)
    isolation.run("first", work)
    isolation.retain(["second"])
    isolation.run("first", work)

    assert work.times == [0, 0]


def test_outage_concerns_all(clock, work):
    work.error = StoreUnavailable("gone")
    with pytest.raises(StoreUnavailable):
        Isolation(lambda: None, clock).run("first", work)
