"""Determines which cluster or machine runs the Jobs of this server."""

import hashlib
import os
import platform
import re
import uuid
from functools import cache
from pathlib import Path

from backend.domain.owner import Owner
from backend.settings import Settings

MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))  # machine-id(5)
MACHINE_ID_FILE = "machine-id"  # in DATA_DIR, on machines that have none of those
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")


@cache
def owner_of(settings: Settings) -> Owner:
    """Return where the Jobs of a server with these settings run.

    Determined once in each process: on Kubernetes it may ask the API server, for a few seconds.
    """
    if settings.launcher == "kubernetes":
        from backend.launchers.kubernetes.cluster import cluster_marks

        return Owner("kubernetes", settings.job_namespace, cluster_marks())
    place = os.path.realpath(settings.output_dir)
    return Owner("local", place, frozenset({f"machine:{_machine(settings.data_dir)}"}))


def _machine(data_dir: Path) -> str:
    """Return an id of this machine that survives restarts; two machines have different ones.

    A container without a machine-id has one in DATA_DIR, which lives as long as that folder. If
    that cannot be written, the host name stands for the machine.
    """
    known = next((text for path in MACHINE_IDS if (text := _read_id(path))), None)
    text = known or _own_id(data_dir) or f"host {platform.node()}"
    # machine-id(5): it should not be exposed, only a hash of it made for the application.
    return hashlib.sha256(f"hello-flask {text}".encode()).hexdigest()[:32]


def _read_id(path: Path) -> str | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if _MACHINE_ID.fullmatch(text) else None


def _own_id(data_dir: Path) -> str | None:
    """Return the id in DATA_DIR, which the first process writes; None if it cannot."""
    path = data_dir / MACHINE_ID_FILE
    temporary = data_dir / f".{MACHINE_ID_FILE}.{uuid.uuid4().hex}"
    try:
        if not path.exists():
            data_dir.mkdir(parents=True, exist_ok=True)
            temporary.write_text(f"{uuid.uuid4().hex}\n", encoding="ascii")
            try:
                os.link(temporary, path)  # unlike a rename, it does not replace another's
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
    except OSError:
        return None
    return _read_id(path)
