"""Waiting for the leadership, keeping it, and losing it."""

import threading

import pytest

from backend.domain.attempt import Diagnosis
from backend.launchers import leadership as module
from backend.launchers.base import LauncherUnavailable
from backend.launchers.leadership import FreeSeat, Leadership

AWAY = LauncherUnavailable(Diagnosis("kubernetes_unreachable", "The API server is away.", "Wait."))


class ScriptedSeat:
    """A seat with an answer for each try; an exception is raised. Then `stopped` is set."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.stopped = threading.Event()
        self.is_released = False

    def try_hold(self):
        answer = self._answers.pop(0)
        if not self._answers:
            self.stopped.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def release(self):
        self.is_released = True


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0)


def test_waits_until_the_seat_is_free():
    reports = []
    seat = ScriptedSeat(False, AWAY, False, True)
    assert Leadership(seat, reports.append).wait(seat.stopped)
    assert reports == [None, "The API server is away.", None]


def test_does_not_lead_while_nobody_knows():
    seat = ScriptedSeat(AWAY, OSError("no such folder"))
    reports = []
    assert not Leadership(seat, reports.append).wait(seat.stopped)
    assert reports == ["The API server is away.", "no such folder"]


def test_stopped_while_waiting():
    seat = ScriptedSeat(False)
    assert not Leadership(seat).wait(seat.stopped)


def test_goes_on_while_nobody_knows_and_releases_at_the_end():
    seat, lost = ScriptedSeat(True, AWAY, True), []
    Leadership(seat).keep(seat.stopped, lambda: lost.append(1))
    assert lost == []
    assert seat.is_released


def test_loses_to_another():
    seat, lost = ScriptedSeat(True, False, True), []
    Leadership(seat).keep(seat.stopped, lambda: lost.append(1))
    assert lost == [1]
    assert not seat.is_released


def test_without_others():
    assert Leadership(FreeSeat()).wait(threading.Event())
