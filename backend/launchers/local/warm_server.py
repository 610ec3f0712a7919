"""Imports modules once, and forks a trainer that finds them imported for each attempt.

This is a separate program, which `warm_start.py` starts:

    warm_server.py SOCKET LISTENER_FD IDLE_SECONDS MODULE...

For each connection it forks a process that forks the trainer and then becomes its `runner.py`.
Nothing that runs is lost if the server is killed: the runner then is a child of init, as it always
is without a server. The server leaves after IDLE_SECONDS without an attempt, at the next one if a
file of what it has imported has changed, and if the state folder is gone.

A trainer must not notice where it comes from. So nothing here computes, starts a thread or handles
a signal before the fork: a child has no threads, and the random state of a fresh process.
"""

import builtins
import gc
import importlib
import io
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from backend.launchers.local import runner, warm_start
else:  # this folder is where the interpreter looks first
    import runner
    import warm_start

LOOK_SECONDS = 1.0  # between two looks for runners that have ended, and for the socket
REQUEST_SECONDS = 10.0  # in which a client sends its request
MAX_REQUEST_BYTES = 2**22
DESCRIPTORS = 4  # that come with a request: two locks, the state folder, the runner's log
EXIT_INTERRUPTED = 128 + signal.SIGINT

Stamp = tuple[int, int, int]  # inode, time of modification in ns, size


class IsTrainer(Exception):
    """Raised in the trainer, which leaves what the server was doing.

    Its arguments are the command.
    """


def serve(name: str, listener: socket.socket, idle_seconds: float) -> list[str]:
    """Fork a runner for each connection until none has come for `idle_seconds`.

    Returns:
        In a trainer, its command; in the server, nothing.
    """
    stamps = stamps_of_modules()
    while connection := accept(name, listener, idle_seconds):
        if command := answer(listener, connection, stamps):
            return command
    for path in (name, f"{name}.log"):
        with suppress(FileNotFoundError):
            os.unlink(path)
    while connection := accept(name, listener, 0):  # those that have connected just now
        if command := answer(listener, connection, stamps):
            return command
    return []


def accept(name: str, listener: socket.socket, seconds: float) -> socket.socket | None:
    """Return the next connection, or None if there is none for so long or its socket is removed.

    Meanwhile, collect runners that have ended.
    """
    deadline = time.monotonic() + seconds
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        listener.settimeout(min(LOOK_SECONDS, max(0, deadline - time.monotonic())))
        with suppress(TimeoutError, BlockingIOError):
            return listener.accept()[0]
        if time.monotonic() >= deadline or not os.path.exists(name):
            return None


def answer(
    listener: socket.socket, connection: socket.socket, stamps: dict[str, Stamp | None]
) -> list[str]:
    """Fork a runner for a connection, unless the imported files have changed since `stamps`.

    Returns:
        In the trainer, its command; in the server, nothing.
    """
    with connection:
        if stamps_of_modules() != stamps:
            sys.exit("A module has changed: this server leaves, and the next one imports it.")
        return fork(listener, connection)


def stamps_of_modules() -> dict[str, Stamp | None]:
    """Return what tells two versions of each imported file apart."""
    stamps: dict[str, Stamp | None] = {}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str):
            stamps[path] = None
            with suppress(OSError):
                status = os.stat(path)
                stamps[path] = status.st_ino, status.st_mtime_ns, status.st_size
    return stamps


def fork(listener: socket.socket, connection: socket.socket) -> list[str]:
    """Fork a process that runs the attempt of a connection.

    Returns:
        In the trainer, its command; in the server, nothing.
    """
    if os.fork():
        return []
    try:
        listener.close()
        run(connection)
    except IsTrainer as trainer:
        return list(trainer.args)
    except (OSError, ValueError, TypeError) as error:
        print(f"An attempt was not started: {error}", file=sys.stderr, flush=True)
    os._exit(0)


