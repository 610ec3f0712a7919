"""gunicorn's configuration for the web role; gunicorn looks the names up in this module."""

import gc
import os
import socket
from pathlib import Path
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from backend.addresses import socket_address
from backend.settings import Settings
from backend.store.engine import POOL_SIZE
from backend.web.worker.limits import LONG, most_connections
from backend.web.worker.orphans import MasterPipe

_master_pipe = MasterPipe()
_settings = Settings.from_environment()
wsgi_app = "backend.app:create_app()"
_family, (_host, _port) = socket_address(_settings.bind)  # gunicorn resolves names to IPv4 only
bind = f"[{_host}]:{_port}" if _family == socket.AF_INET6 else f"{_host}:{_port}"
worker_class = "backend.web.worker.poller.PollingWorker"  # gthread that waits for clients itself
workers = 2
# A stream or an upload holds a thread, but no connection to the database.
threads = POOL_SIZE + _settings.max_streams + LONG
worker_connections = most_connections()
preload_app = True  # the workers share the memory of everything that is imported once
control_socket_disable = True
forwarded_allow_ips = ""  # the app decides whom it believes: web/proxies.py
graceful_timeout = 20  # seconds; shorter than the pod's terminationGracePeriodSeconds
keepalive = 75  # seconds; longer than the idle timeout of common proxies
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  (heartbeats)


def when_ready(_server: Arbiter) -> None:
    """Exclude all objects from garbage collection, so that the workers keep sharing their pages."""
    gc.freeze()


def post_fork(_server: Arbiter, _worker: Worker) -> None:
    """Leave the pipe to the master."""
    _master_pipe.leave_to_master()


def post_worker_init(worker: Worker) -> None:
    """End open streams as soon as the worker is told to stop: they would outlast its timeout.

    A worker whose master was killed is stopped, too.
    """
    app: Any = worker.wsgi
    app.extensions["streams"].is_stopping = lambda: not worker.alive
    _master_pipe.watch(worker)
    os.environ.pop("SCRIPT_NAME", None)  # gunicorn would refuse paths without it: web/proxies.py
