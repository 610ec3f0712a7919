"""The reconciler on a real cluster: the delay of a change, and the cost of a pass.

Needs KUBECONFIG, and uses a namespace of its own that is deleted afterwards. No trainer runs: the
Jobs request more CPU than any node has, so that their pods stay Pending, and this module writes the
status of a running pod in place of the kubelet.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from kubernetes import client, config
from sqlalchemy import insert, make_url

from backend.domain.experiment import Parameters, new_values
from backend.experiments.reconciler import Reconciler
from backend.experiments.services import build
from backend.settings import Settings
from backend.store.engine import make_engine
from backend.store.tables import experiment
from bench.figures import Growth, Row
from bench.server import children, free_address, servers, serving

NAMESPACE = "hello-flask-bench"
SETTLE_SECONDS = 300
POLL_SECONDS = 0.01
TIMEOUT = 60


@dataclass(frozen=True)
class Size:
    """The size of a measurement.

    Attributes:
        steps: Numbers of live Jobs at which a pass is timed, ascending.
        live: The one of them at which the delay of changes is timed.
        changes: How many changes are timed.
        known: Total number of experiments at the timed start of a reconciler.
        idle_seconds: How long the CPU time of the idle reconciler is measured.
        settle_seconds: How long to wait for the reconciler after the last new pod.
    """

    steps: tuple[int, ...]
    live: int
    changes: int
    known: int
    idle_seconds: float
    settle_seconds: float

    @property
    def jobs(self) -> int:
        """The final number of Jobs."""
        return self.steps[-1]


WHOLE = Size(
    steps=(10, 30, 100, 250, 500, 1000),
    live=500,
    changes=100,
    known=10_000,
    idle_seconds=30,
    settle_seconds=5,
)
QUICK = Size(steps=(20,), live=20, changes=5, known=1000, idle_seconds=2, settle_seconds=1)
ROUNDS = 5  # of passes


@dataclass(frozen=True)
class Figures:
    """The results.

    Attributes:
        delays: Seconds until each change was shown.
        idle_cpu: CPU time of the idle reconciler, as a share of one core.
        pass_seconds: Seconds of a full pass, by the number of live Jobs.
        first_pass_seconds: Seconds of the first pass after a start.
    """

    size: Size
    delays: list[float]
    idle_cpu: float
    pass_seconds: dict[int, float]
    first_pass_seconds: float

    @property
    def median(self) -> float:
        """The median of the delays, in seconds."""
        return statistics.median(self.delays)

    @property
    def p99(self) -> float:
        """The 99th percentile of the delays, in seconds."""
        return sorted(self.delays)[int(0.99 * (len(self.delays) - 1))]


@cache
def measure(size: Size) -> Figures:
    """Measure everything once, which takes minutes."""
    config.load_kube_config()
    delays, idle, passes, submitted = [], 0.0, {}, 0
    with namespace(), tempfile.TemporaryDirectory() as folder:
        environment = {
            "LAUNCHER": "kubernetes",
            "AE_MODEL_IMAGE_URL": "autoencoder",
            "JOB_NAMESPACE": NAMESPACE,
            "JOB_CPU": "1000",
        }
        serve = [sys.executable, "-m", "backend", "serve"]
        with serving(serve, folder, environment) as (url, _):
            for step in size.steps:
                submit(url, range(submitted, step))
                wait_for_pods(step)
                time.sleep(size.settle_seconds)
                passes[step] = pass_seconds(folder, environment)
                submitted = step
                if step == size.live:
                    delays = [delay(url, number) for number in range(size.changes)]
                    idle = idle_cpu(size.idle_seconds)
        add_ended(folder, size.known - size.jobs)
        environment["HEALTH_BIND"] = health = free_address()
        with serving(serve, folder, environment):
            first = first_pass_seconds(health)
    return Figures(size, delays, idle, passes, first)


def pass_seconds(folder: str, environment: dict[str, str]) -> float:
    """Return the median time of a full pass of a second reconciler, in seconds."""
    places = dict.fromkeys(("DATA_DIR", "INPUT_DIR", "OUTPUT_DIR"), folder)
    settings = Settings.from_environment(environment | places)
    services = build(settings)
    reconciler = Reconciler(services, settings.job_ttl_seconds)
    times = []
    for _ in range(1 + ROUNDS):  # the first pass connects
        before = time.perf_counter()
        reconciler.reconcile()
        times.append(time.perf_counter() - before)
    services.close()
    return statistics.median(times[1:])


@contextmanager
def namespace() -> Iterator[None]:
    """Provide an empty namespace during the block."""
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    kubectl("create", "namespace", NAMESPACE)
    try:
        yield
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def kubectl(*arguments: str) -> None:
    """Run kubectl."""
    subprocess.run(["kubectl", *arguments], check=True, stdout=subprocess.DEVNULL)


def submit(url: str, numbers: range) -> None:
    """Submit an experiment for each number."""

    def post(number: int) -> None:
        form = {"experiment_id": str(number), "learning_rate": "0.001", "epoch": "1"}
        with urllib.request.urlopen(f"{url}test", urllib.parse.urlencode(form).encode()) as answer:
            answer.read()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(post, numbers))


def pods(job: str | None = None) -> list[dict[str, Any]]:
    """Return the pods of the namespace, or of one Job."""
    selector = f"job-name={job}" if job else None
    answer: Any = client.CoreV1Api().list_namespaced_pod(
        NAMESPACE, label_selector=selector, _preload_content=False, _request_timeout=TIMEOUT
    )
    items: list[dict[str, Any]] = json.loads(answer.data)["items"]
    return items


def wait_for_pods(number: int) -> None:
    """Wait until the Job controller has created a pod for each Job."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (created := len(pods())) < number:
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {created} of {number} pods after {SETTLE_SECONDS} s")
        time.sleep(1)