def run(connection: socket.socket) -> NoReturn:
    """Become the runner of the attempt that a client asks for, unless it does not wait any more.

    Raises:
        IsTrainer: in the trainer.
        OSError, ValueError, TypeError: the request is not complete, or nobody waits for the answer.
    """
    connection.settimeout(REQUEST_SECONDS)
    connection.sendall(warm_start.READY)
    _, descriptors, *_ = socket.recv_fds(connection, 1, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    request = bytearray()
    while (piece := connection.recv(2**16)) and len(request) < MAX_REQUEST_BYTES:
        request += piece
    (state, *arguments), environment = warm_start.decoded(bytes(request))
    trainer = runner.Trainer(*arguments)
    lock, slot, folder, log = descriptors
    os.setsid()
    os.fchdir(folder)
    for standard in (1, 2):
        os.dup2(log, standard)
    for descriptor in (folder, log):
        os.close(descriptor)
    connection.sendall(warm_start.TAKEN)  # from here on, nobody else starts the trainer
    connection.close()

    def become(trainer: runner.Trainer, output: int, training: int) -> NoReturn:
        for descriptor in (lock, slot):
            os.close(descriptor)
        become_trainer(trainer, environment, output, training)

    started = None
    with suppress(OSError):  # too many processes: the runner starts the trainer, or reports it
        started = runner.start(os.curdir, trainer, become)
    for descriptor in (lock, slot):
        os.set_inheritable(descriptor, True)
    running = started.as_argument() if started else ""
    command = warm_start.runner_command([state, str(lock), str(slot), running, *arguments])
    os.execve(command[0], command, environment)  # noqa: S606  (our own program and arguments)


def become_trainer(
    trainer: runner.Trainer, environment: dict[str, str], output: int, training: int
) -> NoReturn:
    """Make this process what the trainer would find if it were started by itself.

    Raises:
        IsTrainer: always.
    """
    try:
        runner.prepare(trainer, output, training)
    except (OSError, ValueError) as error:
        os.write(output, f"error: the trainer cannot be started: {error}\n".encode())
        os._exit(runner.EXIT_CANNOT_START)
    os.close(output)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # as every interpreter does when it starts
        signal.signal(number, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(environment)
    raise IsTrainer(*trainer.command)


def execute(command: list[str]) -> None:
    """Execute the script of a command as the interpreter does, in this process."""
    sys.orig_argv = command
    sys.argv = command[1 + len(warm_start.options_of(command)) :]
    script = sys.argv[0]
    sys.path.insert(0, os.path.dirname(os.path.realpath(script)))
    importlib.invalidate_caches()
    # `random` seeds itself after a fork, and the seed of a fresh PyTorch is always the same.
    if numpy_random := sys.modules.get("numpy.random"):
        numpy_random.seed()
    main = ModuleType("__main__")
    loader = SourceFileLoader("__main__", script)
    vars(main).update(__file__=script, __builtins__=builtins, __loader__=loader, __cached__=None)
    sys.modules["__main__"] = main
    try:
        with io.open_code(script) as file:
            code = compile(file.read(), script, "exec")
        exec(code, vars(main))  # noqa: S102  (the trainer)
    except SystemExit:
        raise
    except BaseException as error:
        traceback = error.__traceback__ and error.__traceback__.tb_next
        sys.excepthook(type(error), error.with_traceback(traceback), traceback)
        sys.exit(EXIT_INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1)


def main() -> None:
    """Import the modules, serve, and leave; or be a trainer."""
    name, listener_fd, idle_seconds, *modules = sys.argv[1:]
    listener = socket.socket(fileno=int(listener_fd))
    listener.set_inheritable(False)
    sys.path.pop(0)  # this folder
    for module in modules:
        importlib.import_module(module)
    if threading.active_count() > 1:
        sys.exit("A module has started threads, which a fork would lose: remove it from preload.")
    gc.collect()
    gc.freeze()  # a collection in a child would copy the memory of all these objects
    if command := serve(name, listener, float(idle_seconds)):
        for own in ("runner", "warm_start"):
            sys.modules.pop(own)
        execute(command)


if __name__ == "__main__":
    main()
