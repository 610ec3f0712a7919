"""Processes that are forked to prepare the database and to play the roles."""

import os
import signal

from backend.__main__ import UNUSABLE, _in_child
from backend.children import fork
from backend.roles import CannotStart


def test_code_of_a_child():
    child = fork("counts", lambda: 3)
    child.join()
    assert child.exitcode == 3


def test_preparation_in_a_child(capfd):
    assert _in_child(lambda: None) == 0

    def refuse():
        raise CannotStart("The disk is full.")

    assert _in_child(refuse) == UNUSABLE
    assert capfd.readouterr().err == "error: The disk is full.\n"


def test_preparation_that_is_killed(capfd):
    assert _in_child(lambda: os.kill(os.getpid(), signal.SIGKILL)) == UNUSABLE
    assert capfd.readouterr().err == "error: the preparation was killed by signal 9\n"
