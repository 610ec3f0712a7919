"""The folder in which the web workers keep their metrics; their parent process creates it."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client
PREFIX = "hello-flask-metrics-"


def make_folder() -> None:
    """Create the folder and name it in the environment, unless the environment names one.

    Folders that killed processes have left behind are removed.
    """
    if VARIABLE in os.environ:
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError, ValueError):
            pid = int(folder.name.removeprefix(PREFIX).partition("-")[0])
            if folder.stat().st_uid == os.getuid() and _is_gone(pid):
                shutil.rmtree(folder)
    os.environ[VARIABLE] = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")


def remove_folder() -> None:
    """Remove the folder, unless the environment named it before `make_folder`."""
    folder = Path(os.environ[VARIABLE])
    if folder.name.startswith(PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


def _is_gone(pid: int) -> bool:
    """Return whether a process has ended.

    A folder that names our own process id is an earlier process': in a container, ids begin at 1.
    """
    return pid == os.getpid() or not Path(f"/proc/{pid}").exists()
