"""Operations that stop before each call of the world outside, and go on when the test says how.

Each runs in a thread of its own, but only while the test waits for its next stop: nothing is left
to the scheduler of the machine.
"""

import threading
from contextvars import ContextVar
from enum import Enum

operation_of_this_thread = ContextVar("operation_of_this_thread", default=None)


class Verdict(Enum):
    """How the call goes before which an operation has stopped."""

    GO = "it works"
    FAIL = "it fails, and nothing was done"
    LOSE = "it is done, and its answer is lost"
    CRASH = "the process dies before it"
    CRASH_AFTER = "the process dies right after it"


class Crashed(BaseException):
    """The process is dead: nothing more of it may be seen."""


class Stepping:
    """Hands the calls of methods on, one at a time, each with the verdict of the test.

    `fault` makes the exception that a failing call raises; None: its calls cannot fail. Calls of
    `pure` methods, and of threads that are no operation, are handed on as they are.
    """

    def __init__(self, real, fault, pure=()):
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
    """One call that is made step by step.

    Attributes:
        at: the call before which it has stopped; None when it is over.
        result, error: what it came to.
        crashed: it died.
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
        """Let it make the call that it stands before, and go on to the next one."""
        self._verdict = verdict
        self._go.release()
        self._stopped.acquire()
        if self.at is None:
            self._thread.join()

    def finish(self):
        """Let it go on to its end, undisturbed."""
        while self.at is not None:
            self.step()

    def stop(self, at):
        if self.crashed:  # whatever it does on its way out, it is dead
            raise Crashed
        self.at = at
        self._stopped.release()
        self._go.acquire()
        return self._verdict

    def die(self):
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
