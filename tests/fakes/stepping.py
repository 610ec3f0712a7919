"""Single-stepping: operations that pause before each call of a service until the test resumes them.

Each operation has a thread of its own, which runs only while the test waits for its next pause, so
that the interleaving does not depend on the scheduler.
"""

import threading
from contextvars import ContextVar
from enum import Enum

operation_of_this_thread = ContextVar("operation_of_this_thread", default=None)


class Verdict(Enum):
    """The outcome of the call before which an operation has paused."""

    GO = "it succeeds"
    FAIL = "it fails and has no effect"
    LOSE = "it takes effect, but its answer is lost"
    CRASH = "the process dies before it"
    CRASH_AFTER = "the process dies right after it"


class Crashed(BaseException):
    """The process has died: it may have no further effect."""


class Stepping:
    """A proxy that pauses an operation before each method call, and applies the test's verdict.

    Calls of `pure` methods, and calls from threads that are not operations, pass through.
    """

    def __init__(self, real, fault, pure=()):
        """Wrap an object.

        Args:
            real: the object whose methods are called.
            fault: returns the exception of a failing call by method name; None: it cannot fail.
            pure: names of methods before which an operation does not pause.
        """
        self._real, self._fault, self._pure = real, fault, pure

    def __getattr__(self, name):
        method = getattr(self._real, name)
        operation = operation_of_this_thread.get()
        if operation is None or name in self._pure or not callable(method):
            return method
        return lambda *args, **options: self._call(operation, name, method, args, options)

    def _call(self, operation, name, method, args, options):
        verdict = operation.stop(f"{type(self._real).__name__}.{name}")
        fault = self._fault(name)
        if verdict is Verdict.CRASH:
            raise operation.die()
        if verdict is Verdict.FAIL and fault:
            raise fault
        result = method(*args, **options)
        if verdict is Verdict.CRASH_AFTER:
            raise operation.die()
        if verdict is Verdict.LOSE and fault:
            raise fault
        return result


class Operation:
    """A piece of work that runs step by step.

    Attributes:
        at: the call before which it has paused; None when it has ended.
        result: what the work has returned.
        error: the exception that the work has raised.
        crashed: whether its process has died.
    """

    def __init__(self, work):
        self._work = work
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._verdict = Verdict.GO
        self.at, self.result, self.error, self.crashed = "", None, None, False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._stopped.acquire()

    def step(self, verdict=Verdict.GO):
        """Make the call at which it has paused, and continue to the next one."""
        self._verdict = verdict
        self._go.release()
        self._stopped.acquire()
        if self.at is None:
            self._thread.join()

    def finish(self):
        """Continue to the end without faults."""
        while self.at is not None:
            self.step()

    def stop(self, at):
        """Pause before the call `at`, and return the verdict of the test."""
        if self.crashed:  # its `finally` blocks must have no effect
            raise Crashed
        self.at = at
        self._stopped.release()
        self._go.acquire()
        return self._verdict

    def die(self):
        """Mark the process as dead, and return the exception that ends its thread."""
        self.crashed = True
        return Crashed()

    def _run(self):
        operation_of_this_thread.set(self)
        try:
            self.result = self._work()
        except Crashed:
            pass
        except Exception as error:
            self.error = error
        self.at = None
        self._stopped.release()
