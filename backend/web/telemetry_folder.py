"""The folder in which the web workers count for Prometheus, made anew by their parent."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # the client's own variable
PREFIX = "hello-flask-metrics-"


def make_folder() -> None:
    """Make the folder and name it in the environment, unless one is named there already.

    Those of parents that were killed are removed.
    """
    if FOLDER in os.environ:
        return
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError, ValueError):
            pid = int(left.name.removeprefix(PREFIX).partition("-")[0])
            if left.stat().st_uid == os.getuid() and _is_gone(pid):
                shutil.rmtree(left)
    os.environ[FOLDER] = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")


def remove_folder() -> None:
    """Remove the folder, if it is one of ours."""
    folder = Path(os.environ[FOLDER])
    if folder.name.startswith(PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


def _is_gone(pid: int) -> bool:
    """Tell whether a process has ended. Our own id was another's: a container begins with 1."""
    return pid == os.getpid() or not Path(f"/proc/{pid}").exists()
