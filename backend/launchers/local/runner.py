"""Starts one trainer, stops it when asked, and records its outcome.

This is a separate program:

    runner.py STATE LOCK_FD SLOT_FD TRAINER FILES MEMORY GROUP FOLDER LOG COMMAND...

Its environment is that of the trainer. LOCK_FD and SLOT_FD (such as 5, or 5,6 of a gang) are locks
of the attempt and of its slots that its parent has taken; they are released when the runner ends.
FILES is the trainer's soft limit of open files, which its parent may have raised for itself. MEMORY
is the limit in bytes, 0 for none, and GROUP the control group that enforces it, "" for RLIMIT_DATA.
TRAINER is "", or process id and start time of a child that trains already: this program then
replaces the process of a warm server that has forked it (`warm_server.py`).

A user waits for the first line of the trainer: 357 ms after the submission, of which 27 ms are the
start of this interpreter (docs/performance.md, Local experiments). Importing pathlib, subprocess,
typing, json and datetime would make that start 2.4 times as long. So the first three are not used,
and the others are imported after the trainer was started.
"""

import ctypes
import fcntl
import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress

TYPE_CHECKING = False  # as of typing, which is not imported
if TYPE_CHECKING:
    from typing import NoReturn

CHANGED = "changed"  # in `.local`; grows by a byte with each change of an attempt
# In the state folder; created before the trainer starts, and locked by the trainer while it lives.
TRAINING = "training"
KILL_SECONDS = 10  # from SIGTERM to SIGKILL
SPACE_POLL_SECONDS = 1.0
GROUP_TRIES, GROUP_PAUSE_SECONDS = 20, 0.02
PR_SET_PDEATHSIG = 1  # prctl(2)
EXIT_CANNOT_START = 127  # as of a shell that does not find a command


class Cancelled(Exception):
    """The attempt was asked to stop."""


