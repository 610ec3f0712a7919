"""How gunicorn serves the app: `python -m backend web`, or plain `gunicorn` in this folder."""

import gc
from pathlib import Path
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from backend.settings import Settings
from backend.store.engine import POOL_SIZE
from backend.web.telemetry_folder import make_folder, remove_folder

make_folder()  # before the app is made
_settings = Settings.from_environment()
wsgi_app = "backend.app:create_app()"
bind = _settings.bind
worker_class = (
    "backend.web.slow_clients.TimeLimitedWorker"  # gthread, with a time limit for slow clients
)
workers = 2
threads = POOL_SIZE + _settings.max_streams  # a stream holds a thread, but no connection
preload_app = True  # the workers share the memory of what is imported once
control_socket_disable = True
graceful_timeout = 20  # seconds; below the pod's terminationGracePeriodSeconds
keepalive = 75  # seconds; longer than the idle time of a usual proxy
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  (heartbeats)


def when_ready(_server: Arbiter) -> None:
    """Keep the collector from what the workers share: it would make it each one's own."""
    gc.freeze()


def post_worker_init(worker: Worker) -> None:
    """Let streams end when the worker is told to stop: nothing else would end them in time."""
    app: Any = worker.wsgi
    app.extensions["streams"].is_stopping = lambda: not worker.alive


def child_exit(_server: Arbiter, worker: Worker) -> None:
    """Let a worker that is gone have no open streams."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)


def on_exit(_server: Arbiter) -> None:
    """Leave no counts behind."""
    remove_folder()
