"""Numbers that several processes count in shared memory."""

import os
import signal
from contextlib import contextmanager

import pytest

from backend.web import shared_counts
from backend.web.shared_counts import CountsFull, SharedCounts

KEY, GAUGE = ("requests", "GET", "/실험", "200"), ("streams",)


@pytest.fixture
def counts():
    return SharedCounts(gauges=[GAUGE])


@contextmanager
def process(work):
    """Do `work` in another process, which lives until the end of the `with` block."""
    done, end = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.close(end[1])
        work()
        os.write(done[1], b".")
        os.read(end[0], 1)
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(done[1])
    assert os.read(done[0], 1) == b"."
    try:
        yield
    finally:
        os.close(end[1])
        os.waitpid(child, 0)
        os.close(done[0])
        os.close(end[0])


def test_sum_of_processes(counts):
    def work():
        counts.add(KEY, 3, {0: 1, 2: 0.5})

    with process(work), process(work):
        counts.add(KEY, 3, {1: 1})
        assert counts.totals() == {KEY: [2, 1, 1]}


def test_numbers_survive_their_process(counts):
    for expected in range(1, shared_counts.REGIONS + 3):  # more processes than regions
        with process(lambda: counts.add(KEY, 1, {0: 1})):
            assert counts.totals() == {KEY: [expected]}
    assert counts.totals() == {KEY: [expected]}


def test_gauge_ends_with_its_process(counts):
    with process(lambda: counts.add(GAUGE, 1, {0: 1})):
        assert counts.totals() == {GAUGE: [1]}
    assert counts.totals() == {}

    with process(lambda: counts.add(KEY, 1, {0: 1})):  # takes over the region of the first
        assert counts.totals() == {GAUGE: [0], KEY: [1]}


def test_full_region_keeps_what_it_has(counts, monkeypatch):
    monkeypatch.setattr(shared_counts, "REGION_BYTES", 256)
    counts.add(("0",), 1, {0: 1})
    with pytest.raises(CountsFull):
        counts.add(("x" * 250,), 1, {0: 1})
    counts.add(("0",), 1, {0: 1})

    assert counts.totals() == {("0",): [2]}


def test_too_many_processes(counts, monkeypatch):
    monkeypatch.setattr(shared_counts, "REGIONS", 1)
    with process(lambda: counts.add(KEY, 1, {0: 1})), pytest.raises(CountsFull):
        counts.add(KEY, 1, {0: 1})

    counts.add(KEY, 1, {0: 1})
    assert counts.totals() == {KEY: [2]}
