"""The processor time that sampling what live experiments use takes, as a part of a core.

    python -m bench.training.resources

Real processes on this machine stand for trainers: each is a session of its own, has children as one
that loads data in parallel, and has a control group if this process may create one. The experiments
are in an SQLite database.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

from sqlalchemy import insert

from backend.domain.experiment import Parameters, new_values
from backend.experiments.services import Services, build
from backend.files.resource_files import FINEST_SECONDS
from backend.launchers.local.memory import create_group, remove_group
from backend.settings import Settings
from backend.store.tables import experiment
from bench.figures import Row

LIVE = 100
ROUNDS, QUICK_ROUNDS = 41, 5
MOST_SHARE = 0.02  # of a core
MEMORY = 2**30  # that each may use
CHILDREN = 2
TRAINER = f"""
import os, sys, time
if sys.argv[1]:
    open(sys.argv[1] + "/cgroup.procs", "w").write("0")
held = b"x" * 2**20
for _ in range({CHILDREN}):
    if not os.fork():
        break
time.sleep(3600)
"""


def rows(quick: bool) -> Iterator[Row]:
    """Yield the measurement."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as services:
        services.sampler.step()
        ours, bare = [], []
        for _ in range(rounds):
            ours.append(processor_seconds(services.sampler.step))
            bare.append(processor_seconds(read_all_processes))
    share = median(ours) / FINEST_SECONDS
    yield Row(
        f"a sample of {LIVE} live experiments, {LIVE * (1 + CHILDREN)} processes, "
        f"every {FINEST_SECONDS:g} s",
        f"{1000 * median(ours):.1f} ms, {100 * share:.2f} % of a core",
        f"{1000 * median(bare):.1f} ms, reading each /proc/PID/stat",
        round(median(one / other for one, other in zip(ours, bare, strict=True)), 2),
        f"<= {100 * MOST_SHARE:g} % of a core",
        share <= MOST_SHARE,
    )


def processor_seconds(work: Callable[[], object]) -> float:
    """Return the processor time that this process needs for `work`."""
    before = time.process_time()
    work()
    return time.process_time() - before


def read_all_processes() -> None:
    """Read what the kernel says of every process, and do nothing with it."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            (process / "stat").read_bytes()


@contextmanager
def running(folder: Path) -> Iterator[Services]:
    """Run processes, and record them as experiments that are running."""
    environ = {"LAUNCHER": "local", "OUTPUT_DIR": str(folder / "output")}
    environ |= {"INPUT_DIR": str(folder), "DATA_DIR": str(folder)}
    settings = Settings.from_environment(environ)
    services = build(settings)
    services.store.prepare()
    trainers: list[subprocess.Popen[bytes]] = []
    states: list[Path] = []
    try:
        recorded = []
        for number in range(LIVE):
            values = new_values(f"run-{number}", Parameters("autoencoder", 0.001, 20, None))
            recorded.append(values | {"status": "running", "started_at": values["created_at"]})
            (settings.output_dir / f"run-{number}").mkdir(parents=True)
            states.append(settings.output_dir / ".local" / values["job"])
            states[-1].mkdir(parents=True)
            command = [sys.executable, "-S", "-c", TRAINER, create_group(states[-1], MEMORY)]
            trainers.append(subprocess.Popen(command, start_new_session=True))
            (states[-1] / "started.json").write_text(f'{{"pid": {trainers[-1].pid}}}')
        services.store.database.write(
            lambda connection: connection.execute(insert(experiment), recorded)
        )
        time.sleep(2)  # until all have started
        yield services
    finally:
        services.close()
        for trainer in trainers:
            with suppress(ProcessLookupError):
                os.killpg(trainer.pid, signal.SIGKILL)
            trainer.wait()
        time.sleep(0.5)  # the kernel takes a moment to bury their children
        for state in states:
            remove_group(state)


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(row)
