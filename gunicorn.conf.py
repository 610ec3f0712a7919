"""How gunicorn serves the app: `python -m backend web`, or plain `gunicorn` in this folder."""

from pathlib import Path

from backend.settings import Settings

wsgi_app = "backend:create_app()"
bind = Settings.from_environment().bind
worker_class = "gthread"
workers = 2
threads = 8
preload_app = True  # the workers share the memory of what is imported once
control_socket_disable = True
graceful_timeout = 20  # seconds; below the pod's terminationGracePeriodSeconds
keepalive = 75  # seconds; longer than the idle time of a usual proxy
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  (heartbeats)
