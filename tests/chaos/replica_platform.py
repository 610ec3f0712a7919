"""The platform of replicas: two servers and two reconcilers, with nginx before them.

Each is a process on this machine, with SQLite and local processes as Jobs. As a kubelet would,
`heal` starts again what has ended.
"""

import random
import signal
from pathlib import Path
from typing import Any

from tests.chaos.breaking import Pause, Platform
from tests.chaos.local_platform import SLOTS, TRAINER, hang, send_signal
from tests.integration import backend_process
from tests.integration.backend_process import children_of, free_address
from tests.integration.nginx import Nginx
from tests.integration.waiting import eventually

FAULTS = {
    "kill_worker": 2,
    "kill_web": 3,
    "replace_web": 3,
    "kill_leader": 3,
    "kill_both_reconcilers": 1,
    "terminate_leader": 2,
    "hang_leader": 2,
    "hang_web": 1,
}
# As an Ingress does: a server that refuses the connection, or breaks it before it answers, is
# replaced by the other; a request that may have been carried out (POST) is not repeated, and
# answered with 502. `max_fails=0`: both are always tried.
SERVER = """
location / {
  proxy_pass http://replicas;
  proxy_set_header Host $http_host;
  proxy_http_version 1.1;
  proxy_buffering off;
  proxy_request_buffering off;
  proxy_connect_timeout 2s;
  client_max_body_size 0;
}
"""


class ReplicaPlatform(Platform):
    """Any of the four processes can be killed, stopped for a moment or replaced."""

    faults = FAULTS
    quiet_seconds = 90.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.environ |= {"LOCAL_SLOTS": str(SLOTS), "LOCAL_MEMORY": "256Mi"}
        self.program = backend_process.Installation(folder / "program", self.environ, TRAINER)
        self._binds = [free_address(), free_address()]
        self._webs: list[Any] = []
        self._reconcilers: list[Any] = []
        (folder / "nginx").mkdir()
        self._nginx_folder = folder / "nginx"
        self._nginx: Nginx | None = None

    def start(self) -> None:
        self._webs = [self.program.start("web", BIND=bind) for bind in self._binds]
        self._reconcilers = [self._start_reconciler() for _ in range(2)]
        for web in self._webs:
            web.ready()
        servers = " ".join(f"server {bind} max_fails=0;" for bind in self._binds)
        before = f"upstream replicas {{ {servers} }}"
        self._nginx = Nginx(self._nginx_folder, SERVER, before=before)
        self.addresses = [self._nginx.url.removeprefix("http://")]

    def heal(self) -> None:
        for number, web in enumerate(self._webs):
            if not web.is_alive:
                eventually(lambda web=web: not web.group())  # type: ignore[misc]
                self._webs[number] = self.program.start("web", BIND=self._binds[number])
        for number, reconciler in enumerate(self._reconcilers):
            if not reconciler.is_alive:
                self._reconcilers[number] = self._start_reconciler()
        for web in self._webs:
            web.ready()

    def close(self) -> None:
        if self._nginx:
            self._nginx.close()
        self.program.close()

    def kill_worker(self, draw: random.Random, _pause: Pause) -> bool:
        """Kill one worker of a server."""
        workers = children_of(draw.choice(self._webs).pid)
        return bool(workers) and send_signal(draw.choice(workers), signal.SIGKILL)

    def kill_web(self, draw: random.Random, pause: Pause) -> bool:
        """Kill a server; the other answers meanwhile."""
        web = draw.choice(self._webs)
        web.kill_all()
        pause()
        self.heal()
        return True

    def replace_web(self, draw: random.Random, pause: Pause) -> bool:
        """Replace a server as a rolling update does: SIGTERM, and wait for its end."""
        web = draw.choice(self._webs)
        web.terminate()
        pause()
        web.exit_code()
        self.heal()
        return True

    def hang_web(self, draw: random.Random, pause: Pause) -> bool:
        """Stop a worker of a server for a moment."""
        workers = children_of(draw.choice(self._webs).pid)
        return bool(workers) and hang(draw.choice(workers), pause)

    def kill_leader(self, _draw: random.Random, pause: Pause) -> bool:
        """Kill the reconciler that works; the other replaces it."""
        self._leader().kill_all()
        pause()
        self.heal()
        return True

    def terminate_leader(self, _draw: random.Random, _pause: Pause) -> bool:
        """Send SIGTERM to the reconciler that works."""
        leader = self._leader()
        leader.terminate()
        leader.exit_code()
        self.heal()
        return True

    def hang_leader(self, _draw: random.Random, pause: Pause) -> bool:
        """Stop the reconciler that works for a moment."""
        return hang(self._leader().pid, pause)

    def kill_both_reconcilers(self, _draw: random.Random, pause: Pause) -> bool:
        """Kill both reconcilers at once."""
        for reconciler in self._reconcilers:
            reconciler.kill_all()
        pause()
        self.heal()
        return True

    def _start_reconciler(self) -> Any:
        return self.program.start("reconcile", HEALTH_BIND=free_address())

    def _leader(self) -> Any:
        """Wait until one of the two works, and return it."""
        return eventually(
            lambda: next((one for one in self._reconcilers if " leads." in one.stderr), None)
        )
