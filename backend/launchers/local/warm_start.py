"""Hands one attempt to a warm server, or to `runner.py` where there is none.

This is a separate program, with the arguments of `runner.py` but for the fourth, WARM, which is
"KEY MODULE,MODULE...":

    warm_start.py STATE LOCK_FD SLOT_FD WARM FILES MEMORY GROUP FOLDER LOG COMMAND...

A warm server (`warm_server.py`) has imported the modules. Attempts with the same KEY, which stands
for interpreter, modules and environment, share one. The first of them starts it, and waits for its
imports. In the state folder `.local`:

    warm-<KEY>       the socket of a server
    warm-<KEY>.log   its output, locked while it lives
    warm.lock        locked while somebody starts a server

The server answers READY once it can serve. The attempt is the server's once it has answered TAKEN.
If it does not, because it cannot be started, has crashed or takes too long, the trainer starts as
if there were none.
"""

import fcntl
import os
import socket
import sys
import time
from contextlib import suppress

# The variables of the backend that a trainer gets. The others may be secrets.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_PASSED_ON_PREFIXES = ("OMP_", "MKL_", "OPENBLAS_", "CUDA_", "NVIDIA_")

READY, TAKEN = b"R", b"T"  # the answers of a server
UNBUFFERED = "-u"  # an option of the interpreter that may stand before the script
MOST_SERVERS = 4  # each holds the memory of what it has imported
IDLE_SECONDS = 60  # after which a server without a new attempt leaves
WAIT_SECONDS = 60.0  # for the imports of a server
POLL_SECONDS = 0.1
BACKLOG = 128
FOLDER = os.path.dirname(os.path.abspath(__file__))
RUNNER = os.path.join(FOLDER, "runner.py")
SERVER = os.path.join(FOLDER, "warm_server.py")


def is_passed_on(name: str) -> bool:
    """Return whether trainers, and the servers that fork them, get this variable."""
    return name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)


def runner_command(arguments: list[str]) -> list[str]:
    """Return the command that executes `runner.py` with these arguments."""
    return [sys.executable, "-I", "-S", RUNNER, *arguments]


def options_of(command: list[str]) -> list[str]:
    """Return the options of the interpreter in the command of a trainer."""
    return [UNBUFFERED] if UNBUFFERED in command[1:2] else []


def hand_over(warm: str, descriptors: list[int], arguments: list[str], command: list[str]) -> bool:
    """Ask the warm server to run an attempt, and return whether it does.

    The working directory is the state folder of the attempt.

    Args:
        warm: the key of the server, a space, and what it imports.
        descriptors: of the locks of the attempt and of its slot.
        arguments: those of `runner.py`, without the descriptors and the running trainer.
        command: the command of the trainer.

    Raises:
        OSError: there is no server, or it has crashed.
    """
    key, _, modules = warm.partition(" ")
    folder = os.open(os.curdir, os.O_RDONLY | os.O_DIRECTORY)
    with _connect(os.path.join(os.pardir, f"warm-{key}"), modules, command) as connection:
        # Not before: what is sent to a server that does not read keeps the locks of the attempt.
        if _answer(connection) != READY:
            return False
        connection.settimeout(WAIT_SECONDS)
        socket.send_fds(connection, [b"."], [*descriptors, folder, sys.stderr.fileno()])
        connection.sendall(encoded(arguments, dict(os.environ)))
        connection.shutdown(socket.SHUT_WR)
        return _answer(connection) == TAKEN


def _answer(connection: socket.socket) -> bytes:
    """Return what the server answers before the attempt is cancelled; b"" if it never will."""
    connection.settimeout(POLL_SECONDS)
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and not os.path.exists("cancel"):
        with suppress(TimeoutError):
            return connection.recv(1)
    connection.shutdown(socket.SHUT_RDWR)  # from now on the server cannot answer
    return connection.recv(1)


def encoded(arguments: list[str], environment: dict[str, str]) -> bytes:
    """Return the request with these arguments and variables, neither of which can hold NUL."""
    variables = [f"{name}={value}" for name, value in environment.items()]
    return os.fsencode("\0".join([str(len(arguments)), *arguments, *variables]))


def decoded(request: bytes) -> tuple[list[str], dict[str, str]]:
    """Return arguments and variables of a request.

    Raises:
        ValueError: it is not complete.
    """
    count, *words = os.fsdecode(request).split("\0")
    variables = [word.partition("=") for word in words[int(count) :]]
    return words[: int(count)], {name: value for name, _, value in variables}


def _connect(path: str, modules: str, command: list[str]) -> socket.socket:
    """Return a connection to the server at this path, which is started if there is none."""
    with suppress(FileNotFoundError, ConnectionRefusedError):
        return _connected(path)
    with open(os.path.join(os.pardir, "warm.lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError, ConnectionRefusedError):
            return _connected(path)
        _start_server(path, modules, command)
        return _connected(path)


def _connected(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(WAIT_SECONDS)
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _start_server(path: str, modules: str, command: list[str]) -> None:
    """Start a server, at whose socket connections wait until it has imported its modules.

    Raises:
        OSError: there are too many, or the last one at this path is just leaving.
    """
    if _count_living() >= MOST_SERVERS:
        raise OSError("there are too many warm servers")
    log = os.open(f"{path}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
    fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with suppress(FileNotFoundError):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX) as listener:
        mask = os.umask(0o177)  # nobody else may connect
        try:
            listener.bind(path)
        finally:
            os.umask(mask)
        listener.listen(BACKLOG)
        process = os.fork()
        if not process:
            _become_server(listener.fileno(), log, path, modules, command)
        os.waitpid(process, 0)
    os.close(log)


def _become_server(listener: int, log: int, path: str, modules: str, command: list[str]) -> None:
    """Replace a child of this process, which is no child of it any more, by the server."""
    try:
        os.setsid()
        if os.fork():
            return
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.set_inheritable(listener, True)
        os.chdir(os.pardir)
        arguments = [os.path.basename(path), str(listener), str(IDLE_SECONDS), *modules.split(",")]
        environment = {name: value for name, value in os.environ.items() if is_passed_on(name)}
        program = [command[0], *options_of(command), SERVER, *arguments]
        os.execve(program[0], program, environment)  # noqa: S606  (the interpreter of the trainer)
    finally:
        os._exit(0)


def _count_living() -> int:
    count = 0
    for name in os.listdir(os.pardir):
        if name.startswith("warm-") and name.endswith(".log"):
            with open(os.path.join(os.pardir, name)) as log:
                try:
                    fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    count += 1
    return count


def main(state: str, lock: str, slot: str, warm: str, *rest: str) -> None:
    """Start the attempt, and leave the process that the launcher waits for at once."""
    descriptors = [int(lock), int(slot)]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    if os.fork():
        os._exit(0)  # what follows is a child of init
    os.chdir(state)
    with suppress(OSError):
        if hand_over(warm, descriptors, [state, *rest], list(rest[5:])):
            os._exit(0)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    command = runner_command([state, lock, slot, "", *rest])
    os.execv(command[0], command)  # noqa: S606  (our own program and arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