def delay(url: str, number: int) -> float:
    """Mark a pod as running; return the seconds until its experiment is shown as running."""
    shown = get(url, number)
    (pod,) = pods(shown["job"])
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    before = time.perf_counter()
    client.CoreV1Api().patch_namespaced_pod_status(
        pod["metadata"]["name"],
        NAMESPACE,
        {"status": status},
        _preload_content=False,
        _request_timeout=TIMEOUT,
    )
    while get(url, number)["status"] != "running":
        if time.perf_counter() - before > SETTLE_SECONDS:
            raise RuntimeError(f"experiment {number} is not shown as running")
        time.sleep(POLL_SECONDS)
    return time.perf_counter() - before


def get(url: str, number: int) -> dict[str, Any]:
    """Return one experiment."""
    with urllib.request.urlopen(f"{url}experiments/{number}") as answer:
        shown: dict[str, Any] = json.load(answer)
        return shown


def idle_cpu(seconds: float) -> float:
    """Return the share of a core that the reconciler takes while nothing changes."""
    (serve,) = servers()
    (reconciler,) = [pid for pid in children(serve) if not children(pid)]
    before = cpu_seconds(reconciler)
    time.sleep(seconds)
    return (cpu_seconds(reconciler) - before) / seconds


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def first_pass_seconds(health: str) -> float:
    """Wait for a reconciler's first pass, and return its duration in seconds."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{health}/metrics") as answer:
                text = answer.read().decode()
        except OSError:
            text = ""
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[:1] != "#")
        if float(lines.get("hello_flask_reconcile_passes_total", 0)):
            return float(lines["hello_flask_reconcile_last_pass_duration_seconds"])
        time.sleep(0.05)
    raise RuntimeError(f"no pass has ended within {TIMEOUT} s")


def add_ended(folder: str, number: int) -> None:
    """Insert this number of ended experiments into the database."""
    engine = make_engine(make_url(f"sqlite:///{folder}/experiments.sqlite3"))
    now, parameters = datetime.now(UTC), Parameters("autoencoder", 0.001, 1, None)
    ended = {"status": "succeeded", "started_at": now, "finished_at": now}
    with engine.begin() as connection:
        rows = [new_values(f"ended {index}", parameters) | ended for index in range(number)]
        connection.execute(insert(experiment), rows)
    engine.dispose()


def rows(quick: bool) -> Iterator[Row]:
    """Yield the measurements."""
    figures = measure(QUICK if quick else WHOLE)
    size = figures.size
    yield Row(
        f"delay of a pod's change in `GET /experiments/{{id}}`, {size.live} live Jobs: median, p99",
        f"{figures.median:.2f} s, {figures.p99:.2f} s",
        goal="<= 0.3 s, <= 1 s",
        met=figures.median <= 0.3 and figures.p99 <= 1,
    )
    full_pass = figures.pass_seconds[size.live]
    yield Row(f"full pass, {size.live} live Jobs", f"{full_pass:.2f} s")
    yield Row(
        f"CPU of the idle reconciler, {size.live} live Jobs",
        f"{figures.idle_cpu:.1%} of a core",
        goal="<= 5 %",
        met=figures.idle_cpu <= 0.05,
    )
    yield Row(
        f"first pass, {size.known:,} known experiments, {size.jobs:,} Jobs",
        f"{figures.first_pass_seconds:.2f} s",
        goal="<= 3 s",
        met=figures.first_pass_seconds <= 3,
    )


def growths() -> Iterator[Growth]:
    """Yield how a pass grows with the Jobs, from the same measurement."""
    figures = measure(WHOLE)
    yield Growth(
        "reconcile_jobs",
        "A full pass of the reconciler",
        "live Jobs",
        "seconds",
        {"full pass": list(figures.pass_seconds.items())},
    )


def how() -> str:
    """Return how the reconciler is measured."""
    return f"{WHOLE.changes} changes one after the other; a full pass is the median of {ROUNDS}."
