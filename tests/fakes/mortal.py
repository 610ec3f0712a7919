"""Requests whose process kills itself on the way: a program, one order and one answer a line.

It has imported the app when the first order comes, and forks for each: a process costs little.

A step is whatever others can see: a change of a file, a row or a process, a call of Kubernetes.
Between two steps they see nothing, so that to die before each, and before the answer, is to die
everywhere. The steps are found by what Python and SQLAlchemy report, not by names of ours.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import alembic.command  # noqa: F401  (what the app imports when it needs it, once for all)
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
    """Notes down the steps of a request, and kills this process before one of them.

    Attributes:
        names: what the steps were.
    """

    def __init__(self):
        self.names = None
        sys.addaudithook(self._hear)
        event.listen(Engine, "before_cursor_execute", self._execute)
        event.listen(Engine, "commit", self._commit)

    def begin(self, fatal):
        """Count from 1 again; None: it lives."""
        self.names, self._fatal = [], fatal

    def take(self, name):
        if self.names is None or threading.current_thread() is not threading.main_thread():
            return
        self.names.append(name)
        if len(self.names) == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def _hear(self, name, arguments):
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
    """Make the real launcher; what a local one starts obeys the test."""
    if settings.launcher == "local":
        return LocalLauncher(settings, trainer=TRAINER)
    return make_launcher(settings)


def make_worker(environ, kubeconfig):
    """Make the app as a web worker has it."""
    kube_config.KUBE_CONFIG_DEFAULT_LOCATION = kubeconfig
    settings = Settings.from_environment(environ)
    return create_app(settings, launcher_of(settings))


def carry_out(app, request, steps, fatal=None):
    """Send a request to the app; give the steps and the answer's status."""
    steps.begin(fatal)
    answer = app.test_client().open(**request)
    steps.take("the answer")
    return {"steps": steps.names, "status": answer.status_code}


def load(app, request, steps):
    """Send a request from this process: whatever is loaded on the way, its children have."""
    answer = carry_out(app, request, steps)
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join()
    app.extensions["services"].close()
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
