"""TCP ports of this machine that no other test process uses."""

import fcntl
import os
import socket
import tempfile
from pathlib import Path

# Below the ports that Linux and macOS choose for outgoing connections, so that a server that is
# stopped for a while finds its port free again.
_ports = iter(range(24_000, 30_000))
_locks = (Path(tempfile.gettempdir()) / f"hello-flask-test-ports-{os.getuid()}").open("w")


def reserve_port():
    """Return a free port, which no other test process is given while this one lives."""
    return next(port for port in _ports if _lock(port) and _is_free(port))


def free_address():
    """Return an address of this machine at which nothing listens."""
    return f"127.0.0.1:{reserve_port()}"


def _lock(port):
    """Lock the byte that stands for `port`, and return whether it was unlocked.

    The kernel removes the lock when this process ends. Child processes do not inherit it.
    """
    try:
        fcntl.lockf(_locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def _is_free(port):
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