def write(path: str, text: str) -> None:
    """Write a file atomically: a reader sees all of it or none."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def has_begun(state: str) -> bool:
    """Return whether the trainer of an attempt may have been started."""
    # started.json is written later, but may be all that a backup has kept.
    return any(os.path.lexists(os.path.join(state, name)) for name in (TRAINING, "started.json"))


def run(state: str, locks: list[int], trainer: "Trainer", started: "Started | None") -> None:
    """Run the trainer, and write `exit.json`.

    Args:
        state: the state folder of the attempt, in `.local`.
        locks: the descriptors of the locked files of the attempt and then of its slots; closing
            one releases the lock.
        trainer: what to run.
        started: the child that runs it already, if there is one; SIGTERM is blocked then.
    """
    signal.signal(signal.SIGTERM, _cancel)
    common = os.path.join(state, os.pardir)
    outcome = Outcome()
    outcome.limit_bytes = trainer.memory or None
    try:
        if started is None:
            _record_runner(state)
        _train(state, trainer, started, outcome)
    except Cancelled:
        outcome.cancelled = True
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # too late to cancel
    if trainer.group:
        outcome.out_of_memory = _was_out_of_memory(trainer.group)
        _remove_group(trainer.group)
    for slot in locks[1:]:  # before the end is recorded, for which it may have to wait
        os.close(slot)
    _write_when_possible(os.path.join(state, "exit.json"), outcome.as_json())
    os.close(locks[0])  # before the change is reported, so that an observer sees that it has ended
    with suppress(OSError):  # then it is seen at the next regular observation
        report_change(common)


class Trainer:
    """What to run, and how.

    Attributes:
        files: the soft limit of open files.
        memory: the limit in bytes, or 0.
        group: the control group that enforces the limit, or "".
        folder: the working directory.
        log: the file to which the output is appended.
        command: the command.
    """

    def __init__(
        self, files: str, memory: str, group: str, folder: str, log: str, *command: str
    ) -> None:
        """Read the arguments of the program."""
        self.files, self.memory, self.group = int(files), int(memory), group
        self.folder, self.log, self.command = folder, log, command


class Started:
    """A trainer that was started: its process id, and when, in seconds since 1970."""

    def __init__(self, pid: int, at: float) -> None:
        """Take both as they are."""
        self.pid, self.at = pid, at

    @classmethod
    def from_argument(cls, text: str) -> "Started | None":
        """Return what `as_argument` wrote, None for ""."""
        pid, _, at = text.partition(" ")
        return cls(int(pid), float(at)) if text else None

    def as_argument(self) -> str:
        """Return the argument TRAINER of this program."""
        return f"{self.pid} {self.at!r}"


class Outcome:
    """The outcome of the trainer."""

    code: int | None = None
    cancelled: bool = False
    out_of_memory: bool = False  # a process of the attempt was killed by its memory limit
    started_at: float | None = None  # seconds since 1970
    limit_bytes: int | None = None  # of memory
    peak_bytes: int | None = None  # the most memory that one of its processes has held
    cpu_seconds: float | None = None  # of all processes that it waited for

    def as_json(self) -> str:
        """Return the content of `exit.json`, with the current time as the end."""
        import json  # after the trainer was started; see above

        started_at = None if self.started_at is None else _iso(self.started_at)
        ended = vars(Outcome) | vars(self) | {"started_at": started_at}
        ended = {name: value for name, value in ended.items() if name in Outcome.__annotations__}
        return json.dumps(ended | {"finished_at": _iso(time.time())})


def _write_when_possible(path: str, text: str) -> None:
    """Write a file that must not be missing; wait as long as the disk is full.

    Raises:
        FileNotFoundError: the state folder was removed, so the file is not needed any more.
    """
    while True:
        try:
            return write(path, text)
        except FileNotFoundError:
            raise
        except OSError:  # not logged: the log would be on the same disk
            time.sleep(SPACE_POLL_SECONDS)


def start(
    state: str, trainer: Trainer, become: "Callable[[Trainer, int, int], NoReturn]"
) -> Started:
    """Start the trainer as a child, and leave SIGTERM blocked.

    Args:
        state: the state folder of the attempt.
        trainer: what to start.
        become: turns the child into the trainer, given the descriptors of its log and of its lock.
    """
    training = _open(os.path.join(state, TRAINING))
    fcntl.flock(training, fcntl.LOCK_EX)
    output = open_log(trainer.log)
    # A SIGTERM before the child is waited for would leave the trainer running.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    at = time.time()
    process = os.fork()
    if not process:
        become(trainer, output, training)
    os.close(output)
    os.close(training)
    return Started(process, at)


def _train(state: str, trainer: Trainer, started: Started | None, outcome: Outcome) -> None:
    """Run the trainer and fill in `outcome`."""
    is_adopted = started is not None
    started = started or start(state, trainer, _become)
    outcome.started_at = started.at
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        if is_adopted:
            _record_runner(state)
        with suppress(OSError):  # exit.json has the start time too
            at = _iso(started.at)
            write(os.path.join(state, "started.json"), f'{{"at": "{at}", "pid": {started.pid}}}')
            report_change(os.path.join(state, os.pardir))
        code = _wait(started.pid, outcome)
    except Cancelled:
        code = _stop(started.pid, outcome)
        # A trainer that finished before the signal arrived has succeeded.
        outcome.cancelled = code != 0
    outcome.code = 128 - code if code < 0 else code  # as a shell reports signals


def _record_runner(state: str) -> None:
    """Record that this process is the runner of the attempt, unless that was cancelled."""
    _write_when_possible(os.path.join(state, "runner.json"), f'{{"pid": {os.getpid()}}}')
    _check_cancel(state)


def _become(trainer: Trainer, output: int, training: int) -> "NoReturn":
    """Replace this process by the trainer, in its own session, which keeps `training` locked."""
    try:
        prepare(trainer, output, training)
        command = trainer.command
        os.execve(command[0], command, os.environ)  # noqa: S606  (the command that the server rendered)
    except (OSError, ValueError) as error:
        os.write(output, f"error: the trainer cannot be started: {error}\n".encode())
    finally:
        os._exit(EXIT_CANNOT_START)


def prepare(trainer: Trainer, output: int, training: int) -> None:
    """Set the session, the signals, the log, the folder and the limits that a trainer has.

    Raises:
        OSError: the folder is missing, or a limit cannot be set.
    """
    # Python ignores SIGPIPE and SIGXFSZ, and a trainer would inherit that.
    for number in (signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    if sys.platform == "linux":  # the kernel sends SIGTERM if the runner is killed
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.set_inheritable(training, True)
    os.chdir(trainer.folder)
    _limit_files(trainer)
    _limit_memory(trainer)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _limit_files(trainer: Trainer) -> None:
    """Reset the soft limit of open files: some programs cannot use descriptors from 1024 on."""
    import resource  # as in _limit_memory

    files, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != trainer.files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (trainer.files, hard))


def _limit_memory(trainer: Trainer) -> None:
    """Limit the memory of this process and of those that it starts."""
    if not trainer.memory:
        return
    if trainer.group:
        with suppress(OSError):  # somebody has removed the group, or it may not be joined
            with open(os.path.join(trainer.group, "cgroup.procs"), "w") as processes:
                processes.write("0")  # this process, as cgroups(7) defines
            return
    import resource  # in the child alone: the start of the runner is not delayed

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = trainer.memory if hard == resource.RLIM_INFINITY else min(trainer.memory, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _was_out_of_memory(group: str) -> bool:
    """Return whether the kernel has killed a process of a control group for its memory."""
    for name in ("memory.events", "memory.oom_control"):  # of versions 2 and 1
        with suppress(OSError), open(os.path.join(group, name)) as counters:
            for line in counters:
                if line.startswith("oom_kill ") and int(line.split()[1]):
                    return True
    return False


def _remove_group(group: str) -> None:
    for _ in range(GROUP_TRIES):  # the kernel takes a moment to bury killed processes
        with suppress(OSError):
            os.rmdir(group)
            return
        _kill_group(group)  # what has left the trainer's process group
        time.sleep(GROUP_PAUSE_SECONDS)


def _kill_group(group: str) -> None:
    with suppress(OSError), open(os.path.join(group, "cgroup.procs")) as processes:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)


def _cancel(_signal: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the stop
    raise Cancelled


def _check_cancel(state: str) -> None:
    if os.path.exists(os.path.join(state, "cancel")):
        raise Cancelled


def _open(path: str, flags: int = 0) -> int:
    """Open a file to append to it or to lock it."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | flags, 0o666)


