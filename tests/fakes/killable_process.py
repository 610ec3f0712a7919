"""A web worker that kills itself before a chosen step of a request.

The program reads one order a line from standard input, and prints one result a line. It imports
the app once and forks for each order, which makes a process cheap.

A step is an effect that other processes can see: a change of a file, a row or a process, or a call
of the Kubernetes API. A kill between two steps looks the same as one before the second, so killing
before each step and before the answer covers every moment. Steps are found by audit events of
Python and by events of SQLAlchemy, not by names in the backend.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import alembic.command  # noqa: F401  (imported lazily by the app; here once, before forking)
from kubernetes.config import kube_config
from sqlalchemy import Engine, event

import backend.launchers.kubernetes.launcher  # noqa: F401
from backend.app import create_app
from backend.launchers import make_launcher
from backend.launchers.local.launcher import LocalLauncher
from backend.settings import Settings

TRAINER = Path(__file__).with_name("trainer.py")
CHANGING = (os.O_WRONLY, os.O_RDWR)
CHANGES = {  # Python documentation, Audit events table
    *("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"),
    *("http.client.send", "subprocess.Popen", "os.kill", "os.killpg", "fcntl.flock"),
}


class Steps:
    """Records the steps of a request, and kills this process before one of them.

    Attributes:
        names: the steps so far, in order; None before the first request.
    """

    def __init__(self):
        self.names = None
        sys.addaudithook(self._audit)
        event.listen(Engine, "before_cursor_execute", self._execute)
        event.listen(Engine, "commit", self._commit)

    def begin(self, fatal):
        """Start counting from 1 again, and kill the process before step `fatal`, or never."""
        self.names, self._fatal = [], fatal

    def take(self, name):
        """Record a step of the main thread, or die before it."""
        if self.names is None or threading.current_thread() is not threading.main_thread():
            return
        self.names.append(name)
        if len(self.names) == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def _audit(self, name, arguments):
        if name == "open":
            path, _, flags = arguments
            if not isinstance(path, int) and flags & os.O_ACCMODE in CHANGING:
                self.take("open")
        elif name in CHANGES:
            self.take(name)

    def _execute(self, _connection, _cursor, statement, *_):
        words = statement.split()
        if words[0] in ("INSERT", "UPDATE", "DELETE"):
            self.take(" ".join(words[:3]))

    def _commit(self, connection):
        if not connection.get_execution_options().get("reading"):
            self.take("commit")


def launcher_of(settings):
    """Return the real launcher; a local one starts a trainer that is controlled by the test."""
    if settings.launcher == "local":
        return LocalLauncher(settings, trainer=TRAINER)
    return make_launcher(settings)


def make_worker(environ, kubeconfig):
    """Return the app of a web worker."""
    kube_config.KUBE_CONFIG_DEFAULT_LOCATION = kubeconfig
    settings = Settings.from_environment(environ)
    return create_app(settings, launcher_of(settings))


def carry_out(app, request, steps, fatal=None):
    """Send a request to the app, and return its steps and the status of the answer."""
    steps.begin(fatal)
    answer = app.test_client().open(**request)
    steps.take("the answer")
    return {"steps": steps.names, "status": answer.status_code}


def load(app, request, steps):
    """Send a request from this process, so that its children inherit every lazy import."""
    answer = carry_out(app, request, steps)
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join()
    app.extensions["services"].close()
    return answer


def main():
    steps = Steps()
    for line in sys.stdin:
        order = json.loads(line)
        request, environ = order["request"], order["environ"]
        if environ:
            app = make_worker(environ, order["kubeconfig"])
            print(json.dumps(load(app, request, steps)), flush=True)
        elif child := os.fork():
            if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
                print(json.dumps(code), flush=True)
        else:
            print(json.dumps(carry_out(app, request, steps, order["fatal"])), flush=True)
            os._exit(0)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    main()
