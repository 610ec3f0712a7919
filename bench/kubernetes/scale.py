"""The reconciler over a day of many experiments, played by a simulated API server.

Waves of Jobs are submitted as the web role submits them, start, and succeed; the reconciler follows
them through its watches, records their ends and deletes their Jobs. JOBS is their number, 100,000
by default, and 1,000 with QUICK=1. The API server is a thread of this process, so that its time and
memory are part of every figure.
"""

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from kubernetes.config import kube_config

from backend.domain.experiment import Parameters
from backend.experiments.reconciler import Reconciler
from backend.experiments.services import Services, build
from backend.settings import Settings
from backend.store.queries import Store
from bench.figures import Growth, Row
from tests.fakes.kubernetes_api import FakeKubernetes

JOBS, QUICK_JOBS = 100_000, 1_000
LIVE = 100  # Jobs at once, a wave; fewer if there would not be WAVES waves
WAVES = 20
KEPT_EVENTS = 10_000
TTL_SECONDS = 1.0
WAVE_SECONDS = 600.0
LONGEST_PASS = 5.0
MOST_GROWTH = 1.5  # of time and memory for each Job, from the second tenth to the last
POLL_SECONDS = 0.05


class TimedReconciler(Reconciler):
    """A reconciler that notes how long its passes take.

    Attributes:
        longest: seconds of the longest pass since it was set to 0.
    """

    longest = 0.0

    def reconcile(self, jobs: Any = None) -> None:
        """Make one pass, and note its duration."""
        begin = time.monotonic()
        super().reconcile(jobs)
        self.longest = max(self.longest, time.monotonic() - begin)


@dataclass
class Played:
    """The figures, one for each wave.

    Attributes:
        live: Jobs of a wave.
        done: experiments that had ended.
        seconds: of the wave.
        memory: of this process after it, in bytes.
        longest: seconds of the longest pass in it.
        database: the size of the database file, in bytes.
        requests: of the API server, in all.
    """

    live: int
    done: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    longest: list[float] = field(default_factory=list)
    database: int = 0
    requests: int = 0

    def tenth(self, values: list[Any], number: int) -> float:
        """Return the mean of one of ten equal parts of the figures, counted from 0."""
        size = max(1, len(values) // 10)
        part = values[number * size : (number + 1) * size] or values[-size:]
        return float(sum(part) / len(part))


@cache
def play(jobs: int) -> Played:
    """Play that many Jobs through the reconciler, and return the figures."""
    played = Played(live=max(1, min(LIVE, jobs // WAVES)))
    with tempfile.TemporaryDirectory() as name, FakeKubernetes() as api:
        folder = Path(name)
        api.validates, api.most_events = False, KEPT_EVENTS
        path = api.write_kubeconfig(folder / "kubeconfig")
        kube_config.KUBE_CONFIG_DEFAULT_LOCATION = str(path)
        services = _services(folder)
        reconciler = TimedReconciler(services, TTL_SECONDS)
        working = threading.Thread(target=reconciler.run)
        working.start()
        try:
            for first in range(0, jobs, played.live):
                last = min(first + played.live, jobs)
                begin = time.monotonic()
                _wave(api, services, range(first, last))
                played.done.append(last)
                played.seconds.append(time.monotonic() - begin)
                played.memory.append(_memory())
                played.longest.append(reconciler.longest)
                reconciler.longest = 0.0
                played.requests += len(api.requests)
                api.requests.clear()
        finally:
            reconciler.stop()
            working.join()
            services.close()
        played.database = sum(one.stat().st_size for one in folder.glob("*.sqlite3*"))
    return played


def rows(quick: bool) -> Iterator[Row]:
    """Yield the rows of the section."""
    jobs = int(os.environ.get("JOBS") or (QUICK_JOBS if quick else JOBS))
    played = play(jobs)
    early, late = (played.tenth(played.seconds, one) / played.live for one in (1, 9))
    growth = late / early
    yield Row(
        f"{jobs:,} Jobs, {played.live} at once: one Job, last tenth against second",
        f"{late * 1000:.1f} ms",
        f"{early * 1000:.1f} ms",
        ratio=growth,
        goal=f"<= {MOST_GROWTH}",
        met=growth <= MOST_GROWTH,
    )
    before, after = (played.tenth(played.memory, one) for one in (1, 9))
    yield Row(
        "memory, with the simulated API server, last tenth against second",
        f"{after / 2**20:.0f} MiB",
        f"{before / 2**20:.0f} MiB",
        ratio=after / before,
        goal=f"<= {MOST_GROWTH}",
        met=after / before <= MOST_GROWTH,
    )
    longest = max(played.longest)
    yield Row(
        "the longest pass",
        f"{longest:.2f} s",
        goal=f"<= {LONGEST_PASS:.0f} s",
        met=longest <= LONGEST_PASS,
    )
    yield Row("requests to the API server for each Job", f"{played.requests / jobs:.1f}")
    yield Row("database for each experiment", f"{played.database / jobs / 1000:.1f} kB")


def growths() -> Iterator[Growth]:
    """Yield the plot of the last measurement."""
    played = play(int(os.environ.get("JOBS") or JOBS))
    points = [
        (done, took / played.live * 1000)
        for done, took in zip(played.done, played.seconds, strict=True)
    ]
    yield Growth(
        "scale", "One Job, as experiments accumulate", "experiments", "ms", {"ours": points}
    )


def _services(folder: Path) -> Services:
    for name in ("input", "output"):
        (folder / name).mkdir()
    settings = Settings.from_environment(
        {
            "LAUNCHER": "kubernetes",
            "AE_MODEL_IMAGE_URL": "registry.example/autoencoder:1",
            "DATA_DIR": str(folder),
            "INPUT_DIR": str(folder / "input"),
            "OUTPUT_DIR": str(folder / "output"),
        }
    )
    store = Store(settings.database_url)
    store.prepare()
    store.close()
    return build(settings)


def _wave(api: FakeKubernetes, services: Services, numbers: range) -> None:
    """Submit Jobs, let all start and succeed, and wait until the database says so."""
    handles = []
    for number in numbers:
        parameters = Parameters("autoencoder", 0.001, 1, None)
        _, experiment = services.experiments.submit(f"day-{number:06}", parameters)
        handles.append(experiment.job)
    for handle in handles:
        with api.changed:  # nothing is deleted meanwhile
            pod = api.run(handle)
        with api.changed:
            api.finish(pod, 0)
    deadline = time.monotonic() + WAVE_SECONDS
    while services.experiments.counts().get("succeeded", 0) < numbers.stop:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the Jobs {numbers} have not been recorded")
        time.sleep(POLL_SECONDS)


def _memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