def open_log(path: str) -> int:
    """Open the log; what an earlier attempt put in its place is removed, a folder renamed."""
    try:
        # A FIFO without a reader refuses O_NONBLOCK, instead of waiting for one.
        output = _open(path, os.O_NOFOLLOW | os.O_NONBLOCK)
        if stat.S_ISREG(os.fstat(output).st_mode):
            os.set_blocking(output, True)
            return output
        os.close(output)
    except OSError:
        if not os.path.lexists(path):
            raise
    try:
        os.unlink(path)
    except IsADirectoryError:
        folder, name = os.path.split(path)
        os.rename(path, os.path.join(folder, f".{name}.{os.getpid()}"))
    return _open(path, os.O_EXCL)


def _wait(trainer: int, outcome: Outcome) -> int:
    """Wait until the trainer ends, and kill the processes that it left behind.

    Returns:
        Its exit code, or the negative number of the signal that ended it.
    """
    # Until the trainer is reaped, no other process group can get its process id.
    os.waitid(os.P_PID, trainer, os.WEXITED | os.WNOWAIT)
    with suppress(ProcessLookupError):
        os.killpg(trainer, signal.SIGKILL)
    _, status, used = os.wait4(trainer, 0)
    outcome.peak_bytes = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    outcome.cpu_seconds = round(used.ru_utime + used.ru_stime, 3)
    return os.waitstatus_to_exitcode(status)


def _stop(trainer: int, outcome: Outcome) -> int:
    """Stop the trainer: SIGTERM, and SIGKILL after KILL_SECONDS. Return its exit code."""
    _signal_group(trainer, signal.SIGTERM)
    signal.signal(signal.SIGALRM, lambda *_: _signal_group(trainer, signal.SIGKILL))
    signal.alarm(KILL_SECONDS)
    return _wait(trainer, outcome)


def _signal_group(trainer: int, number: int) -> None:
    """Send a signal to the process group of the trainer, or to it alone before it has one."""
    try:
        os.killpg(trainer, number)
    except ProcessLookupError:
        with suppress(ProcessLookupError):
            os.kill(trainer, number)


def report_change(folder: str) -> None:
    """Make observers look again: let the file `changed` of the state folder grow."""
    with open(os.path.join(folder, CHANGED), "ab") as changed:
        changed.write(b".")


def _iso(seconds: float) -> str:
    from datetime import UTC, datetime  # after the trainer was started; see above

    return datetime.fromtimestamp(seconds, UTC).isoformat()


if __name__ == "__main__":
    descriptors = [int(sys.argv[2]), *map(int, sys.argv[3].split(","))]
    running = Started.from_argument(sys.argv[4])
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # the trainer must not hold the locks
    if running is None:
        if os.fork():
            os._exit(0)  # the runner continues as a child of init
        os.chdir(sys.argv[1])  # so the end is recorded there even if OUTPUT_DIR is moved meanwhile
    run(os.curdir, descriptors, Trainer(*sys.argv[5:]), running)
