"""Forked processes that end with the one that forked them."""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess

PR_SET_PDEATHSIG = 1  # prctl(2)


def fork(name: str, work: Callable[[], int]) -> BaseProcess:
    """Fork a process that does `work` and exits with the code that it returns.

    It starts with the default handlers of SIGTERM and SIGINT. On Linux, it gets SIGTERM when this
    process ends, however that happens.
    """
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_run, args=(work, os.getpid()), name=name)
    process.start()
    return process


def _run(work: Callable[[], int], parent: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":  # without its parent, nothing would restart or stop it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == parent:
        sys.exit(work())
